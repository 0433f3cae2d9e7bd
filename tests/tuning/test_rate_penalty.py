# SPDX-License-Identifier: Apache-2.0
"""The rate penalty: exact on a table, right in its gradients, steered to its target, resumable, and worth it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gossamer.graph import trace
from gossamer.tuning import Clock, Plug, RatePenalty, Settings, effective_weights, tune

SETTINGS = Settings(epochs=6, batch_size=32, learning_rate=0.05, augment=False)
CLASSES = 6


def entropy_costs(integers):
    """What a coder that knows how often each bit length comes would need; the same in every place."""
    classes = np.minimum([int(q).bit_length() for q in np.abs(integers).flat], CLASSES - 1)
    counts = np.bincount(classes, minlength=CLASSES) + 0.5
    bits = -np.log2(counts / counts.sum()) + [max(0, 2 * c - 1) / 2 + 0.5 * (c > 0) for c in range(CLASSES)]
    return np.broadcast_to(bits.reshape(-1, *[1] * integers.ndim), (CLASSES, *integers.shape)).astype(np.float32)


def table(*bits):
    return lambda integers: np.stack([np.full(integers.shape, b, np.float32) for b in bits])


def started(weight, costs, **options):
    plug = RatePenalty({"w": torch.ones(())}, costs, target=1.0, **options)
    weight = torch.tensor(weight, requires_grad=True)
    plug.before_step(Clock(0, 10, 5), {"w": weight})
    with torch.no_grad():
        plug.steps["w"].fill_(0.0)  # a grid of whole numbers
    return plug, weight, plug.transform({"w": weight})["w"]


def test_bits_are_interpolated_between_bit_lengths_and_pull_towards_zero():
    plug, weight, rounded = started([[0.25, -1.0], [1.75, -8.5]], table(1.0, 5.0, 8.0, 11.0, 14.0, 17.0))
    assert rounded.tolist() == [[0.0, -1.0], [2.0, -8.0]]
    assert plug._bits.item() == pytest.approx((2.0 + 5.0 + 6.5 + 12.5) / 4)
    plug._bits.backward()
    expected = [[4 / 4, -2 / 4], [2 / 4, -0.5 / 4]]  # at 1 the slope of the interval above counts
    assert torch.allclose(weight.grad, torch.tensor(expected))


def test_as_many_bit_lengths_as_the_table_has_and_the_last_slope_beyond():
    plug, _, _ = started([[94.0, 95.5], [191.5, 287.5]], table(*range(9)))  # 95.5 is the middle of 64 to 127
    assert plug._bits.item() == pytest.approx((7 - 1.5 / 48 + 7 + 8 + 9) / 4)


def test_the_gradient_of_a_step_is_that_of_learned_step_sizes():
    """w' = D round(w / D): d w' / d log D = D (round(u) - u), and the bits see u = w / D."""
    plug, weight, rounded = started([[0.3, 1.6], [2.2, -0.8]], table(0.0, 0.0))
    slope = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    (rounded * slope).sum().backward()
    noise = torch.round(weight.detach()) - weight.detach()
    assert float(plug.steps["w"].grad) == pytest.approx(float((slope * noise).sum()), rel=1e-5)
    assert torch.equal(weight.grad, slope), "and the weights' is straight-through"
    plug, weight, _ = started([[0.5, 0.25]], table(1.0, 5.0))
    plug._bits.backward()
    assert float(plug.steps["w"].grad) == pytest.approx(-4 * 0.75 / 2)


def test_a_dead_filter_gives_no_gradient():
    _, weight, rounded = started([[0.3, 0.1], [2.2, -0.8]], table(0.0, 0.0))
    rounded.sum().backward()
    assert weight.grad.tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_a_target_must_be_positive():
    with pytest.raises(ValueError, match=r"target must be a positive number of bits per weight, got 0"):
        RatePenalty({}, entropy_costs, target=0)


def penalised(network, target, refresh=5):
    factors = {layer.name: torch.ones(()) for layer in network.layers}
    return RatePenalty(factors, entropy_costs, target=target, coarseness=0.3, refresh=refresh)


def coded_bits(plug, module):
    weights = dict(module.named_parameters())
    bits = count = 0
    for name in plug.factors:
        values = plug.integers(name, weights[name]).int().numpy()
        classes = np.minimum([int(q).bit_length() for q in np.abs(values).flat], CLASSES - 1)
        bits += np.take_along_axis(entropy_costs(values).reshape(CLASSES, -1), classes[None], 0).sum()
        count += values.size
    return float(bits) / count


def test_the_bits_arrive_at_their_target(task):
    network = trace(task.model, task.example)
    tune(network.module, task, replace(SETTINGS, learning_rate=0.1))
    plug = penalised(network, target=2.0)
    tune(network.module, task, replace(SETTINGS, epochs=30, learning_rate=0.02), (plug,))
    assert plug.first_bits > 3
    assert coded_bits(plug, network.module) == pytest.approx(2.0, rel=0.1)
    for name, weight in effective_weights(network.module, (plug,)).items():
        integers = weight / plug.unit(name)
        assert torch.allclose(integers, integers.round(), atol=1e-4), "what is trained lies on the grid"


@pytest.mark.parametrize(("size", "held_back"), [(1.0, True), (300.0, False)])
def test_only_weights_that_jump_hold_the_penalty_back(size, held_back):
    """Half a step of the grid is a jump for a weight of one step, and nothing for one of three hundred.

    A first layer on a fine grid once kept the penalty of the whole network small, until it was far too late.
    """
    weights = {"w": torch.full((4, 4), size)}
    plug = RatePenalty({"w": torch.ones(())}, entropy_costs, target=1, start={"w": 1.0})
    clock = Clock(0, 10, 5)
    plug.before_step(clock, weights)
    plug.transform(weights)
    before = plug.steered.weight
    plug.after_step(clock, {"w": weights["w"] + 0.5})
    assert (plug.steered.weight < before) == held_back


def test_grids_start_where_they_are_told_or_at_their_spread():
    weight = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    plug = RatePenalty(
        {"v": torch.ones(()), "w": torch.ones(())}, entropy_costs, target=1, start={"w": 0.25}, coarseness=0.5
    )
    plug.before_step(Clock(0, 10, 5), {"v": weight, "w": weight})
    assert float(plug.unit("w")) == pytest.approx(0.25)
    assert float(plug.unit("v")) == pytest.approx(0.5 * 2.5)


def test_a_finished_training_can_be_looked_at_again(task, tmp_path):
    path, first = tmp_path / "training.safetensors", trace(task.model, task.example)
    plug = penalised(first, 1.2)
    tune(first.module, task, SETTINGS, (plug,), checkpoint=path)
    second, again = trace(task.model, task.example), penalised(first, 1.2)
    tune(second.module, task, SETTINGS, (again,), checkpoint=path)
    before = effective_weights(first.module, (plug,))
    for name, weight in effective_weights(second.module, (again,)).items():
        assert torch.equal(weight, before[name]), name


@pytest.mark.parametrize("killed_at", [3, 20])
def test_resuming_gives_the_same_result(stop_after, task, tmp_path, killed_at):
    whole = trace(task.model, task.example)
    tune(whole.module, task, SETTINGS, (penalised(whole, 1.2),))
    killed = trace(task.model, task.example)
    path = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        tune(killed.module, task, SETTINGS, (penalised(killed, 1.2), stop_after(killed_at)), checkpoint=path)
    again = trace(task.model, task.example)
    plug = penalised(again, 1.2)
    tune(again.module, task, SETTINGS, (plug, Plug()), checkpoint=path)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
