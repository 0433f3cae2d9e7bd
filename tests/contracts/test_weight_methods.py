# SPDX-License-Identifier: Apache-2.0
"""What every method of `gossamer.weights` promises."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.weights import METHODS


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "conv": rng.standard_normal((8, 4, 3, 3)).astype(np.float32),
        "depthwise": 10 * rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
        "linear": 0.1 * rng.standard_normal((10, 32)).astype(np.float32),
    }


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
@pytest.mark.parametrize("sparsity", [0.0, 0.37, 0.9])
def test_that_many_zeros_and_the_input_untouched(method, sparsity, tensors):
    before = {name: value.copy() for name, value in tensors.items()}
    keep = method().keep(tensors, sparsity)
    total = sum(value.size for value in tensors.values())
    dropped = sum(int((~row).sum()) for row in keep.values())
    assert dropped == round(sparsity * total)
    assert all(keep[name].shape == value.shape and keep[name].dtype == np.bool_ for name, value in tensors.items())
    assert all(np.array_equal(before[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_same_answer_twice_and_nested(method, tensors):
    some, more = method().keep(tensors, 0.5), method().keep(tensors, 0.7)
    again = method().keep(tensors, 0.5)
    assert all(np.array_equal(some[name], again[name]) for name in tensors)
    assert all(not (more[name] & ~some[name]).any() for name in tensors), "what goes at 50 % is gone at 70 %"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_sparsity_out_of_range_is_refused(method, tensors):
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\), got 1.0"):
        method().keep(tensors, 1.0)


def test_scaled_magnitude_does_not_empty_the_layer_of_small_weights(tensors):
    """The behaviour that the method exists for: one global threshold empties layers, scaled ones do not."""
    everywhere = METHODS["magnitude"]("global").keep(tensors, 0.6)
    scaled = METHODS["magnitude"]("scaled").keep(tensors, 0.6)
    assert not everywhere["linear"].any()
    assert all(0.2 < row.mean() < 0.6 for row in scaled.values())
