# SPDX-License-Identifier: Apache-2.0
"""Bits and small integers: fixed-width packing, zigzag, LEB128 varints, a bounded bit reader.

Every multi-bit field is written most significant bit first; the last byte is filled with zero bits. A reader
refuses other filling, so that there is one spelling of every value.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 16  # values packed at once; a multiple of 8, so that every chunk ends on a whole byte
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def no_values(data: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """What any coder decodes for a shape that holds no values; ValueError unless there are no bytes either."""
    if len(data):
        raise ValueError(f"holds {len(data):,} bytes where no values are expected; it is damaged")
    return np.zeros(shape, np.int32)


def zigzag(value: int) -> int:
    """Fold the sign into the lowest bit, so that small magnitudes stay small.

    >>> [zigzag(v) for v in (0, -1, 1, -2, 2)]
    [0, 1, 2, 3, 4]
    """
    return 2 * value if value >= 0 else -2 * value - 1


def unzigzag(folded: int) -> int:
    """The inverse of `zigzag`."""
    return folded >> 1 if folded % 2 == 0 else -(folded >> 1) - 1


def write_varint(value: int) -> bytes:
    """LEB128: seven bits a byte, lowest first, the top bit set on every byte but the last.

    >>> write_varint(300).hex()
    'ac02'
    """
    if value < 0:
        raise ValueError(f"a varint must be at least 0, got {value}; fold signed numbers with zigzag first")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes | memoryview, at: int, most: int) -> tuple[int, int]:
    """The varint that starts at byte `at`, and the position after it.

    Raises ValueError where the data end first, the value exceeds `most`, or the spelling is longer than needed.
    """
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError(f"ends inside a number at byte {at:,}; it is truncated")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if value > most:
            raise ValueError(f"holds the number {value:,} where at most {most:,} is allowed; it is damaged")
        if byte < 0x80:
            if byte == 0 and shift:
                raise ValueError("spells a number with more bytes than it needs; it is damaged")
            return value, at
        shift += 7
        if shift > most.bit_length():
            raise ValueError(f"holds a number of more than {most.bit_length()} bits; it is damaged")


def packed_bytes(count: int, width: int) -> int:
    """Bytes that `count` values of `width` bits occupy."""
    return (count * width + 7) // 8


def pack(values: NDArray[np.int64], width: int) -> bytes:
    """Write values of 0 to 2^width - 1, (N,), in `width` bits each."""
    shifts = np.arange(width - 1, -1, -1, dtype=np.int64)
    parts = []
    for start in range(0, len(values) if width else 0, CHUNK):
        bits = (values[start : start + CHUNK, None] >> shifts) & 1
        parts.append(np.packbits(bits.astype(np.uint8)).tobytes())
    return b"".join(parts)


def unpack(data: bytes | memoryview, count: int, width: int) -> NDArray[np.int64]:
    """The inverse of `pack`, (count,); ValueError unless `data` is exactly as long as it must be."""
    if len(data) != packed_bytes(count, width):
        raise ValueError(
            f"holds {len(data):,} bytes where {count:,} values of {width} bits need "
            f"{packed_bytes(count, width):,}; it is truncated or damaged"
        )
    values = np.zeros(count, np.int64)
    if not width or not count:
        return values
    padding = -count * width % 8
    if data[-1] & ((1 << padding) - 1):
        raise ValueError("ends in filling bits that are not zero; it is damaged")
    weights = np.left_shift(1, np.arange(width - 1, -1, -1, dtype=np.int64))
    step = CHUNK * width // 8
    for chunk, start in enumerate(range(0, len(data), step)):
        bits = np.unpackbits(np.frombuffer(data[start : start + step], np.uint8))
        first = chunk * CHUNK
        here = min(CHUNK, count - first)
        values[first : first + here] = bits[: here * width].reshape(here, width) @ weights
    return values


class BitReader:
    """Fields of a few bits, one after the other, from `data`; ValueError rather than a read past its end."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data
        self.position = 0  # in bits

    def read(self, width: int) -> int:
        """The next `width` bits as an unsigned number."""
        end = self.position + width
        if end > 8 * len(self.data):
            raise ValueError(f"ends inside a field at byte {len(self.data):,}; it is truncated")
        field = self.data[self.position // 8 : (end + 7) // 8]
        self.position = end
        return (int.from_bytes(field, "big") >> (-end % 8)) & ((1 << width) - 1)

    def align(self) -> int:
        """Skip the zero bits that fill the current byte; returns the position in bytes."""
        if self.read(-self.position % 8):
            raise ValueError("has filling bits that are not zero; it is damaged")
        return self.position // 8


def write_bits(fields: Iterable[tuple[int, int]]) -> bytes:
    """Write (value, width) fields one after the other, filled with zero bits to a whole byte.

    >>> write_bits([(1, 1), (5, 3)]).hex()
    'd0'
    """
    whole = length = 0
    for value, width in fields:
        whole = whole << width | value
        length += width
    padding = -length % 8
    return (whole << padding).to_bytes((length + padding) // 8, "big")
