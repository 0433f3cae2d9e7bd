# SPDX-License-Identifier: Apache-2.0
"""Bits, varints and fixed-width packing, against definitions written out in the test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.coding import bits

NUMBERS = st.integers(0, 2**64)


@given(st.integers(-(2**40), 2**40))
def test_zigzag_inverts_and_keeps_small_magnitudes_small(value):
    assert bits.unzigzag(bits.zigzag(value)) == value
    assert bits.zigzag(value) in (2 * abs(value), 2 * abs(value) - 1)


@given(NUMBERS, st.binary(max_size=3))
def test_a_varint_comes_back_with_the_position_after_it(value, prefix):
    data = bits.write_varint(value)
    assert bits.read_varint(prefix + data, len(prefix), 2**64) == (value, len(prefix) + len(data))
    assert len(data) == max(1, -(-value.bit_length() // 7))


@pytest.mark.parametrize(
    ("data", "most", "message"),
    [
        ("", 9, "ends inside a number at byte 0; it is truncated"),
        ("8080", 2**20, "ends inside a number at byte 2"),
        ("0a", 9, "holds the number 10 where at most 9 is allowed"),
        ("8000", 2**20, "with more bytes than it needs"),
        ("80" * 9 + "01", 2**20, "a number of more than 21 bits"),
    ],
)
def test_a_bad_varint_is_refused(data, most, message):
    with pytest.raises(ValueError, match=message):
        bits.read_varint(bytes.fromhex(data), 0, most)


def test_a_negative_varint_is_refused():
    with pytest.raises(ValueError, match="at least 0, got -1; fold signed numbers"):
        bits.write_varint(-1)


@given(st.data(), st.integers(0, 32), st.integers(0, 40))
def test_packing_inverts_and_is_the_plain_binary_number(data, width, count):
    values = data.draw(st.lists(st.integers(0, 2**width - 1), min_size=count, max_size=count))
    packed = bits.pack(np.array(values, np.int64), width)
    digits = "".join(f"{value:0{width}b}" for value in values) if width else ""
    digits += "0" * (-len(digits) % 8)
    assert packed == bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))
    assert bits.unpack(packed, count, width).tolist() == values


@pytest.mark.parametrize("width", [1, 3, 8, 13])
def test_packing_inverts_over_several_chunks(width):
    values = np.random.default_rng(width).integers(0, 2**width, 2 * bits.CHUNK + 5)
    assert (bits.unpack(bits.pack(values, width), len(values), width) == values).all()


def test_packed_values_of_the_wrong_length_or_with_dirty_filling_are_refused():
    packed = bits.pack(np.array([1, 2, 3]), 3)
    with pytest.raises(ValueError, match="holds 1 bytes where 3 values of 3 bits need 2"):
        bits.unpack(packed[:1], 3, 3)
    with pytest.raises(ValueError, match="filling bits that are not zero"):
        bits.unpack(packed[:1] + bytes([packed[1] | 1]), 3, 3)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 2**20)), max_size=30))
def test_bit_fields_come_back_in_order(raw):
    fields = [(value % (1 << width), width) for width, value in raw]
    data = bits.write_bits(fields)
    reader = bits.BitReader(data)
    assert [reader.read(width) for _, width in fields] == [value for value, _ in fields]
    assert reader.align() == len(data)
    with pytest.raises(ValueError, match="ends inside a field"):
        reader.read(1)


def test_a_reader_refuses_dirty_filling():
    reader = bits.BitReader(b"\xff")
    reader.read(3)
    with pytest.raises(ValueError, match="filling bits that are not zero"):
        reader.align()
