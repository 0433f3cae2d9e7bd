# SPDX-License-Identifier: Apache-2.0
"""Canonical Huffman code, at most 15 bits a symbol, with its table in the stream.

Paper: D. A. Huffman, "A method for the construction of minimum-redundancy codes", Proc. IRE 40 (1952);
    L. L. Larmore, D. S. Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", J. ACM 37
    (1990): package-merge, which chooses the lengths.

    value = symbol * 2^shift + rest, 0 <= rest < 2^shift
    byte shift | zigzag varint first symbol | varint span (1..4096) | code lengths | codes | rests

Only the lengths are stored: codes of equal length count upwards with the symbol, and the shortest come first.
`shift` is 0 for every tensor that the code is meant for; it keeps the table bounded for any other.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.coding.bits import (
    INT32_MAX,
    INT32_MIN,
    BitReader,
    no_values,
    pack,
    packed_bytes,
    read_varint,
    unpack,
    unzigzag,
    write_bits,
    write_varint,
    zigzag,
)

LONGEST = 15  # bits: a length fits four bits, and one table of 2^15 entries decodes a symbol in one step
SPAN = 4096  # symbols in the table at most
CHUNK_BYTES = 1 << 16  # of codes, looked up at every bit position at once


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lengths, (S,), of the best prefix code of at most 15 bits; 0 for symbols that never occur.

    Package-merge: a symbol is a coin of every denomination 2^-1 ... 2^-15; the cheapest set of coins worth S - 1
    is found by packaging pairs from the smallest denomination up; a symbol's length is how many of its coins are in.

    >>> code_lengths(np.array([8, 4, 2, 2, 0])).tolist()
    [1, 2, 3, 3, 0]
    """
    lengths = np.zeros(len(counts), np.int64)
    present = np.flatnonzero(counts)
    if len(present) == 1:
        lengths[present] = 1
        return lengths
    order = present[np.argsort(counts[present], kind="stable")]
    costs = counts[order].tolist()
    rows: list[list[int]] = []  # per denomination: each coin in order of cost, a symbol as its number, a package as -1
    packages: list[int] = []
    for _ in range(LONGEST):
        coins = [(cost, symbol) for symbol, cost in enumerate(costs)] + [(cost, -1) for cost in packages]
        coins.sort(key=lambda coin: coin[0])
        rows.append([symbol for _, symbol in coins])
        packages = [a[0] + b[0] for a, b in zip(coins[::2], coins[1::2], strict=False)]
    taken = 2 * len(order) - 2
    for row in reversed(rows):  # a row's packages are pairs of the row below it, cheapest first
        symbols = [symbol for symbol in row[:taken] if symbol >= 0]
        lengths[order[symbols]] += 1
        taken = 2 * (taken - len(symbols))
    return lengths


def canonical_codes(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The code words, (S,), that the lengths imply: in order of length, then of symbol.

    >>> canonical_codes(np.array([1, 2, 3, 3, 0])).tolist()
    [0, 2, 6, 7, 0]
    """
    codes = np.zeros_like(lengths)
    present = np.flatnonzero(lengths)
    order = present[np.argsort(lengths[present], kind="stable")]
    steps = np.left_shift(1, LONGEST - lengths[order])  # room each word takes among the 2^15 longest
    codes[order] = (np.cumsum(steps) - steps) >> (LONGEST - lengths[order])
    return codes


def encode(values: NDArray[np.int32]) -> bytes:
    """Code integers of any shape, in C order; no values give no bytes."""
    if not values.size:
        return b""
    wide = values.reshape(-1).astype(np.int64)
    low, high = int(wide.min()), int(wide.max())
    shift = 0
    while (high >> shift) - (low >> shift) >= SPAN:
        shift += 1
    first = low >> shift
    symbols = (wide >> shift) - first
    lengths = code_lengths(np.bincount(symbols))
    head = bytes([shift]) + write_varint(zigzag(first)) + write_varint(len(lengths)) + write_lengths(lengths)
    return head + _write_codes(symbols, lengths) + pack(wide & ((1 << shift) - 1), shift)


def decode(data: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The integers of `shape` that `encode` coded; ValueError for anything that is not such a code."""
    count = math.prod(shape)
    if not count:
        return no_values(data, shape)
    if not len(data):
        raise ValueError(f"ends after 0 of {count:,} symbols; it is truncated")
    shift = data[0]
    if shift > 20:
        raise ValueError(f"splits off {shift} bits where at most 20 is allowed; it is damaged")
    folded, at = read_varint(data, 1, 2**32 - 1)
    span, at = read_varint(data, at, SPAN)
    lengths, size = _read_lengths(data[at:], span)
    at += size
    end = len(data) - packed_bytes(count, shift)
    if count > 8 * (end - at):  # every symbol takes a bit: refused before anything of that size is made
        raise ValueError(f"ends after at most {max(8 * (end - at), 0):,} of {count:,} symbols; it is truncated")
    values = _read_codes(data[at:end], count, lengths)
    values += unzigzag(folded)
    values <<= shift
    values |= unpack(data[end:], count, shift)
    if values.min() < INT32_MIN or values.max() > INT32_MAX:
        raise ValueError("holds a value outside 32 bits; it is damaged")
    return values.astype(np.int32).reshape(shape)


def write_lengths(lengths: NDArray[np.int64]) -> bytes:
    """Four bits a length; a 0 is followed by four bits more, how many zeros follow it (0..15)."""
    fields = []
    zeros = 0
    for length in [*lengths.tolist(), None]:  # the sentinel ends a last run
        if length == 0 and zeros < 16:
            zeros += 1
            continue
        if zeros:
            fields += [(0, 4), (zeros - 1, 4)]
        zeros = 1 if length == 0 else 0
        if length:
            fields.append((length, 4))
    return write_bits(fields)


def _read_lengths(data: bytes | memoryview, span: int) -> tuple[NDArray[np.int64], int]:
    """`span` code lengths and the bytes they took; ValueError unless they make a complete prefix code."""
    reader = BitReader(data)
    lengths: list[int] = []
    while len(lengths) < span:
        length = reader.read(4)
        lengths += [length] if length else [0] * (reader.read(4) + 1)
    if len(lengths) != span:
        raise ValueError(f"has a table of {len(lengths):,} symbols where {span:,} are announced; it is damaged")
    used = [length for length in lengths if length]
    if sum(1 << (LONGEST - length) for length in used) != 1 << LONGEST and used != [1]:
        raise ValueError("has a table that is no complete prefix code; it is damaged")
    return np.array(lengths, np.int64), reader.align()


def _write_codes(symbols: NDArray[np.int64], lengths: NDArray[np.int64]) -> bytes:
    codes = canonical_codes(lengths)[symbols]
    sizes = lengths[symbols]
    starts = np.cumsum(sizes) - sizes
    bits = np.zeros(int(sizes.sum()), np.uint8)
    for place in range(int(sizes.max())):
        here = sizes > place
        bits[starts[here] + place] = (codes[here] >> (sizes[here] - 1 - place)) & 1
    return np.packbits(bits).tobytes()


def _read_codes(data: bytes | memoryview, count: int, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """`count` symbols, (count,).

    What a code word beginning at *every* bit would be is looked up at once by numpy; Python then only hops from word
    to word through a list (some 50 ns a symbol), a chunk at a time so that memory stays bounded.
    """
    symbol_at, length_at = _lookup(lengths)
    total = 8 * len(data)
    padded = np.zeros(len(data) + 2, np.int32)
    padded[:-2] = np.frombuffer(data, np.uint8)
    words = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]  # the 24 bits that start at each byte
    shifts = np.arange(9, 1, -1, dtype=np.int32)  # bit 0 of a byte sees word >> 9, bit 7 word >> 2
    out = np.empty(count, np.int64)
    done = position = 0
    for start in range(0, len(data), CHUNK_BYTES):
        windows = ((words[start : start + CHUNK_BYTES, None] >> shifts) & 0x7FFF).reshape(-1)
        hops: list[int] = length_at[windows].tolist()
        base, visited = 8 * start, []
        here, room = position - base, len(hops)
        for _ in range(count - done):
            if here >= room:
                break
            visited.append(here)
            here += hops[here]
        out[done : done + len(visited)] = symbol_at[windows[visited]] if visited else 0
        done += len(visited)
        position = base + here
    if done < count or position > total:
        raise ValueError(f"ends after {min(done, count - 1):,} of {count:,} symbols; it is truncated or damaged")
    if total - position >= 8 or (data[-1] & ((1 << (total - position)) - 1)):
        raise ValueError(f"goes on after its {count:,} symbols; it is damaged")
    return out


def _lookup(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each of the 2^15 possible next 15 bits: the symbol that starts there, and its length."""
    present = np.flatnonzero(lengths)
    order = present[np.argsort(lengths[present], kind="stable")]
    room = np.left_shift(1, LONGEST - lengths[order])
    symbol_at = np.repeat(order, room)
    length_at = np.repeat(lengths[order], room)
    missing = (1 << LONGEST) - len(symbol_at)  # only a lone symbol leaves words unused: a hop past any end
    return np.pad(symbol_at, (0, missing)), np.pad(length_at, (0, missing), constant_values=1 << 40)
