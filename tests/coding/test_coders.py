# SPDX-License-Identifier: Apache-2.0
"""The contract of every coder: what it encodes comes back, and nothing else is accepted or goes out of bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer.coding import CODERS, Memory, fast, smallest

SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)
ALL = st.integers(-(2**31) + 1, 2**31 - 1)
SMALL = st.sampled_from([0, 0, 0, 0, 1, -1, 2, -3, 7])
ARRAYS = st.one_of(SMALL, st.integers(-130, 130), ALL).flatmap(
    lambda _: st.sampled_from([SMALL, st.integers(-130, 130), ALL]).flatmap(
        lambda elements: hnp.arrays(np.int32, SHAPES, elements=elements)
    )
)
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

each_coder = pytest.mark.parametrize("coder", CODERS.values(), ids=CODERS.keys())


@each_coder
@RELAXED
@given(values=ARRAYS)
def test_integers_come_back(coder, values):
    decoded = coder.decode(coder.encode(values), values.shape)
    assert decoded.dtype == np.int32
    assert decoded.shape == values.shape
    assert (decoded == values).all()


@each_coder
def test_the_order_in_memory_does_not_matter(coder):
    values = np.arange(24, dtype=np.int32).reshape(2, 3, 4) % 5
    assert coder.encode(np.asfortranarray(values)) == coder.encode(values)
    data = coder.encode(values)
    assert (coder.decode(memoryview(data), values.shape) == values).all()


@each_coder
@RELAXED
@given(values=ARRAYS, garbage=st.binary(max_size=40))
def test_what_is_accepted_is_what_would_have_been_written(coder, values, garbage):
    """Any bytes either raise ValueError or are the one encoding of what they decode to."""
    for data in (garbage, coder.encode(values) + garbage[:1], coder.encode(values)[:-1]):
        try:
            decoded = coder.decode(data, values.shape)
        except ValueError:
            continue
        if coder not in (CODERS["huffman"], CODERS["relative"]):  # a Huffman table need not be the best to be valid
            if coder is CODERS["packed"] and data != coder.encode(decoded):
                continue  # wider or lower than needed, harmless
            assert coder.encode(decoded) == data
        else:
            assert (coder.decode(coder.encode(decoded), values.shape) == decoded).all()


@each_coder
def test_truncation_anywhere_is_noticed(coder):
    values = np.random.default_rng(1).integers(-9, 10, (4, 3, 3, 3)).astype(np.int32)
    data = coder.encode(values)
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"ends|holds|truncated|damaged"):
            coder.decode(data[:length], values.shape)


@each_coder
def test_bytes_too_many_are_noticed(coder):
    values = np.random.default_rng(2).integers(-9, 10, (5, 7)).astype(np.int32)
    for extra in (b"\0", b"\xff", b"\0" * 9):
        with pytest.raises(ValueError, match=r"bytes|goes on|end where"):
            coder.decode(coder.encode(values) + extra, values.shape)
    with pytest.raises(ValueError, match="where no values are expected"):
        coder.decode(b"\0", (3, 0))


@each_coder
def test_a_count_that_the_bytes_cannot_hold_is_refused_before_memory_is_taken(coder):
    if coder is CODERS["packed"]:
        data, message = b"\0\1\0", "values of 1 bits need"
    else:
        data, message = coder.encode(np.arange(5, dtype=np.int32)), "cannot hold|ends after"
    with pytest.raises(ValueError, match=message):
        coder.decode(data, (2**20, 2**20))


def test_the_fast_choice_is_the_smallest_but_for_the_mixing_coder():
    rows = np.repeat(np.random.default_rng(0).integers(-2, 3, (64, 1)), 64, axis=1).astype(np.int32)
    memory, untouched = Memory(), Memory()
    name, data = smallest(rows, memory)
    quick, others = fast(rows, untouched)
    assert (name, quick == "mixing") == ("mixing", False)
    assert len(data) < len(others) == min(len(CODERS[c].encode(rows)) for c in CODERS if c != "mixing")
    assert (memory.values, untouched.values) == (rows.size, 0)
    assert (CODERS[quick].decode(others, rows.shape) == rows).all()


def test_the_smallest_is_taken_and_the_earlier_of_equals():
    rng = np.random.default_rng(3)
    sparse = np.where(rng.random((40, 40)) < 0.9, 0, rng.integers(-3, 4, (40, 40))).astype(np.int32)
    assert smallest(sparse, Memory())[0] == "adaptive"
    assert smallest(np.array([300, 300], np.int32), Memory())[0] == "packed"
    for values in (sparse, sparse[:1, :3], rng.integers(-(2**30), 2**30, 50).astype(np.int32)):
        name, data = smallest(values, Memory())
        sizes = [len(coder.encode(values)) for coder in CODERS.values()]
        assert len(data) == min(sizes)
        assert name == list(CODERS)[sizes.index(min(sizes))]
        assert (CODERS[name].decode(data, values.shape) == values).all()
