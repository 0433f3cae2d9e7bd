# SPDX-License-Identifier: Apache-2.0
"""Deep Compression on a small network: pruned more from rung to rung, shared, coded as asked, resumed to the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gossamer
from gossamer import container
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.recipes import RECIPES, recipe_named
from gossamer.recipes import deep_compression as module
from gossamer.recipes.deep_compression import RATES, DeepCompression, Demand
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.tuning import Diverged
from gossamer.zoo import ZOO

SETTINGS = Settings(epochs=4, batch_size=64, augment=False, numerics="plain float32")
RECIPE = "deep-compression:conv_bits=5,fc_bits=4"


@pytest.fixture(scope="module")
def finished(user_task, trained, tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "deep"
    task = user_task(trained)
    goal, ledger = Goal(0.04), out.with_suffix(".json")
    return task, gossamer.compress(task, goal, RECIPE, out=out, settings=SETTINGS, ledger=ledger)


def weights_of(candidate) -> dict[str, container.Tensor]:
    return {t.name: t for t in container.read(candidate.file).payload.tensors if t.centroids is not None}


def test_every_weight_of_every_candidate_is_shared_in_the_file(finished):
    task, result = finished
    names = {layer.name for layer in trace(task.model, task.example).layers}
    assert len(result.candidates) >= 3, "the ladder was climbed"
    for candidate in result.candidates:
        tensors = weights_of(candidate)
        assert tensors.keys() == names
        for name, tensor in tensors.items():
            bits = 8 if candidate.name == "shared, unpruned" else 4 if name == "fc.weight" else 5
            assert len(tensor.centroids) <= 2**bits
            assert tensor.centroids[tensor.zero] == 0
            assert (tensor.unit is not None) == (name != "fc.weight"), (
                "a factor a channel where a batch norm was folded in"
            )
            plan = candidate.plan.layers[name]
            assert (plan.codebook, plan.step) == (len(tensor.centroids), None)
            assert plan.sparsity == pytest.approx(np.mean(tensor.integers == 0))
        stored = {entry.name: entry.coder for entry in container.read(candidate.file).stored}
        assert {stored[name] for name in names} == {"relative"}
    assert result.certificate.proven


def test_a_rung_prunes_what_the_last_one_left(finished):
    _, result = finished
    rungs = [c for c in result.candidates if c.name != "shared, unpruned" and c.verdict.accepted]
    assert len(rungs) >= 2
    for one, other in pairwise(rungs):
        before, after = weights_of(one), weights_of(other)
        assert all(not (after[name].integers[before[name].integers == 0]).any() for name in before), "zeros stay zeros"
    assert rungs[-1].sizes.coded < 0.8 * rungs[0].sizes.coded
    for rung in rungs:
        total = sum(tensor.integers.size for tensor in weights_of(rung).values())
        nonzero = sum(int(np.count_nonzero(tensor.integers)) for tensor in weights_of(rung).values())
        assert nonzero == pytest.approx(total * float(rung.name.split(" ")[0]) / 100, abs=1 + 0.001 * total)


def test_what_is_loaded_is_what_the_file_computes(finished):
    task, result = finished
    from gossamer.runtime.session import open_session

    images = torch.from_numpy(task.preprocess.apply(task.test.images.take(np.arange(50))))
    with torch.no_grad():
        loaded = gossamer.load(result.folder, task).module.eval()(images).numpy()
    stored = open_session(result.folder / "model.onnx").run(images.numpy())[0]
    assert np.abs(loaded - stored).max() < 1e-4 * np.abs(stored).max()


def test_the_report_compares_the_coders_and_the_control_is_tuned_as_the_candidates_were(
    finished, tmp_path, monkeypatch
):
    task, result = finished
    assert any("by the adaptive coder" in note for note in result.report.notes)
    run = Run(result.folder, task, Goal(0.04), RECIPE, trace(task.model, task.example), SETTINGS, Watch())
    manner = {"taught": False, "weight_decay": 5e-4, "grafted": None}
    assert run.stage("manner of tuning", lambda: None) == manner
    losses = [name for name in run.stages() if name.endswith("losses")]
    assert any(name.endswith("pruning losses") for name in losses)
    assert any(name.endswith("sharing losses") for name in losses)
    from gossamer.search.control import dense_control
    from gossamer.search.pace import tuned_epochs

    accepted = [candidate for candidate in result.candidates[1:] if candidate.verdict.accepted]
    assert tuned_epochs(run) == 4 * len(accepted)
    asked = []
    monkeypatch.setattr(
        Run, "tune", lambda self, module, plugs, *rest, weight_decay, **_: asked.append((plugs, weight_decay))
    )
    monkeypatch.setattr(Run, "stage", lambda self, name, compute: compute())
    monkeypatch.setattr("gossamer.search.control.measure_pace", lambda run: SimpleNamespace(numerics=None))
    dense_control(run)
    assert asked == [((), 5e-4)], "no teacher for the candidates, none for the control"

    def diverges(*_, **__):
        raise Diverged("planted")

    monkeypatch.setattr(Run, "tune", diverges)
    assert dense_control(run) is None
    assert run.notes[-1] == "there is no dense control to compare with: its tuning failed (planted)"


class _Killed(BaseException):
    """As a signal would: nothing catches it."""


def test_killed_while_values_are_trained_it_goes_on_to_the_same_result(user_task, trained, tmp_path, monkeypatch):
    task, goal = user_task(trained), Goal(0.04)

    def compress(out):
        return gossamer.compress(
            task,
            goal,
            f"{RECIPE},coder=smallest",
            out=tmp_path / out,
            settings=replace(SETTINGS, epochs=2),
            ledger=tmp_path / "l",
        )

    monkeypatch.setattr(module, "STRENGTHS", (0.6, 1.0))
    whole = compress("whole")
    real, calls = Run.tune, []

    def tune(self, *given, phase, **options):
        calls.append(phase)
        if phase == "sharing" and len(calls) in (2, 6):
            raise _Killed
        return real(self, *given, phase=phase, **options)

    monkeypatch.setattr(Run, "tune", tune)
    for _ in range(2):
        with pytest.raises(_Killed):
            compress("killed")
    again = compress("killed")
    assert (again.folder / "model.onnx").read_bytes() == (whole.folder / "model.onnx").read_bytes()
    assert calls[:3] == ["pruning", "sharing", "pruning"], "the first phase is read back"


# --- rates -----------------------------------------------------------------------------------------------------


def run_for(name: str, rates: str) -> tuple[Run, DeepCompression]:
    """Enough of a run for rates: its network, all of whose layers are coded."""
    model = ZOO[name](10)
    network = trace(model.eval(), torch.zeros(2, *model.input_shape))
    run = object.__new__(Run)
    run.network = network
    return run, DeepCompression(rates=rates)


@pytest.mark.parametrize(("name", "kept"), [("lenet300100", 0.082), ("lenet5", 0.084)])
def test_at_strength_one_the_paper_s_share_of_each_layer_stays(name, kept):
    run, recipe = run_for(name, name)
    layers = list(run.network.layers)
    demand = recipe.demand(layers, 1.0)
    assert demand.kept == pytest.approx(kept, abs=0.001)
    weights = {layer.name: run.network.module.state_dict()[layer.name].numpy() for layer in layers}
    for layer, percent in zip(layers, RATES[name], strict=True):
        assert recipe.keep(weights, layers, demand)[layer.name].mean() == pytest.approx(percent / 100, abs=0.003)
    more = recipe.keep(weights, layers, recipe.demand(layers, 1.3))
    assert all(more[layer.name].mean() < 0.01 + (p / 100) ** 1.3 for layer, p in zip(layers, RATES[name], strict=True))


def test_without_rates_the_first_layer_is_pruned_least():
    run, recipe = run_for("lenet300100", "")
    layers = list(run.network.layers)
    torch.manual_seed(0)
    weights = {layer.name: torch.randn(layer.shape).numpy() for layer in layers}
    keep = recipe.keep(weights, layers, recipe.demand(layers, 1.0))
    assert sum(row.sum() for row in keep.values()) == pytest.approx(0.1 * 266_200, abs=1)
    assert keep["ip1.weight"].mean() > 5 * keep["ip2.weight"].mean()


def test_rates_of_another_network_are_refused_before_anything_is_trained(task, tmp_path):
    with pytest.raises(ValueError, match="rates of vgg16 are for 16 layers, got a network of 3; leave rates out"):
        gossamer.compress(
            task, Goal(), "deep-compression:rates=vgg16", out=tmp_path / "r", settings=SETTINGS, ledger=tmp_path / "l"
        )


def test_latency_is_not_its_business(task, tmp_path):
    with pytest.raises(ValueError, match="makes files small, not arithmetic fast, but latency is to be minimised"):
        gossamer.compress(
            task,
            Goal(minimise="latency"),
            "deep-compression",
            out=tmp_path / "r",
            settings=SETTINGS,
            ledger=tmp_path / "l",
        )


# --- options ---------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_paper_s():
    recipe = DeepCompression()
    assert (recipe.conv_bits, recipe.fc_bits, recipe.index_bits, recipe.initial) == (8, 5, 5, "linear")
    assert (recipe.coder, recipe.distil) == ("huffman", False)
    assert all(max(rates) <= 100 for rates in RATES.values())
    assert [len(RATES[name]) for name in ("lenet300100", "lenet5", "alexnet", "vgg16")] == [3, 4, 8, 16]


def test_options_are_read_by_their_type():
    recipe = recipe_named("deep-compression:rates=lenet5,fc_bits=6,coder=adaptive,distil=true")
    assert recipe == DeepCompression(rates="lenet5", fc_bits=6, coder="adaptive", distil=True)
    assert recipe_named("auto") == RECIPES["auto"]()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "deep-compresion",
            r"expected a recipe of auto, deep-compression.*, got 'deep-compresion'; did you mean deep-co",
        ),
        ("deep-compression:bits=3", r"expected an option of deep-compression \(rates, .*\), got 'bits'"),
        ("auto:bit=3", r"expected an option of auto \(bits, macs\), got 'bit'"),
        ("deep-compression:fc_bits=many", "fc_bits of deep-compression must be of type int, got 'many'"),
        ("deep-compression:distil=yes", "distil of deep-compression must be true or false, got 'yes'"),
        ("deep-compression:fc_bits=0", "fc_bits of deep-compression must be in 1..12, got 0; the paper has 8, 5 and 5"),
        ("deep-compression:index_bits=13", "index_bits of deep-compression must be in 0..12, got 13"),
        ("deep-compression:weight_decay=1", r"weight_decay of deep-compression must be in \[0, 1\), got 1.0"),
        ("deep-compression:rates=resnet", "rates of deep-compression must be one of lenet300100, .*, got 'resnet'"),
        (
            "deep-compression:coder=zip",
            "coder of deep-compression must be one of huffman, adaptive, smallest, got 'zip'",
        ),
        ("deep-compression:initial=zero", "initial of deep-compression must be one of linear, forgy, density"),
    ],
)
def test_bad_options_are_one_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        recipe_named(text)


def test_a_demand_is_named_by_what_is_kept():
    assert Demand(1.0, 0.0824).name == "8.2 % kept"
