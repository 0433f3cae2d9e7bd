# SPDX-License-Identifier: Apache-2.0
"""Relative index: non-zero integers and the gaps between them, each stream with a Huffman code of its own.

Paper: S. Han, H. Mao, W. J. Dally, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained
Quantization and Huffman Coding", ICLR 2016, arXiv 1510.00149, sections 2 (gaps and fillers) and 4 (Huffman codes).

    gap = position - position of the entry before (-1 at the start), 1 <= gap <= 2^b
    where the next value is farther away, a filler goes first: an entry with gap 2^b and value 0

    byte b (1..12) | varint entries | varint bytes of the gaps | gaps - 1, as by huffman.py | values, likewise

Seven integers with b = 1, so that a gap is 1 or 2; the filler is the entry (2, 0):

    0 0 0 5 0 7 0   ->   (2, 0) (2, 5) (2, 7)

Differs from the paper:
1. b is chosen for each tensor unless it is given; the paper's tables have 5 for LeNet and VGG-16, 4 for AlexNet.
2. The end counts as one more value whose entry is not written: zeros behind the last value are bridged by fillers
   too, and fewer than 2^b are left over. So the bytes bound how many integers there can be.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.coding import huffman
from gossamer.coding.bits import no_values, read_varint, write_varint

LONGEST = 12  # bits of a gap: its symbols then fit the table of one Huffman code


def encode(values: NDArray[np.int32], index_bits: int | None = None) -> bytes:
    """Code integers of any shape, in C order, with gaps in `index_bits` bits or in the cheapest number of them."""
    if index_bits is not None and not 1 <= index_bits <= LONGEST:
        raise ValueError(f"index_bits must be in 1..{LONGEST}, got {index_bits}; the paper has 4 and 5")
    if not values.size:
        return b""
    flat = values.reshape(-1)
    b = _cheapest(flat) if index_bits is None else index_bits
    gaps, codes = entries(flat, b)
    coded = huffman.encode(gaps)
    return bytes([b]) + write_varint(len(gaps)) + write_varint(len(coded)) + coded + huffman.encode(codes)


def decode(data: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The integers of `shape` that `encode` coded; ValueError for anything that is not such a code."""
    count = math.prod(shape)
    if not count:
        return no_values(data, shape)
    if not len(data):
        raise ValueError(f"ends after 0 of {count:,} symbols; it is truncated")
    b = data[0]
    if not 1 <= b <= LONGEST:
        raise ValueError(f"has gaps of {b} bits where 1 to {LONGEST} are allowed; it is damaged")
    number, at = read_varint(data, 1, count)
    size, at = read_varint(data, at, len(data))
    if size > len(data) - at:
        raise ValueError(f"ends inside its gaps, which take {size:,} bytes; it is truncated")
    gaps = huffman.decode(data[at : at + size], (number,)).astype(np.int64)
    coded = huffman.decode(data[at + size :], (number,))
    if number and (gaps.min() < 0 or gaps.max() >= 1 << b):
        raise ValueError(f"has a gap outside 1..{1 << b}; it is damaged")
    positions = np.cumsum(gaps + 1) - 1
    last = int(positions[-1]) if number else -1
    if last >= count:
        raise ValueError(f"goes on after its {count:,} symbols; it is damaged")
    if count - 1 - last >= 1 << b:  # so nothing larger than the bytes account for is made
        raise ValueError(f"ends after at most {last + (1 << b):,} of {count:,} symbols; it is truncated")
    if (gaps[coded == 0] != (1 << b) - 1).any():
        raise ValueError(f"has a filler with a gap of less than {1 << b}; it is damaged")
    values = np.zeros(count, np.int32)
    values[positions] = coded
    return values.reshape(shape)


def entries(values: NDArray[np.int32], index_bits: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Gaps less one and values of all entries, fillers among them, (E,) each, for integers of any shape.

    >>> gaps, values = entries(np.array([0, 0, 0, 5, 0, 7, 0], np.int32), 1)
    >>> gaps.tolist(), values.tolist()
    ([1, 1, 1], [0, 5, 7])
    """
    flat = values.reshape(-1)
    positions, left_out = _gaps(flat)
    fillers = left_out >> index_bits
    ends = np.cumsum(fillers + 1) - 1  # where each value's own entry stands; the last is that of the end
    gaps = np.full(int(ends[-1]), (1 << index_bits) - 1, np.int32)
    codes = np.zeros(len(gaps), np.int32)
    gaps[ends[:-1]] = left_out[:-1] & ((1 << index_bits) - 1)
    codes[ends[:-1]] = flat[positions]
    return gaps, codes


def _gaps(flat: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the non-zero values, (V,), and the zeros before each and before the end, (V + 1,)."""
    positions = np.flatnonzero(flat)
    bounds = np.concatenate([[-1], positions, [len(flat)]])
    return positions, np.diff(bounds) - 1


def _cheapest(flat: NDArray[np.int32]) -> int:
    """The b whose two codes take the fewest bits; of equals the smallest."""
    positions, left_out = _gaps(flat)
    _, counts = np.unique(flat[positions], return_counts=True)
    times = np.bincount(left_out[:-1])  # a histogram serves every b
    widths = np.flatnonzero(times)
    times = times[widths]

    def bits(b: int) -> int:
        fillers = int(((widths >> b) * times).sum() + (left_out[-1] >> b))
        gaps = np.zeros(1 << b, np.int64)
        np.add.at(gaps, widths & ((1 << b) - 1), times)
        gaps[-1] += fillers
        lengths = huffman.code_lengths(gaps) if gaps.any() else gaps
        table = 8 * len(huffman.write_lengths(np.trim_zeros(lengths)))
        return table + int((lengths * gaps).sum()) + _code_bits(np.append(counts, fillers))

    return min(range(1, LONGEST + 1), key=bits)


def _code_bits(counts: NDArray[np.int64]) -> int:
    """Bits of a Huffman code of symbols that occur so often; of very many symbols their entropy."""
    present = counts[counts > 0]
    if not len(present):
        return 0
    if len(present) > huffman.SPAN:
        return int(-(present * np.log2(present / present.sum())).sum())
    return int((huffman.code_lengths(present) * present).sum())
