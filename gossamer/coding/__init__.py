# SPDX-License-Identifier: Apache-2.0
"""Integers to bytes and back; every coder is a pair `encode(values) -> bytes`, `decode(data, shape) -> int32`.

A decoder raises ValueError for bytes that its encoder cannot have written: it reads nothing out of range and takes
time bounded by the number of values asked for. The message continues "the stream ...", for the caller to name it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gossamer.coding import adaptive, huffman, mixing, packed, relative_index
from gossamer.coding.mixing import Memory as Memory

MOST_MIXED = 1 << 22  # values of a file that the mixing coder may have: it reads one or two million a second
MOST_RELATIVE = 1 << 16  # values of a tensor of which `smallest` tries relative indices: never best for a large one


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
    "mixing": Coder(mixing.encode, mixing.decode),
}


def smallest(values: NDArray[np.int32], memory: Memory) -> tuple[str, bytes]:
    """The coder that needs the fewest bytes for integers above -2^31, and those bytes.

    `memory` is the mixing coder's, of the tensors before; where that coder is chosen, it is changed. Beyond MOST_MIXED
    values it is not asked, and vectors, whose neighbours say nothing, are not for it either.

    >>> smallest(np.array([7, 7, 7], np.int32), Memory())
    ('packed', b'\\x0e\\x00')
    """
    streams = _quick_streams(values)
    after = memory
    if values.ndim > 1 and memory.values + values.size <= MOST_MIXED:
        streams["mixing"], after = mixing.tried(values, memory)
    best = min(streams, key=lambda name: len(streams[name]))
    if best == "mixing":
        memory.become(after)
    return best, streams[best]


def fast(values: NDArray[np.int32], memory: Memory) -> tuple[str, bytes]:
    """The same without the mixing coder: decoded about five times as fast, small networks take some 7 % more bytes.

    >>> fast(np.array([7, 7, 7], np.int32), Memory())
    ('packed', b'\\x0e\\x00')
    """
    streams = _quick_streams(values)
    best = min(streams, key=lambda name: len(streams[name]))
    return best, streams[best]


#: How a writer chooses the coder of each tensor: by the size of the file, or by the time that its reader takes.
CHOICES = {"small": smallest, "fast": fast}


def _quick_streams(values: NDArray[np.int32]) -> dict[str, bytes]:
    """What each coder but the mixing one makes of a tensor by itself."""
    left_out = {"mixing"} | ({"relative"} if values.size > MOST_RELATIVE else set())
    return {name: coder.encode(values) for name, coder in CODERS.items() if name not in left_out}


def encode(coder: str, values: NDArray[np.int32], memory: Memory) -> bytes:
    """Code integers by the coder of this name, after the tensors that `memory` has seen."""
    if coder != "mixing":
        return CODERS[coder].encode(values)
    if memory.values + values.size > MOST_MIXED:
        raise ValueError(f"expected at most {MOST_MIXED:,} values for the mixing coder, got {values.size:,} more")
    return mixing.encode(values, memory)


def decode(coder: str, data: bytes | memoryview, shape: tuple[int, ...], memory: Memory) -> NDArray[np.int32]:
    """The integers of `shape` that `encode` wrote after the same tensors; ValueError as that of `CODERS`."""
    if coder != "mixing":
        return CODERS[coder].decode(data, shape)
    if (total := memory.values + math.prod(shape)) > MOST_MIXED:
        raise ValueError(f"brings the values of the mixing coder to {total:,}, at most {MOST_MIXED:,}; it is damaged")
    return mixing.decode(data, shape, memory)
