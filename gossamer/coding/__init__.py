# SPDX-License-Identifier: Apache-2.0
"""Integers to bytes and back; every coder is a pair `encode(values) -> bytes`, `decode(data, shape) -> int32`.

A decoder raises ValueError for bytes that its encoder cannot have written: it reads nothing out of range and takes
time bounded by the number of values asked for. The message continues "the stream ...", for the caller to name it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gossamer.coding import adaptive, huffman, packed, relative_index


class Coder(NamedTuple):
    """How integers become bytes and come back."""

    encode: Callable[[NDArray[np.int32]], bytes]
    decode: Callable[[bytes | memoryview, tuple[int, ...]], NDArray[np.int32]]


# In order of decoding speed: of two coders that need the same bytes, the earlier is taken.
CODERS: dict[str, Coder] = {
    "packed": Coder(packed.encode, packed.decode),
    "relative": Coder(relative_index.encode, relative_index.decode),
    "huffman": Coder(huffman.encode, huffman.decode),
    "adaptive": Coder(adaptive.encode, adaptive.decode),
}


def smallest(values: NDArray[np.int32]) -> tuple[str, bytes]:
    """The coder that needs the fewest bytes for integers above -2^31, and those bytes.

    >>> smallest(np.array([7, 7, 7], np.int32))
    ('packed', b'\\x0e\\x00')
    """
    streams = {name: coder.encode(values) for name, coder in CODERS.items()}
    best = min(streams, key=lambda name: len(streams[name]))
    return best, streams[best]
