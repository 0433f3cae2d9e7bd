# SPDX-License-Identifier: Apache-2.0
"""The bound holds for whatever weights there are, and less error costs more bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer import container
from gossamer.container import Payload
from gossamer.quantize.near_lossless import near_lossless
from tests.attacks.hostile import graph_that_reads

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=6)
SOME = st.one_of(FLOATS, st.floats(-4, 4, width=32), st.sampled_from([0.0, -0.0, 1e-38, 3e38]))


@settings(deadline=None, max_examples=300)
@given(value=hnp.arrays(np.float32, SHAPES, elements=SOME), error=st.sampled_from([0, 1e-6, 1e-4, 1e-3, 0.1, 0.9]))
def test_the_bound_holds(value, error):
    (stored,) = near_lossless({"w": value}, error)
    moved = np.abs(stored.decoded().astype(np.float64) - value)
    assert moved.max() <= error * np.sqrt(np.mean(np.square(value, dtype=np.float64)))
    if not error:
        assert stored.decoded().tobytes() == value.tobytes()


def test_small_numbers_of_a_vector_keep_their_exactness():
    """Variances that something is divided by are not swallowed by a large one."""
    value = np.array([1e-5, 0.7, 3.0], np.float32)
    (stored,) = near_lossless({"v": value}, 1e-3)
    assert stored.decoded() == pytest.approx(value, rel=1e-3)


def test_weights_take_what_the_header_says(tmp_path):
    """log2(sqrt(2 pi e) / (2 error)) bits of a normal weight, and fewer the more error is allowed."""
    value = np.random.default_rng(0).normal(size=(100, 200)).astype(np.float32)
    sizes = []
    for error in (0, 1e-4, 1e-3, 1e-2):
        path = tmp_path / "a.gossamer"
        container.write(path, Payload(graph_that_reads("w"), near_lossless({"w": value}, error), {}, (), {}), {})
        sizes.append(container.read(path).stored[0].bytes)
        if error:
            assert 8 * sizes[-1] / value.size == pytest.approx(
                np.log2(np.sqrt(2 * np.pi * np.e) / (2 * error)), abs=0.2
            )
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < 0.9 * 4 * value.size


def test_integers_and_what_is_no_number_stay():
    weights = {"i": np.arange(5, dtype=np.int8), "n": np.array([[np.nan, 1], [np.inf, 2]], np.float32)}
    for stored, value in zip(near_lossless(weights, 0.1), weights.values(), strict=True):
        assert stored.decoded().tobytes() == value.tobytes()


@pytest.mark.parametrize("error", [-0.1, 1.0])
def test_a_bound_that_is_none_is_refused(error):
    with pytest.raises(ValueError, match=r"expected an error bound from 0 \(lossless\) to below 1, got"):
        near_lossless({}, error)
