# SPDX-License-Identifier: Apache-2.0
"""Ascending numbers as a text: read back as written, as long as is said before, and no other text is accepted."""

from __future__ import annotations

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.certify.elias_fano import pack, packed_length, unpack


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[int], int]:
    most = draw(st.integers(0, 20_000))
    return sorted(draw(st.lists(st.integers(0, most), min_size=1, max_size=200))), most


@given(lists())
def test_read_back_as_written_in_the_length_that_is_known_before(case: tuple[list[int], int]) -> None:
    numbers, most = case
    text = pack(numbers, most)
    assert unpack(text, len(numbers), most) == numbers
    assert len(text) == packed_length(len(numbers), most)


@given(lists(), st.data())
def test_no_other_text_is_read(case: tuple[list[int], int], data: st.DataObject) -> None:
    """Whatever bit is changed: other numbers come out, or an error; never the same ones, and nothing out of order."""
    numbers, most = case
    raw = bytearray(base64.b64decode(pack(numbers, most)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    text = base64.b64encode(raw).decode()
    try:
        found = unpack(text, len(numbers), most)
    except ValueError:
        return
    assert found != numbers
    assert found == sorted(found)
    assert found[0] >= 0
    assert found[-1] <= most


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("sTg=", 3),
        ("sTg=", 5),
        ("sTg", 4),
        ("sTh=", 4),
        ("s*g=", 4),
        ("sT\u00e4=", 4),
        ("", 0),
        ("", -1),
        ("sTg=", 10**12),
    ],
)
def test_what_is_no_such_text_is_one_sentence(text: str, count: int) -> None:
    with pytest.raises(
        ValueError, match=f"expected {count} ascending numbers from 0 to 10 as Elias and Fano code them"
    ):
        unpack(text, count, 10)


@pytest.mark.parametrize("numbers", [[], [2, 1], [-1], [11]])
def test_other_numbers_are_not_packed(numbers: list[int]) -> None:
    with pytest.raises(ValueError, match="expected numbers from 0 to 10 in ascending order, at least one"):
        pack(numbers, 10)


@pytest.mark.parametrize("n", [10, 100, 1000, 10_000])
def test_it_takes_little_more_than_there_is_to_know(n: int) -> None:
    """To know: which of the multisets of n numbers up to 20,000 it is."""
    known = (math.lgamma(n + 20_001) - math.lgamma(n + 1) - math.lgamma(20_001)) / math.log(2)
    assert known <= 6 * packed_length(n, 20_000) <= known + 0.6 * n + 32
