# SPDX-License-Identifier: Apache-2.0
"""What every method of `gossamer.weights` promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gossamer.tuning import ActiveStepwise, Clock, LearnedThresholds
from gossamer.weights import METHODS, pruned

BY_SIZE = {name: method for name, method in METHODS.items() if method.needs == "weights"}
every = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


@pytest.fixture
def given():
    """Of a method the weights that it takes, of four kinds of layers, and what enters them."""

    def of(method):
        rng = np.random.default_rng(0)
        tensors = {
            "conv": rng.standard_normal((8, 4, 3, 3)).astype(np.float32),
            "depthwise": 10 * rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
            "grouped": rng.standard_normal((8, 2, 3, 3)).astype(np.float32),
            "linear": 0.1 * rng.standard_normal((10, 32)).astype(np.float32),
        }
        if method.needs == "weights":
            return tensors, {}
        groups = {"conv": 1, "depthwise": 8, "grouped": 4, "linear": 1}
        matrices = {
            name: value.reshape(groups[name], len(value) // groups[name], -1) for name, value in tensors.items()
        }
        return matrices, {name: moments(rng, len(value), value.shape[2]) for name, value in matrices.items()}

    return of


def moments(rng, groups, columns):
    """Of inputs that depend on each other, as pixels beside each other do."""
    x = rng.standard_normal((groups, 400, columns)) @ rng.standard_normal((groups, columns, columns))
    return x.transpose(0, 2, 1) @ x / 400


@every
@pytest.mark.parametrize("sparsity", [0.0, 0.37, 0.9])
def test_that_many_zeros_and_the_input_untouched(method, sparsity, given):
    tensors, inputs = given(method)
    before = {name: value.copy() for name, value in tensors.items()}
    after = pruned(method(), tensors, sparsity, inputs)
    total = sum(value.size for value in tensors.values())
    assert sum(int((value == 0).sum()) for value in after.values()) == round(sparsity * total)
    assert all(after[name].shape == value.shape for name, value in tensors.items())
    assert all(np.array_equal(before[name], tensors[name]) for name in tensors)


@every
def test_same_answer_twice(method, given):
    tensors, inputs = given(method)
    some, again = pruned(method(), tensors, 0.5, inputs), pruned(method(), tensors, 0.5, inputs)
    assert all(np.array_equal(some[name], again[name]) for name in tensors)


@pytest.mark.parametrize("method", BY_SIZE.values(), ids=BY_SIZE.keys())
def test_what_goes_at_half_is_gone_beyond_and_what_stays_is_what_it_was(method, given):
    tensors, _ = given(method)
    some, more = pruned(method(), tensors, 0.5), pruned(method(), tensors, 0.7)
    for name, value in tensors.items():
        assert not (more[name][some[name] == 0]).any()
        assert np.array_equal(some[name][some[name] != 0], value[some[name] != 0])


@every
def test_sparsity_out_of_range_is_refused(method, given):
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\), got 1.0"):
        pruned(method(), *[given(method)[0], 1.0, given(method)[1]])


@every
def test_weights_that_are_zero_already_are_among_those_that_go(method, given):
    """An all-zero filter stays one, and is handed on to the structured cut."""
    tensors, inputs = given(method)
    for value in tensors.values():
        value[:, :1] = 0 if method.needs == "inputs" else value[:, :1]
        value[:1] = 0 if method.needs == "weights" else value[:1]
    dead = {name: (value == 0) for name, value in tensors.items()}
    share = sum(int(rows.sum()) for rows in dead.values()) / sum(rows.size for rows in dead.values())
    after = pruned(method(), tensors, max(0.5, share), inputs)
    assert all(not after[name][rows].any() for name, rows in dead.items())


def test_scaled_magnitude_does_not_empty_the_layer_of_small_weights(given):
    """The behaviour that the method exists for: one global threshold empties layers, scaled ones do not."""
    tensors, _ = given(METHODS["magnitude"])
    everywhere = METHODS["magnitude"]("global").keep(tensors, 0.6)
    scaled = METHODS["magnitude"]("scaled").keep(tensors, 0.6)
    assert not everywhere["linear"].any()
    assert all(0.2 < row.mean() < 0.61 for row in scaled.values())


# --- n of m


@pytest.mark.parametrize(("m", "sparsity", "most"), [(4, 0.5, 2), (4, 0.75, 1), (8, 0.5, 4), (4, 0.6, 2)])
def test_no_block_keeps_more_than_its_pattern_says(m, sparsity, most):
    rng = np.random.default_rng(1)
    weights = {"conv": rng.standard_normal((6, 8, 3, 3)), "odd": rng.standard_normal((7, 3, 5, 5))}
    for keep in METHODS["n-of-m"](m).keep(weights, sparsity).values():
        rows = np.moveaxis(keep, 1, -1).reshape(len(keep), -1)
        whole = rows[:, : rows.shape[1] // m * m].reshape(-1, m)
        assert whole.sum(axis=1).max() <= most


def test_a_block_keeps_its_largest():
    keep = METHODS["n-of-m"](4).keep({"fc": np.array([[0.1, -4.0, 0.3, 2.0], [5.0, 6.0, -7.0, 8.0]])}, 0.5)["fc"]
    assert keep.tolist() == [[False, True, False, True], [False, False, True, True]]


# --- second order


def error(after, before, inputs):
    """Mean square of what the outputs miss."""
    return sum(
        float(np.einsum("grc,gcd,grd->", after[name] - value, inputs[name], after[name] - value))
        for name, value in before.items()
    )


@pytest.mark.parametrize("sparsity", [0.5, 0.8])
def test_outputs_miss_less_than_after_magnitude_pruning(sparsity, given):
    matrices, inputs = given(METHODS["second-order"])
    ours = error(pruned(METHODS["second-order"]("layer"), matrices, sparsity, inputs), matrices, inputs)
    by_size = error(pruned(METHODS["magnitude"]("layer"), matrices, sparsity), matrices, inputs)
    assert ours < 0.7 * by_size


def test_one_column_goes_as_brain_surgery_says():
    """Of one output with two inputs: the second takes over what the first did along the direction that both share."""
    moments = np.array([[[2.0, 1.0], [1.0, 1.0]]])
    weights = {"fc": np.array([[[0.1, 3.0]]])}
    (after,) = METHODS["second-order"](damping=1e-12, block=2).prune(weights, 0.5, {"fc": moments}).values()
    assert after[0, 0, 0] == 0
    assert after[0, 0, 1] == pytest.approx(3.0 + 0.1 * moments[0, 0, 1] / moments[0, 1, 1])


def test_inputs_that_never_come_cost_nothing():
    moments = np.diag([1.0, 0.0, 1.0, 0.0])[None]
    weights = {"fc": np.array([[[0.1, 9.0, 0.2, 8.0]]])}
    (after,) = METHODS["second-order"](damping=1e-6).prune(weights, 0.5, {"fc": moments}).values()
    assert (after != 0).tolist() == [[[True, False, True, False]]]


def test_layers_without_inputs_are_named():
    with pytest.raises(ValueError, match="got nothing of 'fc'"):
        METHODS["second-order"]().prune({"fc": np.ones((1, 2, 2))}, 0.5, {})


# --- what prunes while it trains: the same contract, at the end of a training

TRAINED = {
    "active-stepwise": lambda names, target: ActiveStepwise(names, target=target),
    "active-stepwise, one threshold": lambda names, target: ActiveStepwise(names, target=target, scope="scaled"),
    "learned-thresholds": lambda names, target: LearnedThresholds(names, target=target),
    "learned-thresholds, two sides": lambda names, target: LearnedThresholds(names, target=target, symmetric=False),
}
trained = pytest.mark.parametrize("make", TRAINED.values(), ids=TRAINED.keys())


def trained_under(make, tensors, sparsity, steps=8):
    """The weights that a forward pass uses after a training towards noise beside what they were."""
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.tensor(value, requires_grad=True) for name, value in tensors.items()}
    goals = {
        name: value.detach() + 0.1 * torch.randn(value.shape, generator=generator) for name, value in weights.items()
    }
    plug = make(list(weights), sparsity)
    for step in range(steps):
        clock = Clock(step, steps, 2)
        plug.before_step(clock, weights)
        seen = plug.transform(dict(weights))
        loss = torch.stack([(seen[name] - goal).square().mean() for name, goal in goals.items()]).sum()
        penalty = plug.penalty()
        (loss if penalty is None else loss + penalty).backward()
        plug.after_backward(weights)
        with torch.no_grad():
            for value in weights.values():
                value -= 0.1 * value.grad
                value.grad = None
        plug.after_step(clock, weights)
    return {name: value.detach().numpy() for name, value in plug.transform(dict(weights)).items()}


@trained
@pytest.mark.parametrize("sparsity", [0.0, 0.37, 0.9])
def test_a_training_leaves_that_many_zeros_and_its_input_untouched(make, sparsity, given):
    tensors, _ = given(METHODS["magnitude"])
    before = {name: value.copy() for name, value in tensors.items()}
    after = trained_under(make, tensors, sparsity)
    sizes = {name: value.size for name, value in tensors.items()}
    zeros = {name: int((after[name] == 0).sum()) for name in tensors}
    if make is TRAINED["active-stepwise"]:  # each layer's own share
        assert zeros == {name: round(sparsity * size) for name, size in sizes.items()}
    else:
        assert sum(zeros.values()) == round(sparsity * sum(sizes.values()))
    assert all(after[name].shape == value.shape for name, value in tensors.items())
    assert all(np.array_equal(before[name], tensors[name]) for name in tensors)


@trained
def test_a_training_gives_the_same_twice(make, given):
    tensors, _ = given(METHODS["magnitude"])
    first, again = trained_under(make, tensors, 0.5), trained_under(make, tensors, 0.5)
    assert all(np.array_equal(first[name], again[name]) for name in tensors)


@trained
def test_a_filter_of_zeros_stays_one_in_training(make, given):
    """It is handed on to the structured cut, depthwise and grouped ones too."""
    tensors, _ = given(METHODS["magnitude"])
    for value in tensors.values():
        value[:1] = 0
    after = trained_under(make, tensors, 0.5)
    assert all(not value[:1].any() for value in after.values())


@trained
@pytest.mark.parametrize("sparsity", [1.0, -0.1])
def test_a_share_out_of_range_is_refused_before_training(make, sparsity):
    with pytest.raises(ValueError, match=r"of the weights"):
        make(["fc"], sparsity)
