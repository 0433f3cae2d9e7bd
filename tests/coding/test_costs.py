# SPDX-License-Identifier: Apache-2.0
"""Costs: near what the coder needs, and steeper where the relatives are small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gossamer import container
from gossamer.coding import adaptive
from gossamer.coding.costs import coded_bits, costs

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("claim", ["demo-bytes", "resnet56-bytes", "lenet300100-deep-compression"])
def test_within_five_percent_of_the_adaptive_coder_on_compressed_networks(claim):
    tensors = container.read(RESULTS / claim / "model.gossamer").payload.tensors
    integers = [t.integers for t in tensors if t.integers is not None and t.integers.ndim > 1]
    coded = 8 * sum(len(adaptive.encode(values)) for values in integers)
    assert 0.95 * coded < sum(map(coded_bits, integers)) < 1.05 * coded


def layer() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.random((32, 32, 3, 3)) < 0.2, rng.integers(-3, 4, (32, 32, 3, 3)), 0).astype(np.int32)


@pytest.mark.parametrize("where", [np.s_[5], np.s_[:, 5], np.s_[..., 0, 0]], ids=["filter", "channel", "place"])
def test_a_weight_among_zeros_costs_more(where):
    values = layer()
    values[where] = 0
    one = costs(values)[1]
    everywhere_else = np.ones(values.shape, bool)
    everywhere_else[where] = False
    assert one[where].mean() > one[everywhere_else].mean() + 2


def test_a_later_weight_counts_as_much_as_an_earlier_one():
    values = np.zeros((16, 16, 3, 3), np.int32)
    values[8, 8] = 3
    first, last = costs(values)[1, 0, 8], costs(values)[1, 15, 8]
    np.testing.assert_allclose(first, last, rtol=1e-6)


def test_more_magnitude_costs_more_where_small_ones_are_usual():
    table = costs(np.rint(np.random.default_rng(0).laplace(0, 1.5, (32, 32, 3, 3))).astype(np.int32))
    assert (np.diff(table, axis=0) > 0).all()


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4), (3, 1, 3, 3), (2, 3, 1, 1), (2, 2, 2, 2, 2)])
def test_any_shape(shape):
    table = costs(np.full(shape, 9, np.int32))
    assert table.shape == (6, *shape)
    assert table.dtype == np.float32
    assert np.isfinite(table).all()
    assert (table >= 0).all()
