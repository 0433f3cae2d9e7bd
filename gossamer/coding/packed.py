# SPDX-License-Identifier: Apache-2.0
"""Raw bit packing: the smallest value, then every value's distance from it in a fixed number of bits.

    zigzag varint smallest | byte width (0..32) | count x width bits

The baseline of the coders, and the best one for constants (width 0) and for what is near uniform.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.coding.bits import (
    INT32_MAX,
    INT32_MIN,
    no_values,
    pack,
    read_varint,
    unpack,
    unzigzag,
    write_varint,
    zigzag,
)


def encode(values: NDArray[np.int32]) -> bytes:
    """Pack integers of any shape, in C order; no values give no bytes."""
    if not values.size:
        return b""
    wide = values.reshape(-1).astype(np.int64)
    smallest = int(wide.min())
    width = int(wide.max() - smallest).bit_length()
    return write_varint(zigzag(smallest)) + bytes([width]) + pack(wide - smallest, width)


def decode(data: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The integers of `shape` that `encode` packed; ValueError for any other data."""
    count = math.prod(shape)
    if not count:
        return no_values(data, shape)
    folded, at = read_varint(data, 0, 2**32 - 1)
    smallest = unzigzag(folded)
    if at >= len(data):
        raise ValueError("ends before the width of its values; it is truncated")
    width = data[at]
    if width > 32:
        raise ValueError(f"says its values are {width} bits wide where at most 32 is allowed; it is damaged")
    values = unpack(data[at + 1 :], count, width)
    values += smallest
    if values.max() > INT32_MAX or smallest < INT32_MIN:
        raise ValueError("holds a value outside 32 bits; it is damaged")
    return values.astype(np.int32).reshape(shape)
