# SPDX-License-Identifier: Apache-2.0
"""Range coder: one decision and its probability at a time, to bytes and back; what is alike in all coders that use it.

The arithmetic is derived in the header of `adaptive`. `m[c]` to `m[c + 3]` hold low, range, what the decoder holds, and
the position in the stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.coding.bits import no_values

VALUES_PER_BYTE = 1 << 17  # a decision costs at least -log2(1 - 3 / 65536) bits, so a byte holds fewer values

Run = Callable[[bool, NDArray[np.uint8], NDArray[np.int32]], tuple[int, int]]
"""Codes flat integers into a stream, or back: (encoding, stream, values) -> bytes written or read, and what the decoder
still holds; (-1, 0) where an encoder's stream is too short, (-1 - i, 0) where a decoder's ends inside value i."""


def written(values: NDArray[np.int32], run: Run) -> bytes:
    """Integers of -(2^31 - 1) to 2^31 - 1 of any shape, coded by `run`, which may be called several times."""
    flat = np.ascontiguousarray(values, np.int32).reshape(-1)
    if not flat.size:
        return b""
    if int(flat.min()) == -(2**31):
        raise ValueError("expected integers of at least -2147483647, got -2147483648; use another coder for them")
    room = 64 + 2 * flat.size
    while True:
        stream = np.zeros(room, np.uint8)
        size, _ = run(True, stream, flat)
        if size >= 0:
            return stream[:size].tobytes()
        room *= 4  # 2 bytes a value are plenty for weights, not for noise over the whole range


def read(data: bytes | memoryview, shape: tuple[int, ...], run: Run) -> NDArray[np.int32]:
    """The integers of `shape` that `run` coded; ValueError for anything that it would not have written."""
    count = math.prod(shape)
    if not count:
        return no_values(data, shape)
    if count > VALUES_PER_BYTE * (len(data) + 4):  # before anything of that size is made
        raise ValueError(f"has {len(data):,} bytes, which cannot hold {count:,} symbols; it is truncated or damaged")
    values = np.zeros(count, np.int32)
    # a copy, since machine code is compiled for arrays that can be written
    size, held = run(False, np.frombuffer(data, np.uint8).copy(), values)
    if size < 0:
        raise ValueError(f"ends after {-size - 1:,} of {count:,} symbols; it is truncated or damaged")
    if size != len(data) or held >= 1 << 24:
        raise ValueError(f"does not end where its {count:,} symbols end; it is damaged")
    return values.reshape(shape)


def call(
    compiled: Callable[..., tuple[int, int]] | None,
    plain: Callable[..., tuple[int, int]],
    encoding: bool,
    stream: NDArray[np.uint8],
    values: NDArray[np.int32],
    sizes: Sequence[int],
    arrays: Sequence[NDArray[Any]],
    learned: int = 0,
) -> tuple[int, int]:
    """Run a loop over (encoding, stream, values, *sizes, *arrays), as machine code where it is `compiled`.

    Otherwise on lists, which plain Python indexes faster. The first `learned` arrays are left as the loop leaves them.
    """
    if compiled is not None:
        size, held = compiled(encoding, stream, values, *sizes, *arrays)
        return int(size), int(held)
    lists = [array.tolist() for array in arrays]
    byte_list, value_list = bytearray(stream.tobytes()), values.tolist()
    size, held = plain(encoding, byte_list, value_list, *sizes, *lists)
    for array, changed in zip(arrays[:learned], lists, strict=False):
        array[:] = changed
    if encoding:
        stream[:] = np.frombuffer(byte_list, np.uint8)
    else:
        values[:] = value_list
    return size, held


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
