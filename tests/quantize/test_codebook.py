# SPDX-License-Identifier: Apache-2.0
"""Codebooks: k-means finds what there is, linear centroids keep the large weights, the file holds the shared values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer.quantize.codebook import INITIAL, Codebook, kmeans, share
from gossamer.quantize.integers import Shared, tensors


def long_tailed(seed: int = 0) -> np.ndarray:
    """A pruned layer as they are: most weights small, a few large (Student's t with three degrees of freedom)."""
    rng = np.random.default_rng(seed)
    weights = 0.05 * rng.standard_t(3, (100, 300)).astype(np.float32)
    return np.where(np.abs(weights) < 0.03, 0, weights)


@pytest.mark.parametrize("initial", INITIAL)
def test_clusters_that_are_there_are_found(initial):
    rng = np.random.default_rng(1)
    centres = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0])
    weights = (centres[np.arange(7000) % 7] + 0.01 * rng.standard_normal(7000)).astype(np.float32)
    book = share(weights, 3, initial, seed=3)
    if initial != "forgy":  # drawn at random it may put two centroids into one cluster
        assert np.delete(book.values, book.zero) == pytest.approx(centres, abs=0.01)
    assert len(book.values) <= 8


@pytest.mark.parametrize("initial", INITIAL)
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_a_converged_codebook_is_a_fixed_point(initial, bits):
    """Each value is the mean of the weights that share it: the first-order condition of k-means."""
    weights = long_tailed()
    book = share(weights, bits, initial)
    integers = book.integers(weights)
    assert len(book.values) <= 2**bits
    for place in np.unique(integers[integers != 0]):
        assert weights[integers == place].mean(dtype=np.float64) == pytest.approx(
            book.values[place + book.zero], rel=1e-4
        )


def squared_error(weights, book):
    """What k-means minimises: the sum of squares of weight minus shared value."""
    return float(np.square(weights.astype(np.float64) - book.shared(weights)).sum())


def test_linear_centroids_keep_large_weights_where_forgy_loses_them():
    """The paper's section 3.2: what is drawn at random lies where most weights are, and the large ones matter most."""
    for seed in range(5):
        weights = long_tailed(seed)
        large = np.abs(weights) >= np.sort(np.abs(weights), axis=None)[-100]
        books = {(bits, name): share(weights, bits, name, seed) for bits in (6, 8) for name in ("linear", "forgy")}
        of_large = {key: np.square(weights - book.shared(weights))[large].sum() for key, book in books.items()}
        of_all = {key: squared_error(weights, book) for key, book in books.items()}
        assert of_large[6, "linear"] < 0.25 * of_large[6, "forgy"]
        assert of_all[8, "linear"] < 0.6 * of_all[8, "forgy"]


def test_zeros_stay_and_nothing_else_becomes_zero():
    weights = long_tailed()
    book = share(weights, 5)
    shared = book.shared(weights)
    assert ((shared == 0) == (weights == 0)).all()
    assert shared.dtype == np.float32
    assert book.values[book.zero] == 0


def test_integers_count_from_zero_and_are_the_nearest():
    book = Codebook(np.array([-1, -0.25, 0, 0.5, 2], np.float32))
    weights = np.array([-3, -0.7, -0.6, -0.01, 0, 0.01, 1.2, 1.3, 9], np.float32)
    assert book.integers(weights).tolist() == [-2, -2, -1, -1, 0, -1, 1, 2, 2]


@settings(deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(max_side=8), elements=st.floats(-9, 9, width=32)), st.integers(1, 8))
def test_any_layer_is_shared_and_no_weight_is_nearer_to_another_value(weights, bits):
    book = share(weights, bits)
    others = np.delete(book.values, book.zero)
    if (weights != 0).any():
        off = np.abs(weights.astype(np.float64)[..., None] - others.astype(np.float64))
        mine = np.abs(weights.astype(np.float64) - book.shared(weights))
        assert (mine <= off.min(axis=-1) + 1e-6)[weights != 0].all()
    if len(np.unique(weights[weights != 0])) < 2**bits:
        assert (book.shared(weights) == weights).all(), "few values need no rounding"


def test_an_empty_cluster_is_left_out():
    assert kmeans(np.array([0.0, 0.1, 5.0]), np.array([0.0, 2.5, 5.0])).tolist() == pytest.approx([0.05, 5.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 0}, "bits must be in 1..12, got 0; the paper has 8 for convolutions"),
        ({"bits": 13}, "bits must be in 1..12, got 13"),
        ({"bits": 3, "initial": "random"}, "initial centroids must be one of linear, forgy, density, got 'random'"),
    ],
)
def test_bad_options_are_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        share(np.ones(3, np.float32), **arguments)


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
def test_a_codebook_ascends_and_holds_zero(values):
    with pytest.raises(ValueError, match="a codebook must ascend and hold zero"):
        Codebook(np.array(values, np.float32))


# --- what the file holds of it -----------------------------------------------------------------------------------


def test_shared_weights_are_stored_to_the_bit():
    book = Codebook(np.array([-0.3, 0, 0.1, 0.7], np.float32))
    weights = book.values[np.random.default_rng(0).integers(0, 4, (6, 5))]
    (stored,) = tensors({"w": weights}, {}, {"w": Shared(book)}, mantissa_bits=None)
    assert stored.decoded().tobytes() == weights.tobytes()
    assert stored.integers.min() == -1


def test_a_folded_batch_norm_is_a_factor_of_each_output_channel():
    rng = np.random.default_rng(0)
    book = Codebook(np.array([-0.3, 0, 0.1, 0.7], np.float32))
    unit = np.array([2.0, -0.4, 1.3], np.float32).reshape(3, 1, 1, 1)
    weights = book.values[rng.integers(0, 4, (3, 4, 3, 3))] * unit
    (stored,) = tensors({"w": weights}, {}, {"w": Shared(book, unit)}, mantissa_bits=None)
    assert stored.decoded().tobytes() == weights.tobytes()
    (half,) = tensors({"w": weights}, {}, {"w": Shared(book, unit)})
    assert (half.integers == stored.integers).all()
    assert half.decoded() == pytest.approx(weights, rel=2**-6 + 2**-11)


def test_weights_off_their_codebook_are_refused():
    book = Codebook(np.array([-0.3, 0, 0.1], np.float32))
    with pytest.raises(ValueError, match=r"expected weights of 'w' on the 3 values of its codebook, one is 0\.2 off"):
        tensors({"w": np.array([[0.3, 0.1]], np.float32)}, {}, {"w": Shared(book)})
