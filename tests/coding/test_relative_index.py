# SPDX-License-Identifier: Apache-2.0
"""Relative index: gaps and fillers at their exact boundaries, the best number of bits, damage by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.coding import huffman, relative_index
from gossamer.coding.bits import read_varint, write_varint
from gossamer.coding.relative_index import decode, encode, entries


def at(positions: dict[int, int], count: int) -> np.ndarray:
    values = np.zeros(count, np.int32)
    for position, value in positions.items():
        values[position] = value
    return values


def parts(data: bytes) -> tuple[int, list[int], list[int]]:
    """b, gaps and values of a stream of fewer than 128 entries."""
    b, number = data[0], data[1]
    size, at = read_varint(data, 2, 2**20)
    gaps = huffman.decode(data[at : at + size], (number,)) + 1
    return b, gaps.tolist(), huffman.decode(data[at + size :], (number,)).tolist()


def stream(b: int, gaps: list[int], values: list[int]) -> bytes:
    """A stream with these entries, honest or not."""
    coded = huffman.encode(np.array(gaps, np.int32) - 1)
    return (
        bytes([b])
        + write_varint(len(gaps))
        + write_varint(len(coded))
        + coded
        + huffman.encode(np.array(values, np.int32))
    )


def test_the_example_of_the_docstring():
    assert parts(encode(at({3: 5, 5: 7}, 7), 1)) == (1, [2, 2, 2], [0, 5, 7])


@pytest.mark.parametrize("b", [1, 3, 4, 5, 12])
def test_fillers_begin_where_a_gap_exceeds_two_to_the_b(b):
    longest = 2**b
    for first, expected in (
        (longest, ([longest], [9])),  # a gap of 2^b still fits
        (longest + 1, ([longest, 1], [0, 9])),  # one more needs a filler, and a gap of 1 after it
        (2 * longest, ([longest, longest], [0, 9])),
        (2 * longest + 1, ([longest, longest, 1], [0, 0, 9])),
    ):
        values = at({first - 1: 9}, first)
        data = encode(values, b)
        assert parts(data) == (b, *expected)
        assert (decode(data, values.shape) == values).all()
        assert len(entries(values, b)[0]) == len(expected[0])


@pytest.mark.parametrize("b", [1, 3, 5])
def test_zeros_behind_the_last_value_take_fillers_from_two_to_the_b_on(b):
    for zeros, fillers in ((0, 0), (2**b - 1, 0), (2**b, 1), (2 ** (b + 1) - 1, 1), (2 ** (b + 1), 2)):
        values = at({0: 7}, 1 + zeros)
        data = encode(values, b)
        assert parts(data) == (b, [1] + [2**b] * fillers, [7] + [0] * fillers)
        assert (decode(data, values.shape) == values).all()


def test_all_zeros_take_hardly_a_byte():
    values = np.zeros((100, 100), np.int32)
    data = encode(values)
    assert len(data) < 16
    assert (decode(data, values.shape) == values).all()
    assert encode(np.zeros(3, np.int32), 5) == bytes([5, 0, 0])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(-5, 5)), max_size=60),
    st.integers(0, 70),
    st.none() | st.integers(1, 12),
)
def test_sparse_integers_come_back(runs, trailing, b):
    values = np.array([v for zeros, value in runs for v in [0] * zeros + [value]] + [0] * trailing, np.int32)
    data = encode(values, b)
    assert (decode(data, values.shape) == values).all()
    if values.size and b:
        assert data[0] == b


def test_the_bits_are_those_that_need_the_fewest_bytes():
    rng = np.random.default_rng(0)
    for density in (0.5, 0.08, 0.004):
        values = np.where(rng.random(20_000) < density, rng.integers(1, 30, 20_000), 0).astype(np.int32)
        sizes = {b: len(encode(values, b)) for b in range(1, 13)}
        assert len(encode(values)) <= 1.002 * min(sizes.values()), "the choice counts bits, not bytes"
        assert max(sizes.values()) > 1.05 * min(sizes.values()), "the choice must matter, or the test says nothing"


def test_it_beats_coding_every_zero_where_there_are_many():
    rng = np.random.default_rng(1)
    values = np.where(rng.random((300, 784)) < 0.08, rng.integers(-31, 32, (300, 784)), 0).astype(np.int32)
    assert len(encode(values, 5)) < 0.65 * len(huffman.encode(values))


@pytest.mark.parametrize("b", [0, 13, -1])
def test_other_numbers_of_bits_are_refused(b):
    with pytest.raises(ValueError, match=rf"index_bits must be in 1..12, got {b}; the paper has 4 and 5"):
        encode(np.ones(3, np.int32), b)


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        (b"", 20, "ends after 0 of 20 symbols; it is truncated"),
        (stream(0, [1], [1]), 20, "has gaps of 0 bits where 1 to 12 are allowed"),
        (stream(13, [1], [1]), 20, "has gaps of 13 bits where 1 to 12 are allowed"),
        (bytes([5, 21]), 20, "holds the number 21 where at most 20"),
        (bytes([5, 2, 9, 0]), 20, "holds the number 9 where at most 4"),
        (bytes([5, 2, 4, 0]), 20, "ends inside its gaps, which take 4 bytes"),
        (stream(2, [4, 4, 4, 4, 4], [0, 0, 0, 0, 1]), 19, "goes on after its 19 symbols"),
        (stream(2, [4, 4, 4], [1, 1, 1]), 20, "ends after at most 15 of 20 symbols"),
        (stream(2, [4, 1, 1, 1], [1, 1, 1, 1]), 15, "ends after at most 10 of 15 symbols"),
        (stream(4, [5, 3], [0, 1]), 20, "has a filler with a gap of less than 16"),
        (stream(2, [5, 4, 4, 4], [1, 1, 1, 1]), 18, "has a gap outside 1..4"),
        (stream(2, [1, 0, 4], [1, 1, 1]), 8, "has a gap outside 1..4"),
        (stream(5, [2], [1])[:-1], 20, "truncated|damaged|ends inside"),
        (stream(5, [2], [1]) + b"\0", 20, "goes on after its 1 symbols"),
        (bytes([5, 0, 0, 0]), 20, "holds 1 bytes where no values are expected"),
    ],
)
def test_a_damaged_stream_is_named(data, count, message):
    with pytest.raises(ValueError, match=message):
        decode(data, (count,))


def test_a_filler_too_many_goes_past_the_end():
    assert (decode(stream(2, [1, 4], [7, 0]), (8,)) == at({0: 7}, 8)).all()
    with pytest.raises(ValueError, match="ends after at most 8 of 9 symbols"):
        decode(stream(2, [1, 4], [7, 0]), (9,))
    with pytest.raises(ValueError, match="goes on after its 8 symbols"):
        decode(stream(2, [1, 4, 4], [7, 0, 0]), (8,))


def test_the_longest_gap_fits_the_table_of_a_huffman_code():
    assert 2**relative_index.LONGEST == huffman.SPAN
