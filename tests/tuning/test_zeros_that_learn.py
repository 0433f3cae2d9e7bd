# SPDX-License-Identifier: Apache-2.0
"""Plugs that prune single weights while a network trains: stepwise with repair, by surgery, by learned thresholds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gossamer.graph import trace
from gossamer.tuning import (
    ActiveStepwise,
    Clock,
    DynamicSurgery,
    LearnedThresholds,
    Plug,
    Settings,
    effective_weights,
    tune,
)
from gossamer.tuning.active_stepwise import SCHEDULES
from gossamer.tuning.learned_thresholds import Thresholded
from gossamer.tuning.plug import sides_exchanged

SETTINGS = Settings(epochs=6, batch_size=32, learning_rate=0.05, augment=False)
MAKE = {
    "active-stepwise": lambda names: ActiveStepwise(names, target=0.7, weight_decay=SETTINGS.weight_decay),
    "active-stepwise, thresholds": lambda names: ActiveStepwise(names, target=0.7, reading="threshold"),
    "active-stepwise, one threshold": lambda names: ActiveStepwise(names, target=0.7, scope="scaled"),
    "dynamic-surgery": lambda names: DynamicSurgery(names, target=0.7),
    "learned-thresholds": lambda names: LearnedThresholds(names, target=0.7),
    "learned-thresholds, two sides": lambda names: LearnedThresholds(names, target=0.7, symmetric=False),
}
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())


def names_of(network):
    return [layer.name for layer in network.layers]


def zeros_in(weights, names):
    return sum(int((weights[name] == 0).sum()) for name in names) / sum(weights[name].numel() for name in names)


# --- what all of them promise


@every
def test_exact_zeros_near_the_target_and_a_network_that_still_answers(make, trained, user_task):
    task = user_task(trained)
    network = trace(task.model, task.example)
    plug = make(names_of(network))
    losses = tune(network.module, task, replace(SETTINGS, epochs=12), (plug,))
    weights = effective_weights(network.module, (plug,))
    assert zeros_in(weights, names_of(network)) == pytest.approx(0.7, abs=0.12)
    assert losses[-1] < 0.3


@every
@pytest.mark.parametrize("killed_at", [3, 40])
def test_resuming_gives_the_same_result(make, stop_after, task, tmp_path, killed_at):
    whole = trace(task.model, task.example)
    plug = make(names_of(whole))
    tune(whole.module, task, SETTINGS, (plug,))
    killed = trace(task.model, task.example)
    path = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        tune(killed.module, task, SETTINGS, (make(names_of(killed)), stop_after(killed_at)), checkpoint=path)
    again = trace(task.model, task.example)
    other = make(names_of(again))
    tune(again.module, task, SETTINGS, (other, Plug()), checkpoint=path)
    ours, theirs = effective_weights(whole.module, (plug,)), effective_weights(again.module, (other,))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    third = make(names_of(again))
    tune(again.module, task, SETTINGS, (third, Plug()), checkpoint=path)  # finished: only looked at
    looked = effective_weights(again.module, (third,))
    assert all(torch.equal(ours[name], looked[name]) for name in ours)


@every
@pytest.mark.parametrize("groups", [1, 2])
def test_filters_of_a_transposed_convolution_that_are_off_get_no_gradient(make, groups):
    """They are its second dimension. A batch norm behind one that is off divides by the root of its eps alone."""
    layer = torch.nn.ConvTranspose2d(4, 6, 3, groups=groups)
    with torch.no_grad():
        layer.weight[2:, 1] *= 1e-6  # the last filters, the second of their group: without groups, one half of a filter
        layer.weight[:, 2] *= 1e-6
    plug = make(["weight"])
    plug.inputs_first = {"weight": groups}
    weights = {"weight": layer.weight}
    plug.before_step(Clock(9, 10, 1), weights)
    plug.transform(weights)["weight"].sum().backward()
    by_filter = sides_exchanged(layer.weight.grad, groups).flatten(1).abs().sum(1)
    silent = {1: [2], 2: [2, 4, 5]}[groups]
    assert [n for n, size in enumerate(by_filter) if size == 0] == silent


# --- active stepwise


def test_the_schedules_end_at_the_target_and_the_logarithm_is_steep_first():
    shares = {name: [schedule(e, 10, 9.0) for e in range(1, 11)] for name, schedule in SCHEDULES.items()}
    assert all(row[-1] == pytest.approx(1.0) for row in shares.values())
    assert all(row == sorted(row) for row in shares.values())
    assert shares["logarithmic"][0] == pytest.approx(math.log(10) / math.log(91))
    assert shares["logarithmic"][0] > shares["cubic"][0] > shares["linear"][0]


def stepped(weight, **options):
    """A plug that has pruned one row of weights for two epochs of three steps, and where it stands."""
    plug = ActiveStepwise(["w"], curvature=9.0, **options)
    weights = {"w": torch.tensor([weight], requires_grad=True)}
    plug.before_step(Clock(0, 6, 3), weights)
    return plug, weights


def test_the_smallest_go_and_what_grew_beyond_the_margin_comes_back():
    plug, weights = stepped([0.1, -0.2, 0.3, 0.4, 5.0, 6.0, 7.0, 8.0], target=0.5, schedule="linear")
    assert plug.keep["w"].tolist() == [[False, False, *[True] * 6]], "a quarter in the first of two epochs"
    assert plug.thresholds["w"] == pytest.approx(0.2)
    with torch.no_grad():
        weights["w"][0, 0], weights["w"][0, 1] = 0.215, 5.5  # within the margin, and far beyond it
    plug.before_step(Clock(1, 6, 3), weights)
    assert plug.keep["w"].tolist() == [[False, False, *[True] * 6]], "nothing within an epoch"
    plug.before_step(Clock(3, 6, 3), weights)
    assert plug.keep["w"].tolist() == [[False, True, False, False, False, True, True, True]]
    assert plug.recovered == 1
    assert plug.transform(dict(weights))["w"].tolist() == [[0, 5.5, 0, 0, 0, 6.0, 7.0, 8.0]]


def test_without_recovery_nothing_comes_back():
    plug, weights = stepped([0.1, -0.2, 0.3, 0.4], target=0.75, schedule="linear", recovery=False)
    with torch.no_grad():
        weights["w"][0, 0] = 9.0
    plug.before_step(Clock(3, 6, 3), weights)
    assert plug.keep["w"].tolist() == [[False, False, False, True]]
    assert plug.recovered == 0


def regression(**options):
    """How many of eight weights that matter, small at first, are found among forty; the others begin larger."""
    generator = torch.Generator().manual_seed(0)
    matter = torch.arange(40) < 8
    inputs = torch.randn(64, 40, generator=generator)
    wanted = inputs @ matter.float()
    weight = torch.where(matter, 0.1, 0.3).reshape(1, -1).requires_grad_()
    plug = ActiveStepwise(["w"], target=0.8, **options)
    for step in range(200):
        clock = Clock(step, 200, 10)
        plug.before_step(clock, {"w": weight})
        outputs = inputs @ plug.transform({"w": weight})["w"][0]
        (gradient,) = torch.autograd.grad((outputs - wanted).square().mean(), weight)
        with torch.no_grad():
            weight -= 0.05 * gradient
        plug.after_step(clock, {"w": weight})
    assert int(plug.keep["w"].sum()) == 8
    return int(plug.keep["w"][0, :8].sum())


def test_what_was_pruned_wrongly_is_repaired_and_only_then():
    """The behaviour that the method exists for: weights that matter look small when the first step goes by size."""
    assert regression() == 8
    assert regression(recovery=False) < 4
    assert regression(schedule="at-once", recovery=False) < 4


def test_what_is_repaired_at_the_very_end_makes_as_many_go():
    plug, weights = stepped([0.1, -0.2, 0.3, 0.4], target=0.5, schedule="at-once")
    with torch.no_grad():
        weights["w"][0, 0] = 9.0
    plug.after_step(Clock(4, 6, 3), weights)
    assert plug.keep["w"].tolist() == [[False, False, True, True]]
    plug.after_step(Clock(5, 6, 3), weights)
    assert plug.keep["w"].tolist() == [[True, False, False, True]]


def test_thresholds_grow_along_the_schedule_in_the_other_reading():
    plug, weights = stepped([0.1, 0.2, 0.4, 0.8, 1.6, 3.2], target=4 / 6, schedule="linear", reading="threshold")
    assert plug.full["w"] == pytest.approx(0.8)
    assert plug.keep["w"].tolist() == [[False, False, False, True, True, True]] or plug.keep["w"].tolist() == [
        [False, False, True, True, True, True]
    ]
    plug.before_step(Clock(3, 6, 3), weights)
    assert plug.keep["w"].sum() in (2, 3)


def test_what_is_off_does_not_decay_and_what_is_on_does():
    plug, weights = stepped([0.1, 0.2, 0.4, 0.8], target=0.5, schedule="at-once", weight_decay=0.1)
    weights["w"].grad = torch.zeros(1, 4)
    plug.after_backward(weights)
    decayed = weights["w"].grad + 0.1 * weights["w"].detach()  # as the optimizer adds it
    assert torch.allclose(decayed, torch.tensor([[0.0, 0.0, 0.04, 0.08]]))


def test_gentle_layers_lose_less():
    plug = ActiveStepwise(["first", "w"], target=0.8, schedule="at-once", gentle={"first": 0.5})
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(10, 10, generator=generator) for name in ("first", "w")}
    plug.before_step(Clock(0, 1, 1), weights)
    assert [int((~plug.keep[name]).sum()) for name in ("first", "w")] == [40, 80]


def test_a_start_from_fewer_weights_goes_on_from_there():
    plug = ActiveStepwise(["w"], target=0.9, start=0.5)
    assert plug.intensity(0, 4) == pytest.approx(0.5 + 0.4 * math.log(10) / math.log(37))
    assert plug.intensity(3, 4) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1.0}, "expected 0 <= start <= target < 1 of the weights, got 0.0 and 1.0"),
        ({"target": 0.5, "curvature": 0}, "curvature must be positive"),
        ({"target": 0.5, "schedule": "logaritmic"}, "did you mean logarithmic"),
        ({"target": 0.5, "reading": "mask"}, "reading must be one of share, threshold"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        ActiveStepwise(["w"], **options)


# --- dynamic network surgery


def test_between_the_two_thresholds_all_stays_as_it_was():
    plug = DynamicSurgery(["w"], target=0.5, gamma=0.0)
    weight = torch.tensor([[0.1, 0.9, 2.0, 3.0]])
    plug.before_step(Clock(0, 8, 4), {"w": weight})
    assert plug.thresholds["w"] == pytest.approx(1.0)
    assert plug.keep["w"].tolist() == [[False, False, True, True]]
    plug.before_step(Clock(1, 8, 4), {"w": torch.tensor([[1.05, 1.2, 0.95, 0.85]])})
    assert plug.keep["w"].tolist() == [[False, True, True, False]]
    plug.before_step(Clock(7, 8, 4), {"w": torch.tensor([[5.0, 5.0, 5.0, 5.0]])})
    assert plug.keep["w"].tolist() == [[False, True, True, False]], "no surgery after three quarters"


def test_surgery_becomes_rarer():
    plug = DynamicSurgery(["w"], target=0.5, gamma=0.01)
    early, late = (sum(plug._operates(step) for step in range(at, at + 400)) for at in (0, 4000))
    assert early > 3 * late > 0


# --- learned thresholds


def test_the_gradients_of_the_smooth_threshold_are_those_of_its_formula():
    torch.manual_seed(0)
    weight = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    a, b = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.3, 0.5))
    assert torch.autograd.gradcheck(lambda *given: Thresholded.apply(*given, 7.0, 0), (weight, a, b))


def test_the_sharper_the_nearer_to_hard_thresholding():
    weight = torch.linspace(-3, 3, 601, dtype=torch.float64).reshape(1, -1)
    t = torch.tensor(1.0, dtype=torch.float64)
    value, survivors = Thresholded.apply(weight, t, t, 1e4, 0)
    away = (weight.abs() - 1).abs() > 0.01
    assert torch.allclose(value[away], torch.where(weight.abs() > 1, weight, 0)[away], atol=1e-9)
    assert float(survivors) == pytest.approx(float((weight.abs() > 1).sum()), abs=2)
    assert torch.equal(value, -value.flip(1)), "odd"


def test_a_dead_filter_gives_no_gradient():
    weight = torch.tensor([[0.1, -0.2], [0.1, 2.0]], requires_grad=True)
    t = torch.tensor(1.0)
    Thresholded.apply(weight, t, t, 5.0, 0)[0].sum().backward()
    assert weight.grad[0].tolist() == [0.0, 0.0]
    assert weight.grad[1].abs().min() > 0


def test_the_harder_the_pull_the_fewer_are_left(trained, user_task):
    task = user_task(trained)
    left = []
    for pull in (0.05, 2.0):
        network = trace(task.model, task.example)
        plug = LearnedThresholds(names_of(network), pull=pull)
        tune(network.module, task, SETTINGS, (plug,))
        left.append(1 - zeros_in(effective_weights(network.module, (plug,)), names_of(network)))
    assert left[1] < 0.7 * left[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"target": 1.0}, "target must be a share"), ({"pull": 0.0}, "pull must be positive, got 0.0")],
)
def test_bad_thresholds_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        LearnedThresholds(["w"], **options)


def test_a_layer_of_one_weight_has_a_threshold_too():
    plug = LearnedThresholds(["w"], target=0.5)
    weights = {"w": torch.ones(1, 1, 1, 1)}
    plug.before_step(Clock(0, 4, 2), weights)
    assert plug.transform(dict(weights))["w"].isfinite().all()
