# SPDX-License-Identifier: Apache-2.0
"""Huffman: the lengths are the best there are, the table is what canonical means, damage is named."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.coding import huffman, packed

COUNTS = st.lists(st.integers(0, 50), min_size=2, max_size=40).filter(lambda counts: sum(map(bool, counts)) >= 2)


def unlimited_cost(counts) -> int:
    """Bits of Huffman's own code, by his own algorithm."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        cost += both
        heapq.heappush(heap, both)
    return cost


@given(COUNTS)
def test_lengths_are_optimal_and_complete(counts):
    lengths = huffman.code_lengths(np.array(counts))
    assert [bool(n) for n in lengths] == [bool(count) for count in counts]
    assert sum(2.0**-n for n in lengths[lengths > 0]) == 1
    assert int((lengths * counts).sum()) == unlimited_cost(counts)  # 50 x 40 stays below the limit of 15 bits


def test_lengths_never_pass_the_limit():
    fibonacci = [1, 1]
    while len(fibonacci) < 30:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = huffman.code_lengths(np.array(fibonacci))
    assert lengths.max() == 15
    assert sum(2.0**-n for n in lengths) == 1
    assert (lengths * fibonacci).sum() >= unlimited_cost(fibonacci)


@given(COUNTS)
def test_no_code_word_begins_another(counts):
    lengths = huffman.code_lengths(np.array(counts))
    codes = huffman.canonical_codes(lengths)
    words = [f"{code:0{n}b}" for n, code in sorted(zip(lengths.tolist(), codes.tolist(), strict=True)) if n]
    assert all(a == b or not b.startswith(a) for a in words for b in words)
    assert words == sorted(words)
    for n in set(lengths.tolist()) - {0}:
        assert np.ptp(np.diff(codes[lengths == n], prepend=codes[lengths == n][0] - 1)) == 0, "counting upwards"


def test_near_the_entropy_on_a_skewed_source():
    rng = np.random.default_rng(0)
    values = rng.geometric(0.3, 50_000).astype(np.int32)
    _, counts = np.unique(values, return_counts=True)
    entropy_bytes = -(counts * np.log2(counts / counts.sum())).sum() / 8
    size = len(huffman.encode(values))
    assert entropy_bytes < size < 1.03 * entropy_bytes
    assert size < len(packed.encode(values))


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(-(2**11), 2**11 - 1))
def test_wide_values_split_off_their_low_bits(shift, middle):
    rng = np.random.default_rng(shift)
    low = max((middle << shift) - (1 << (shift + 10)), -(2**31))
    high = min(low + (1 << (shift + 11)), 2**31 - 1)
    values = rng.integers(low, high, 300).astype(np.int32)
    assert (huffman.decode(huffman.encode(values), (300,)) == values).all()


def test_codes_longer_than_one_lookup_chunk_come_back(monkeypatch):
    monkeypatch.setattr(huffman, "CHUNK_BYTES", 7)
    values = np.random.default_rng(4).geometric(0.2, 1000).astype(np.int32)
    assert (huffman.decode(huffman.encode(values), (1000,)) == values).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("15 00 01 10 00", "splits off 21 bits where at most 20 is allowed"),
        ("00 00 8120", "holds the number 4,097 where at most 4,096"),
        ("00 00 02 21 00", "no complete prefix code"),
        ("00 00 03 1110 00", "no complete prefix code"),
        ("00 00 02 00 00", "no complete prefix code"),
        ("00 00 02 0f 00", "has a table of 16 symbols where 2 are announced"),
        ("00 00 02 11", "ends after at most 0 of 8 symbols"),
        ("00 00 01 10 01", "ends after 7 of 8 symbols"),
        ("00 00 03 2211 00", "has filling bits that are not zero"),
        ("00 00 01 11 00", "filling bits that are not zero"),
        ("00 00 02 11 00 00", "goes on after its 8 symbols"),
        ("00 feffffff0f 02 11 80", "holds a value outside 32 bits"),
        ("00 00 02", "ends inside a field"),
        ("", "ends after 0 of 8 symbols"),
    ],
)
def test_a_damaged_stream_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        huffman.decode(bytes.fromhex(data), (8,))
