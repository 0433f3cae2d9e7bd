# SPDX-License-Identifier: Apache-2.0
"""Several ways to spend a budget on channels: all within it, the best of them found with little training."""

from __future__ import annotations

import pytest
import torch

from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.search import proposals as module
from gossamer.search.proposals import best_of, distances, proposals
from gossamer.search.run import Run
from gossamer.search.sensitivity import Sensitivity
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.search.widths import Widths, narrowed
from gossamer.tuning import Diverged
from gossamer.zoo.cifar_resnet import CifarResNet

SETTINGS = Settings(epochs=8, batch_size=32, learning_rate=0.05, augment=False, numerics="plain float32")


@pytest.fixture
def run(user_task, trained, tmp_path):
    task = user_task(trained)
    goal = Goal(tolerance=0.04, minimise="macs")
    return Run(tmp_path / "run", task, goal, "auto", trace(task.model, task.example), SETTINGS, Watch())


@pytest.fixture
def widths(run):
    return Widths.of(run, int8=False)


def whole(run):
    return {group.name: group.size for group in run.network.prunable}


def test_all_are_within_the_budget_and_that_of_the_measured_losses_is_first():
    network = trace(CifarResNet(8), torch.zeros(1, 3, 32, 32))
    sizes = {group.name: group.size for group in network.prunable}
    options = {name: list(range(2, size + 1, 2)) for name, size in sizes.items()}
    losses = {
        name: Sensitivity((2, size // 2, size), (0.5 + place, 0.1 * place, 0.0))
        for place, (name, size) in enumerate(sizes.items())
    }
    widths = Widths(network, options, losses, network.macs_if)
    most = {name: size - 2 for name, size in sizes.items()}
    found = proposals(widths, 0.4, most)
    assert found[0] == widths.within(0.4, most)
    assert len(found) >= 3
    assert all(one != other for place, one in enumerate(found) for other in found[:place])
    assert all(network.macs_if(counts) <= 0.4 * network.macs for counts in found)
    assert all(counts[name] <= most[name] for counts in found for name in counts)
    assert proposals(widths, 0.4, most) == found


def test_nothing_is_proposed_where_nothing_is_within(widths):
    assert proposals(widths, 1e-6, {}) == []


@pytest.fixture
def trainings(monkeypatch):
    """The epochs of every training that is asked for, by the words shown beside it."""
    asked = {}
    tune = Run.tune

    def counted(self, network, plugs, numerics, epochs, folder, name, *rest, **more):
        asked[name] = epochs
        return tune(self, network, plugs, numerics, epochs, folder, name, *rest, **more)

    monkeypatch.setattr(Run, "tune", counted)
    return asked


def worst_first(run, widths):
    """Three proposals, from hardly any channel to most of them."""
    names = list(whole(run))
    return [{name: count if name == names[0] else 8 for name in names} for count in (1, 8, 14)]


def test_the_better_half_is_trained_a_little_and_the_best_of_it_goes_on(run, widths, trainings, monkeypatch):
    """Here the narrower the network, the farther it is, until it is trained: then it is the other way round."""
    monkeypatch.setattr(
        module,
        "distances",
        lambda run: lambda network: 1 / network.macs if not trainings else float(network.macs),
    )
    found = worst_first(run, widths)
    folder = run.step_folder(1, "cut")
    keep, network, left = best_of(run, run.network, found, folder, "cut", 16)
    assert trainings.pop("cut, proposal 3") == 2
    assert trainings == {"cut, proposal 2": 2}
    assert left == 16 - 2 * 2
    decided = run.stages()["proposals for cut"]["value"]
    assert decided["untrained"] == sorted(decided["untrained"], reverse=True)
    assert decided["best"] == 1
    best = found[1]
    assert {name: int(row.sum()) for name, row in keep.items()} == {
        name: count for name, count in best.items() if count < whole(run)[name]
    }
    untrained = narrowed(run, run.network, best)[1]
    assert any(
        not torch.equal(a, b) for a, b in zip(network.module.parameters(), untrained.module.parameters(), strict=True)
    )


def test_the_distance_is_that_from_the_original(run):
    distance = distances(run)
    assert distance(run.network) == 0
    near, far = (narrowed(run, run.network, dict.fromkeys(whole(run), count))[1] for count in (7, 1))
    assert 0 < distance(near) < distance(far)


def test_choosing_among_proposals_is_timed_before_the_first_rung_is_promised(run, widths, monkeypatch):
    """One is cut, fitted and asked in two planted seconds; eight are, and the two that are trained once more."""
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(run, "stage", lambda name, compute: compute())
    monkeypatch.setattr(module, "distances", lambda run: lambda network: 0.0)
    monkeypatch.setattr(module, "narrowed", lambda run, parent, counts: ({}, parent))
    assert module.fitting_seconds(run, widths) == 10 * 2.0


def test_what_was_decided_is_not_asked_again(run, widths, monkeypatch):
    found, folder = worst_first(run, widths), run.step_folder(1, "cut")
    _, network, left = best_of(run, run.network, found, folder, "cut", 16)
    monkeypatch.setattr(module, "distances", None)
    _, again, same = best_of(run, run.network, found, folder, "cut", 16)
    assert same == left
    for a, b in zip(network.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_with_few_epochs_nothing_is_trained_for_a_choice(run, widths, trainings):
    keep, _, left = best_of(run, run.network, worst_first(run, widths), run.step_folder(1, "cut"), "cut", 7)
    assert left == 7
    assert trainings == {}
    assert int(next(iter(keep.values())).sum()) == 14


def test_a_single_proposal_is_cut_without_a_trial(run, widths, trainings):
    found = worst_first(run, widths)[:1]
    _, network, left = best_of(run, run.network, found, run.step_folder(1, "cut"), "cut", 16)
    assert (left, trainings) == (16, {})
    assert network.macs < run.network.macs


def test_a_trial_that_diverges_is_given_up_and_no_more(run, widths, monkeypatch):
    def diverges(self, *given, **more):
        raise Diverged("planted")

    monkeypatch.setattr(Run, "tune", diverges)
    keep, _, left = best_of(run, run.network, worst_first(run, widths), run.step_folder(1, "cut"), "cut", 16)
    assert left == 16
    assert int(next(iter(keep.values())).sum()) == 14, "the best without training"
    assert run.notes[0] == "proposal 3 of 'cut' was given up: planted"
    assert len(run.notes) == 2
