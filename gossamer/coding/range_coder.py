# SPDX-License-Identifier: Apache-2.0
"""Range coder: one decision and its probability at a time, to bytes and back.

The arithmetic is that of `adaptive`, whose header derives it; here it is three functions for coders that ask many
kinds of questions. `m[c]` to `m[c + 3]` hold low, range, what the decoder holds, and the position in the stream.
"""

from __future__ import annotations

from typing import Any


def begin(encoding: bool, stream: Any, m: Any, c: int) -> None:
    """Set up the four numbers at the beginning of the stream."""
    m[c], m[c + 1], m[c + 2], m[c + 3] = 0, 0xFFFFFFFF, 0, 0
    if not encoding:
        for at in range(4):
            m[c + 2] = m[c + 2] << 8 | (stream[at] if at < len(stream) else 0)
        m[c + 3] = 4


def code_bit(encoding: bool, stream: Any, m: Any, c: int, bit: int, p: int) -> int:
    """Code `bit`, or find out what it is, where 1 has the probability p / 65536; -1 where the stream is too short."""
    split = (m[c + 1] >> 16) * p
    if not encoding:
        bit = 1 if m[c + 2] < split else 0
    if bit:
        m[c + 1] = split
    else:
        m[c + 1] -= split
        m[c] += split
        m[c + 2] -= split
    while m[c + 1] < 0x1000000:
        m[c + 1] <<= 8
        at = m[c + 3]
        if encoding:
            if m[c] > 0xFFFFFFFF:
                m[c] -= 0x100000000
                carry(stream, at)
            if at >= len(stream):
                return -1
            stream[at] = m[c] >> 24
            m[c] = (m[c] & 0xFFFFFF) << 8
        else:
            if at >= len(stream) + 3:
                return -1
            m[c + 2] = m[c + 2] << 8 | (stream[at] if at < len(stream) else 0)
        m[c + 3] = at + 1
    return bit


def carry(stream: Any, at: int) -> None:
    """Add one to the bytes before `at`."""
    at -= 1
    while stream[at] == 255:
        stream[at] = 0
        at -= 1
    stream[at] += 1


def end(encoding: bool, stream: Any, m: Any, c: int) -> int:
    """Bytes written when the last decision is finished, -1 where the stream is too short; or bytes read."""
    at: int = m[c + 3]
    if not encoding:
        return at - 3
    m[c] += 0xFFFFFF  # up to the multiple of 2^24 inside the interval
    if m[c] > 0xFFFFFFFF:
        carry(stream, at)
    if at >= len(stream):
        return -1
    stream[at] = (m[c] >> 24) & 0xFF
    return at + 1
