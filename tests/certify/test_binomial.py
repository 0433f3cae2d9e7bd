# SPDX-License-Identifier: Apache-2.0
"""The certificate's own binomial arithmetic against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from gossamer.certify.binomial import (
    ERROR,
    TAIL,
    at_most,
    binomial,
    clopper_pearson,
    likely,
    root,
)

SIZES = st.sampled_from([1, 2, 30, 1000, 50_000])


@given(SIZES, st.floats(0, 1), st.data())
def test_probabilities(n, p, data):
    p = 0.0 if p < 1e-290 else p  # scipy overflows there
    k = np.array(data.draw(st.lists(st.integers(-1, n + 1), min_size=1, max_size=20)))
    assert binomial(k, n, p) == pytest.approx(stats.binom.pmf(k, n, p), rel=1e-9, abs=1e-300)


def test_probabilities_of_a_million():
    k = np.arange(49_000, 51_000)
    assert np.abs(binomial(k, 1_000_000, 0.05) - stats.binom.pmf(k, 1_000_000, 0.05)).sum() < ERROR


@given(st.lists(st.integers(0, 1), max_size=300), st.sampled_from([-1, 0]), st.floats(0, 1))
def test_paths(rises, first, w):
    path = first + np.concatenate([[0], np.cumsum(rises)]).astype(np.int64)
    found = at_most(path, np.array([w, 0.5]))
    m = np.arange(len(path))
    for row, p in zip(found, (w, 0.5), strict=True):
        assert row == pytest.approx(stats.binom.cdf(path, m, p), abs=1e-12)


@given(st.lists(st.integers(0, 1), max_size=100), st.integers(0, 400), st.data(), st.floats(0, 1), st.floats(0, 1))
def test_paths_that_begin_later(rises, start, data, w, other):
    first = data.draw(st.integers(-1, start))
    path = first + np.concatenate([[0], np.cumsum(rises)]).astype(np.int64)
    m = start + np.arange(len(path))
    for row, p in zip(at_most(path, np.array([w, other]), start), (w, other), strict=True):
        assert row == pytest.approx(stats.binom.cdf(path, m, p), abs=1e-12)


@given(SIZES, st.floats(0, 1), st.floats(0, 1))
def test_what_is_likely_leaves_out_hardly_anything(n, one, other):
    low, high = sorted((one, other))
    first, last = likely(n, low, high)
    for p in (low, high):
        assert stats.binom.cdf(first - 1, n, p) <= TAIL * (1 + 1e-6)
        assert stats.binom.sf(last, n, p) <= TAIL * (1 + 1e-6)


def test_what_is_likely_is_little_of_many():
    first, last = likely(1_000_000, 0.5, 0.5)
    assert 0 < first < 500_000 < last < 1_000_000
    assert last - first < 20 * 500, "of standard deviations"


def test_a_long_path():
    m = np.arange(30_001)
    path = m // 2
    assert (
        np.abs(at_most(path, np.array([0.5, 0.499]))[:, -1] - stats.binom.cdf(15_000, 30_000, [0.5, 0.499])).max()
        < ERROR
    )


@given(SIZES, st.data(), st.sampled_from([0.05, 3e-4]))
def test_the_exact_interval(n, data, level):
    c = data.draw(st.integers(0, n))
    low, high = clopper_pearson(c, n, level)
    assert low == pytest.approx(special.betaincinv(c, n - c + 1, level / 2) if c else 0, rel=1e-8, abs=1e-13)
    assert high == pytest.approx(special.betaincinv(c + 1, n - c, 1 - level / 2) if c < n else 1, rel=1e-8, abs=1e-13)


def test_a_root_lies_between_its_ends():
    low, high = root(lambda x: 2 - x * x, 0, 4, 1e-9)
    assert low < np.sqrt(2) <= high <= low + 1e-9
