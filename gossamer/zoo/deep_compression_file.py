# SPDX-License-Identifier: Apache-2.0
"""The files that the authors of Deep Compression published: codebooks, relative indices, no Huffman code.

Source: S. Han, H. Mao, W. J. Dally, "Deep Compression", ICLR 2016, arXiv 1510.00149; the layout is that of the decoder
that the authors released with AlexNet, checked on their SqueezeNet 1.0.

    uint32 entries of each layer
    then layer after layer: float32 codebook (2^bits) | float32 bias | codes, `bits` each | gaps - 1, 4 bits each

bits are 8 for convolutions and 4 for linear layers. Of two nibbles in a byte the lower comes first. An entry's place in
the flattened weight is the sum of the gaps up to it, less one. Code 0 is the value 0, of fillers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

INDEX_BITS = 4


@dataclass(frozen=True, eq=False)
class StoredLayer:
    """One layer: `codes` int32 of the weight's shape, 0 where it is zero; its codebook (2^bits,); its bias."""

    codes: NDArray[np.int32]
    codebook: NDArray[np.float32]
    bias: NDArray[np.float32]
    entries: int

    @property
    def weight(self) -> NDArray[np.float32]:
        """The weights, to the bit what the file says."""
        values: NDArray[np.float32] = self.codebook[self.codes]
        return values


def read_layers(path: Path, layers: Sequence[tuple[tuple[int, ...], int]]) -> list[StoredLayer]:
    """The layers of a file; `layers` are the shape of each weight, outputs first, and the bits of its codes."""
    reader = _Reader(path)
    counts = reader.take(len(layers), "<u4")
    found = [_read(reader, shape, bits, int(count)) for (shape, bits), count in zip(layers, counts, strict=True)]
    if left := len(reader.data) - reader.at:
        raise ValueError(f"expected {len(layers)} layers in {path}, got {left:,} bytes more; is it another network's?")
    return found


class _Reader:
    """The bytes of a file, taken one array after the other."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def take(self, count: int, dtype: str) -> NDArray[np.generic]:
        size = count * np.dtype(dtype).itemsize
        if size > len(self.data) - self.at:
            raise ValueError(
                f"{self.path} ends at byte {len(self.data):,}, inside a layer; it is another network's, or cut"
            )
        self.at += size
        return np.frombuffer(self.data, dtype, count, self.at - size)

    def packed(self, count: int, bits: int) -> NDArray[np.int64]:
        """Numbers of 8 bits, or of 4 with two in a byte."""
        if bits == 8:
            return self.take(count, "u1").astype(np.int64)
        pairs = self.take((count + 1) // 2, "u1").astype(np.int64)
        return np.stack([pairs & 15, pairs >> 4], 1).reshape(-1)[:count]


def _read(reader: _Reader, shape: tuple[int, ...], bits: int, entries: int) -> StoredLayer:
    if bits not in (4, 8):
        raise ValueError(f"codes have 4 or 8 bits in these files, got {bits}")
    codebook = reader.take(2**bits, "<f4").astype(np.float32)
    bias = reader.take(shape[0], "<f4").astype(np.float32)
    given = reader.packed(entries, bits)
    places = np.cumsum(reader.packed(entries, INDEX_BITS) + 1) - 1
    size = int(np.prod(shape))
    if entries and places[-1] >= size:
        raise ValueError(
            f"expected {size:,} weights of shape {shape} in {reader.path}, got one at place {places[-1]:,}; "
            "it is another network's"
        )
    if codebook[0] != 0:
        raise ValueError(f"expected code 0 to be zero in {reader.path}, got {codebook[0]}; it is another network's")
    codes = np.zeros(size, np.int32)
    codes[places] = given
    return StoredLayer(codes.reshape(shape), codebook, bias, entries)
