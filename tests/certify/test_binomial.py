# SPDX-License-Identifier: Apache-2.0
"""The certificate's own binomial arithmetic against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from gossamer.certify.binomial import ERROR, at_most, binomial, clopper_pearson, most_likely_at_most, root

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


def test_a_long_path():
    m = np.arange(30_001)
    path = m // 2
    assert (
        np.abs(at_most(path, np.array([0.5, 0.499]))[:, -1] - stats.binom.cdf(15_000, 30_000, [0.5, 0.499])).max()
        < ERROR
    )


@given(SIZES, st.floats(0, 1), st.sampled_from([1e-13, 1e-4, 0.3]))
def test_the_number_that_is_hardly_exceeded(n, p, beyond):
    found = most_likely_at_most(n, p, beyond)
    assert stats.binom.sf(found, n, p) <= beyond * (1 + 1e-9)
    assert found == 0 or stats.binom.sf(found - 1, n, p) > beyond * (1 - 1e-9)


@given(SIZES, st.data(), st.sampled_from([0.05, 3e-4]))
def test_the_exact_interval(n, data, level):
    c = data.draw(st.integers(0, n))
    low, high = clopper_pearson(c, n, level)
    assert low == pytest.approx(special.betaincinv(c, n - c + 1, level / 2) if c else 0, rel=1e-8, abs=1e-13)
    assert high == pytest.approx(special.betaincinv(c + 1, n - c, 1 - level / 2) if c < n else 1, rel=1e-8, abs=1e-13)


def test_a_root_lies_between_its_ends():
    low, high = root(lambda x: 2 - x * x, 0, 4, 1e-9)
    assert low < np.sqrt(2) <= high <= low + 1e-9
