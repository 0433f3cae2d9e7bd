# SPDX-License-Identifier: Apache-2.0
"""Histograms that grow, and the ranges read from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gossamer.quantize.ranges import BINS, METHODS, Histogram, minmax, mse, percentile

values = arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False))


def histogram(*batches: np.ndarray) -> Histogram:
    seen = Histogram()
    for batch in batches:
        seen.observe(batch)
    return seen


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=1, max_size=5))
def test_growing_keeps_every_count_in_its_place(batches: list[np.ndarray]) -> None:
    together = histogram(np.concatenate(batches))
    apart = histogram(*batches)
    assert apart.limit == together.limit
    np.testing.assert_array_equal(apart.counts, together.counts)
    everything = np.sort(np.concatenate(batches)).astype(np.float64)
    restored = np.repeat(apart.centres, apart.counts)
    assert np.abs(restored - everything).max() <= apart.limit / BINS  # half a bin


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30, deadline=None)
@given(values)
def test_no_range_leaves_the_data(method: str, x: np.ndarray) -> None:
    low, high = METHODS[method](histogram(x))
    assert min(x.min(), 0) <= low <= high <= max(x.max(), 0)


def test_minmax_is_exact_and_percentile_cuts_the_tails() -> None:
    x = np.linspace(-1, 3, 100_001, dtype=np.float32)
    assert minmax(histogram(x)) == (-1.0, 3.0)
    assert percentile(histogram(x), share=0.01) == pytest.approx((-0.96, 2.96), abs=0.002)


@pytest.mark.parametrize("signed", [True, False])
def test_mse_clips_an_outlier_and_beats_minmax(signed: bool) -> None:
    x = np.random.default_rng(0).standard_normal(1_000_000)
    x = x if signed else np.maximum(x, 0)
    x[0] = 20.0
    seen = histogram(x)

    def error(low: float, high: float) -> float:
        scale = (high - low) / 255
        zero = round(-low / scale)
        return float(np.mean((x - scale * (np.clip(np.rint(x / scale) + zero, 0, 255) - zero)) ** 2))

    low, high = mse(seen)
    assert 4 < high < 15
    assert (low < -3) == signed
    assert error(low, high) < 0.8 * error(min(seen.low, 0), seen.high)


def test_values_that_are_not_finite_are_refused() -> None:
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="expected finite values, got a range of"):
            histogram(np.array([0.0, bad], np.float32))
