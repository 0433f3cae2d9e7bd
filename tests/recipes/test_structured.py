# SPDX-License-Identifier: Apache-2.0
"""The papers' structured systems: what every recipe promises, and what each is for."""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gossamer
from gossamer.compress import searched
from gossamer.files import read_json
from gossamer.filters.importance_weights import FROM_DATA, STARTS
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.measure.entropy import entropy
from gossamer.recipes import recipe_named
from gossamer.recipes.adversarial_selection import channels_on
from gossamer.recipes.greedy_car import numbered
from gossamer.recipes.importance_weights import ImportanceWeights
from gossamer.search.pace import tuned_epochs
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.tuning import Grafting
from gossamer.tuning.gates import fold_in, reading
from gossamer.tuning.scratch import forget

SETTINGS = Settings(epochs=2, batch_size=64, augment=False, numerics="plain float32", learning_rate=0.05)
#: A recipe, and the share of the multiply-adds that its last candidate may have.
RECIPES = {
    "filter-pruning:macs=0.5": 0.5,
    "filter-pruning:criterion=taylor,rate=global,macs=0.5,steps=2,tuning=distillation": 0.5,
    "filter-pruning:criterion=at-random,macs=0.5,scratch=true": 0.5,
    "network-slimming:macs=0.5": 0.5,
    "network-slimming:channels=0.6,passes=2": 0.8,
    "layer-entropy:macs=0.6": 0.6,
    "information-richness:macs=0.6,copies=3": 0.6,
    "greedy-car:macs=0.5,images=256,shortlist=4": 0.5,
    "importance-weights:start=dissimilarity,images=512": 0.95,
    "importance-weights:mode=energy,dropped=0.6,int8=true": 0.95,
    "importance-weights:mode=uniform,dropped=0.4,learning=0": 0.95,
    "importance-weights:macs=0.6,images=512": 0.6,
    "importance-weights:tolerance=20,multiple=4,learning=0,images=512": 0.95,
    "information-richness:macs=0.5,multiple=4,tuning=labels": 0.5,
    "filter-pruning:macs=0.5,steps=2,multiple=4": 0.5,
    "filter-pruning:macs=0.35,steps=3,multiple=8": 0.35,  # the first step takes what the second asks for too
    "adversarial-selection:pull=1,tuning=distillation": 0.95,
    "adversarial-selection:macs=0.6,tuning=adversarial": 0.6,
    "layer-entropy:exponent=1,tuning=labels": 0.95,
    "greedy-car:macs=0.5,images=256,shortlist=4,label=2": 0.5,
}


@pytest.fixture(autouse=True, scope="module")
def _few_rounds():
    """They say what twelve would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gossamer.recipes.importance_weights.ROUNDS", 2)
        yield


@pytest.fixture(scope="module")
def finished(user_task, trained, tmp_path_factory):
    """Every recipe's run, made once."""
    out, task = tmp_path_factory.mktemp("structured"), user_task(trained)
    made = {}

    def run(recipe):
        if recipe not in made:
            place = out / re.sub(r"[^a-z0-9]+", "-", recipe)
            made[recipe] = candidates_of(task, recipe, place)
        return task, made[recipe]

    return run


def candidates_of(task, recipe, place, tolerance=0.1):
    # factors that are pulled down need steps to be held
    settings = replace(SETTINGS, epochs=8) if recipe.startswith("adversarial") else SETTINGS
    goal = Goal(tolerance, minimise="macs")
    run = Run(place, task, goal, recipe, trace(task.model, task.example), settings, Watch())
    return searched(run, recipe_named(recipe))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_smaller_network_that_keeps_the_promise(recipe, finished):
    _task, candidates = finished(recipe)
    first, last = candidates[0], candidates[-1]
    assert last.macs <= RECIPES[recipe] * first.macs
    if "at-random" not in recipe:  # which need not succeed
        accepted = [candidate for candidate in candidates if candidate.verdict.accepted]
        assert min(candidate.macs for candidate in accepted) < first.macs


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if "multiple=4" in recipe])
def test_layers_that_lose_channels_keep_multiples_where_that_is_asked_for(recipe, finished):
    _task, candidates = finished(recipe)
    rows = [row for candidate in candidates[1:] for row in candidate.plan.keep().values()]
    narrow = 0 if recipe.startswith("importance-weights") else 8  # the others leave narrow groups their freedom
    kept = [int(row.sum()) for row in rows if len(row) >= narrow]
    assert kept
    assert all(count % 4 == 0 for count in kept)


def test_a_dense_control_is_not_owed_the_epochs_of_refused_rounds(user_task, trained, tmp_path):
    task, recipe = user_task(trained), "importance-weights:tolerance=90,learning=0,images=256,retries=1"
    goal, place = Goal(0.1, observed=0.0, minimise="macs"), tmp_path / "run"
    run = Run(place, task, goal, recipe, trace(task.model, task.example), SETTINGS, Watch())
    refused = [one for one in searched(run, recipe_named(recipe)) if not one.verdict.accepted]
    trained_epochs = sum(len(stage["value"]) for name, stage in run.stages().items() if name.endswith(" losses"))
    assert refused
    assert tuned_epochs(run) == trained_epochs - SETTINGS.epochs * len(refused)


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_was_cut_stays_cut_and_the_plan_is_in_the_originals_channels(recipe, finished):
    task, candidates = finished(recipe)
    original = trace(task.model, task.example)
    for candidate in candidates[1:]:
        keep = candidate.plan.keep()
        assert keep
        again = original.cut(keep)
        assert again.macs == candidate.macs
        assert again.parameters == candidate.parameters
        kept = {name: int(row.sum()) for name, row in keep.items()}
        assert original.macs_if(kept) == candidate.macs


@pytest.mark.parametrize(
    ("recipe", "taught", "grafted"),
    [
        ("network-slimming:macs=0.5", False, None),
        ("information-richness:macs=0.6,copies=3", False, {"joint": True, "copies": 3}),
        ("adversarial-selection:pull=1,tuning=distillation", True, None),
        ("importance-weights:start=dissimilarity,images=512", False, None),
    ],
)
def test_the_dense_control_is_trained_as_what_was_cut_not_as_what_was_prepared(recipe, taught, grafted, finished):
    _, candidates = finished(recipe)
    folder = candidates[0].folder.parents[2]
    manner = read_json(folder / "stages" / "manner of tuning.json")["value"]
    assert manner["taught"] == taught
    assert (manner["grafted"] is None) == (grafted is None)
    if grafted:
        assert Grafting(**manner["grafted"]) == Grafting(**grafted)


@pytest.mark.parametrize(
    "recipe",
    ["layer-entropy:macs=0.6", "adversarial-selection:pull=1,tuning=distillation", "network-slimming:macs=0.5"],
)
def test_a_finished_run_comes_back_at_once(recipe, finished, monkeypatch):
    """Nothing is trained or scored anew."""
    task, before = finished(recipe)
    for place in ("tuning.loop.go_through", "tuning.grafting.go_through", "recipes.cut_filters.scores_by"):
        monkeypatch.setattr(f"gossamer.{place}", lambda *args, **kwargs: pytest.fail("it was done again"))
    again = candidates_of(task, recipe, before[0].folder.parents[2])
    assert [c.macs for c in again] == [c.macs for c in before]


@pytest.mark.parametrize(
    "recipe",
    ["importance-weights:start=dissimilarity,images=512", "adversarial-selection:pull=1,tuning=distillation"],
)
def test_a_run_killed_at_the_very_end_of_a_rung_goes_on_to_the_same(recipe, finished, tmp_path, monkeypatch):
    """When everything is trained, and only the file is not written yet: nothing is trained again."""
    task, whole = finished(recipe)
    module = f"gossamer.recipes.{recipe.partition(':')[0].replace('-', '_')}"

    def killed(*args, **kwargs):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.on_fine_grid", killed)
        for _ in range(2):
            with pytest.raises(SystemExit):
                candidates_of(task, recipe, tmp_path / "run")
            patch.setattr("gossamer.tuning.loop.save_training", lambda *args: pytest.fail("it was trained again"))
    again = candidates_of(task, recipe, tmp_path / "run")
    first, second = whole[1], again[1]
    assert first.plan == second.plan
    assert first.quality == second.quality
    left = {path.name for path in (tmp_path / "run" / "steps").rglob("*")}
    assert not [name for name in left if name.startswith(("epoch-", "training"))]


def test_the_ladder_goes_on_from_what_it_reached(user_task, trained, tmp_path):
    """Without `macs`, rung after rung, each cut from the one before: channels never come back."""
    candidates = candidates_of(
        user_task(trained), "filter-pruning:tuning=distillation", tmp_path / "run", tolerance=0.06
    )
    accepted = [candidate for candidate in candidates[1:] if candidate.verdict.accepted]
    assert len(accepted) >= 2
    for wider, narrower in itertools.pairwise(accepted):
        for name, row in wider.plan.keep().items():
            assert not (narrower.plan.keep().get(name, row) & ~row).any()


def test_scratch_forgets(task):
    network = trace(task.model, task.example)
    network.module(task.example)  # moves the statistics
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    forget(network)
    after = network.module.state_dict()
    assert not torch.equal(before["conv2.weight"], after["conv2.weight"])
    assert after["conv2.weight"].std() == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.1)
    assert torch.equal(after["bn1.weight"], torch.ones(16))
    assert torch.equal(after["bn1.running_mean"], torch.zeros(16))
    assert torch.equal(after["bn1.running_var"], torch.ones(16))
    first = after["conv2.weight"].clone()
    forget(network)
    assert torch.equal(first, network.module.state_dict()["conv2.weight"])


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("filter-pruning:criterion=l3", r"criterion of filter-pruning must be one of l1-norm, .*, got 'l3'"),
        ("filter-pruning:criterion=importance-weights", r"criterion of filter-pruning must be one of"),
        ("filter-pruning:rate=harmonic-mean", r"rate of filter-pruning must be one of uniform, .*"),
        ("filter-pruning:macs=2", r"macs must be a share of the original's in \(0, 1\), or 0 for a ladder, got 2"),
        ("filter-pruning:steps=0", r"steps must be at least 1, got 0"),
        ("filter-pruning:tuning=hope", r"tuning must be one of labels, distillation, grafting, got 'hope'"),
        ("network-slimming:penalised=1", r"penalised of network-slimming must be a share of the epochs, got 1"),
        ("network-slimming:penalty=0", r"strength must be positive, got 0"),
        ("layer-entropy:relation=x", r"relation of layer-entropy must be one of power"),
        ("information-richness:outliers=x", r"outliers of information-richness must be one of clip, exempt"),
        ("greedy-car:shortlist=-1", r"shortlist of car must not be negative, got -1"),
        ("importance-weights:start=l3", r"start of importance-weights must be one of ones, .*, got 'l3'"),
        (
            "importance-weights:multiple=8,mode=energy",
            r"multiple of importance-weights must be at least 1, and 1 with mode energy or uniform, got 8 with mode",
        ),
        ("importance-weights:learning=1", r"learning of importance-weights must be in \[0, 1\), got 1"),
        ("importance-weights:retries=-1", r"retries of importance-weights must be in 0..2, got -1"),
        ("importance-weights:tolerance=-1", r"tolerance of importance-weights must be in \[0, 100\) points, got -1"),
        ("adversarial-selection:aligning=1", r"aligning of adversarial-selection must be in \(0, 1\), got 1"),
        ("adversarial-selection:pull=-1", r"pull of adversarial-selection must be positive, or 0 for a ladder"),
        (
            "adversarial-selection:tuning=grafting",
            r"tuning must be one of labels, distillation, adversarial, got 'grafting'",
        ),
        (
            "adversarial-selection:macs=1",
            r"macs of adversarial-selection must be a share in \(0, 1\), or 0 for a ladder",
        ),
        (
            "importance-weights:macs=1",
            r"macs of importance-weights must be a share in \(0, 1\), or 0 for rounds, got 1",
        ),
        ("importance-weights:macs=0.5,tolerance=1", r"expected macs or tolerance of importance-weights, got both"),
        ("layer-entropy:exponent=-1", r"exponent must be positive, or 0 to be set by a budget, got -1"),
        ("information-richness:exponent=1,macs=0.5", r"expected macs or exponent, got both; leave one out"),
    ],
)
def test_bad_options_are_one_sentence(recipe, message):
    with pytest.raises(ValueError, match=message):
        recipe_named(recipe)


@pytest.mark.parametrize("recipe", ["filter-pruning", "importance-weights", "adversarial-selection"])
def test_limits_are_refused_in_one_sentence(recipe, user_task, trained, tmp_path):
    with pytest.raises(ValueError, match=rf"{recipe} searches within a tolerance, not within limits"):
        gossamer.compress(
            user_task(trained),
            Goal(fit={"macs": 1e5}),
            recipe,
            out=tmp_path / "run",
            settings=SETTINGS,
            ledger=tmp_path / "ledger.json",
        )


@pytest.mark.parametrize(
    ("retries", "refused", "made"),
    [
        (2, {(2, 1.0), (2, 0.25)}, [(1, 1.0), (2, 1.0), (2, 0.5)]),  # and the second round was the last that there is
        (2, {(1, 1.0), (1, 0.5), (1, 0.25)}, [(1, 1.0), (1, 0.5), (1, 0.25)]),
        (2, {(1, 1.0), (2, 0.5)}, [(1, 1.0), (1, 0.5), (2, 0.5), (2, 0.25)]),
        (0, {(1, 1.0)}, [(1, 1.0)]),
    ],
)
def test_a_refused_round_of_importance_weights_is_made_again_more_carefully(retries, refused, made, monkeypatch):
    rounds = []

    def made_round(self, run, step, name, previous, epochs, share):
        number = int(re.match(r"round (\d+)", name)[1])
        assert step == len(rounds) + 1, "each has a folder of its own"
        rounds.append((number, share))
        verdict = SimpleNamespace(accepted=(number, share) not in refused)
        return SimpleNamespace(macs=100 - 10 * len(rounds), verdict=verdict, folder=(number, share))

    monkeypatch.setattr("gossamer.recipes.importance_weights.uncut_first", lambda run: ([], lambda step, name: 5))
    monkeypatch.setattr(ImportanceWeights, "_round", made_round)
    abandoned = []
    goal = Goal(0.1, minimise="macs")
    run = SimpleNamespace(goal=goal, network=SimpleNamespace(macs=100), abandon=abandoned.append)
    assert len(ImportanceWeights(retries=retries).search(run)) == len(made)
    assert rounds == made
    assert abandoned == [each for each in made if each in refused]


def test_the_best_network_of_importance_weights_is_tried_in_int8(finished):
    _task, candidates = finished("importance-weights:mode=energy,dropped=0.6,int8=true")
    int8, floats = candidates[-1], [candidate for candidate in candidates[:-1] if candidate.verdict.accepted]
    best = min(floats, key=lambda candidate: candidate.macs)
    assert int8.plan.int8
    assert int8.name == f"{best.name}, int8"
    assert (int8.macs, int8.plan.channels) == (best.macs, best.plan.channels)
    assert b"QLinear" in int8.onnx() or b"QuantizeLinear" in int8.onnx()
    _task, without = finished("importance-weights:start=dissimilarity,images=512")
    assert not any(candidate.plan.int8 for candidate in without), "only where somebody asks"


class Grouped(torch.nn.Module):
    """A convolution in two groups, and a branch that may end."""

    def __init__(self):
        super().__init__()
        self.first, self.grouped = torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 1, groups=2)
        self.inner, self.back = torch.nn.Conv2d(8, 6, 1), torch.nn.Conv2d(6, 8, 1)
        self.last = torch.nn.Linear(8, 2)

    def forward(self, x):
        x = torch.relu(self.grouped(torch.relu(self.first(x))))
        x = x + self.back(torch.relu(self.inner(x)))
        return self.last(x.mean((2, 3)))


def test_channels_on_are_whole_parts_and_a_branch_may_end():
    network = trace(Grouped(), torch.zeros(2, 3, 4, 4))
    groups = network.prunable
    on = channels_on(network, groups, {group.name: np.arange(group.size) - 4.0 for group in groups})
    for group in groups:
        counts = np.bincount(group.part, on[group.name])
        assert len(set(counts)) == 1
        assert 0 < counts[0] < group.size
    off = channels_on(network, groups, {group.name: np.arange(group.size) - 99.0 for group in groups})
    assert not off["inner.weight"].any()
    assert all(off[group.name].sum() == group.multiple_of for group in groups if group.name != "inner.weight")
    network.cut(off)


# --- importance-weights: where it starts, and what it ranks by


class Normed(torch.nn.Module):
    """A convolution with a batch norm, and one that reads it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False), torch.nn.BatchNorm2d(16)
        self.reads, self.last = torch.nn.Conv2d(16, 8, 3, padding=1), torch.nn.Linear(8, 4)

    def forward(self, x):
        return self.last(torch.relu(self.reads(torch.relu(self.norm(self.conv(x))))).mean((2, 3)))


def as_inserted(module, start, moved, images):
    """Scores of the first group when the weights have moved from their start so much, and what the network answers."""
    network = trace(module, images)
    groups = network.prunable[:1]
    run = SimpleNamespace(settings=SimpleNamespace(seed=0), calibration_batches=lambda: iter([images]))
    recipe = ImportanceWeights(start=start)
    plug, divided = recipe._weights(run, network, groups)
    name = groups[0].name
    learned = {name: (moved * plug.values[name].detach() / divided[name]).numpy()}
    fold_in(network.tensors, reading(groups[0]), plug.values[name].detach())
    with torch.no_grad():
        return recipe._scores(network, groups, learned)[name], plug.values[name].detach(), network.module.eval()(images)


@pytest.mark.parametrize("start", STARTS)
def test_a_filter_rescaled_against_its_batch_norm_is_ranked_the_same(start):
    torch.manual_seed(0)
    module, images = Normed(), torch.randn(8, 3, 8, 8)
    for _ in range(50):
        module(torch.randn(16, 3, 8, 8))
    module.eval()
    rescaled, by = copy.deepcopy(module), torch.exp(torch.randn(16))
    with torch.no_grad():
        rescaled.conv.weight *= by[:, None, None, None]
        rescaled.norm.running_mean *= by
        rescaled.norm.running_var.mul_(by**2).add_((by**2 - 1) * rescaled.norm.eps)
    moved = 0.5 + torch.rand(16)
    (scores, values, answers), (again, same, answered) = (
        as_inserted(one, start, moved, images) for one in (module, rescaled)
    )
    assert torch.allclose(answers, answered, atol=1e-6)
    assert torch.allclose(values, same, rtol=1e-4)
    assert np.allclose(scores, again, rtol=1e-4)


@pytest.mark.parametrize("start", FROM_DATA)
def test_a_start_that_the_network_is_divided_by_does_not_enter_the_ranking(start):
    """Before anything is learned the norm of the filter decides, as from weights of one."""
    torch.manual_seed(0)
    module, images = Normed().eval(), torch.randn(8, 3, 8, 8)
    scores, values, answers = as_inserted(module, start, 1.0, images)
    plain, ones, expected = as_inserted(module, "ones", 1.0, images)
    assert not torch.allclose(values, ones, atol=0.01)
    assert torch.allclose(answers, expected, atol=1e-6), "nothing changes at first"
    assert np.allclose(scores, plain)


# --- told how much


def test_a_class_is_known_by_name_or_number():
    """A name that looks like a number is a name."""
    assert numbered("sw", ("ne", "nw", "sw")) == 2
    assert numbered("1", ("ne", "nw", "sw")) == 1
    assert numbered("1", ("1", "0")) == 0
    for wrong in ("3", "north", "-1"):
        with pytest.raises(ValueError, match=rf"must be a class \(ne, nw, sw\) or its number below 3, got '{wrong}'"):
            numbered(wrong, ("ne", "nw", "sw"))


def test_the_exponent_is_that_of_the_formula(finished):
    """Nothing is calibrated: rates are entropies by the largest of them."""
    task, candidates = finished("layer-entropy:exponent=1,tuning=labels")
    network = trace(task.model, task.example)
    tensors = network.module.state_dict()
    entropies = {group.name: entropy(tensors[group.name].numpy()) for group in network.prunable}
    expected = {name: round(16 * value / max(entropies.values())) for name, value in entropies.items()}
    keep = candidates[-1].plan.keep()
    assert {name: int(keep[name].sum()) if name in keep else 16 for name in expected} == expected


def test_told_multiply_adds_hardly_more_goes_than_must(finished):
    for recipe in ("importance-weights:macs=0.6,images=512", "adversarial-selection:macs=0.6,tuning=adversarial"):
        _, candidates = finished(recipe)
        assert len(candidates) == 2
        assert candidates[-1].macs > 0.45 * candidates[0].macs


def test_what_a_method_costs_is_in_its_record(finished):
    """Of copies each epoch counts; greedy removal asks once for each filter that it tries."""

    def counts(recipe):
        _, candidates = finished(recipe)
        return read_json(candidates[0].folder.parents[2] / "counts.json")

    plain, copies = counts("filter-pruning:macs=0.5"), counts("information-richness:macs=0.6,copies=3")
    assert plain["epochs_trained"] == 2
    assert copies["epochs_trained"] == 6
    assert counts("greedy-car:macs=0.5,images=256,shortlist=4")["evaluations"] > plain["evaluations"] + 8
