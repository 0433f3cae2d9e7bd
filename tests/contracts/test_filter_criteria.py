# SPDX-License-Identifier: Apache-2.0
"""What every criterion of `gossamer.filters` promises."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.filters import METHODS, BatchNormScale, GroupMatrices, L1Norm


def group(dead: int = 4) -> GroupMatrices:
    """16 channels through two tied layers, the last `dead` of which do nothing."""
    rng = np.random.default_rng(1)
    alive = np.arange(16) < 16 - dead
    rows = tuple(scale * rng.standard_normal((16, 27)) * alive[:, None] for scale in (1.0, 30.0))
    return GroupMatrices("g", 16, rows=rows, columns=(rng.standard_normal((16, 9)),), scales=(alive * 1.0,))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_finite_repeatable_and_one_score_a_channel(method):
    scores = method().score(group())
    assert scores.shape == (16,)
    assert np.isfinite(scores).all()
    assert np.array_equal(scores, method().score(group()))
    assert method().needs == "weights"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_dead_channels_are_found(method):
    scores = method().score(group(dead=5))
    assert set(np.argsort(scores)[:5]) == set(range(11, 16))


def test_l1_of_tied_layers_does_not_let_the_larger_one_decide():
    rows = (np.array([[1.0], [3.0]]), np.array([[200.0], [100.0]]))
    small_first = L1Norm().score(GroupMatrices("g", 2, rows=rows))
    assert small_first[1] > small_first[0]


def test_batch_norm_scale_without_batch_norm_is_refused():
    bare = GroupMatrices("layer3.0.conv2", 2, rows=(np.ones((2, 3)),))
    with pytest.raises(ValueError, match=r"batch-norm-scale needs a batch norm .* 'layer3.0.conv2' has none; use l1"):
        BatchNormScale().score(bare)
