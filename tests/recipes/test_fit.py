# SPDX-License-Identifier: Apache-2.0
"""Limits are kept, all of them, with as much quality as they leave; what cannot fit is said."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import gossamer
from gossamer.certify import recheck
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.measure.working_memory import working_memory
from gossamer.quantize.static_int8 import quantize_int8, with_values
from gossamer.recipes import fewer_channels
from gossamer.recipes import fit as fit_module
from gossamer.recipes.cut_to_limits import Aim, Cut, bettered
from gossamer.recipes.fewer_channels import Demand
from gossamer.recipes.fit import packed
from gossamer.search import candidate
from gossamer.search.claims import most_claims_bytes
from gossamer.search.memory_model import MemoryModel
from gossamer.search.proof import ToleranceNotMet
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch

SETTINGS = Settings(epochs=8, batch_size=32, learning_rate=0.05, augment=False, numerics="plain float32")


@pytest.fixture
def fit(user_task, trained, tmp_path):
    def run(recipe="auto", **limits):
        task = user_task(trained)
        goal = Goal(fit=limits)
        return gossamer.compress(
            task, goal, recipe, out=tmp_path / "run", settings=SETTINGS, ledger=tmp_path / "l.json"
        )

    return run


def test_bytes_and_macs_together(fit):
    result = fit(bytes=2600, macs=60_000)
    after, before = result.report.compressed, result.report.original
    assert before.macs > 60_000 >= after.macs
    assert (result.folder / "model.gossamer").stat().st_size == after.bytes.coded <= 2600  # certificate included
    assert after.quality > 0.9
    assert result.certificate.proven
    assert recheck(result.certificate) == []
    assert result.certificate.tolerance < 0.1
    fitting = [candidate for candidate in result.candidates if candidate.verdict.accepted]
    assert result.report.chosen == max(fitting, key=lambda candidate: candidate.quality).name


def test_what_fits_already_is_only_written(fit):
    result = fit(macs=10**9)
    assert result.report.chosen == "uncut, float32"
    assert len(result.candidates) == 1


def test_what_fits_is_tuned_on_while_time_is_left_and_nothing_is_trained_twice(user_task, trained, tmp_path):
    """Two epochs leave something to be learned; the same command reads back what the first one made."""
    task, goal = user_task(trained), Goal(fit={"macs": 3000})
    settings, out = replace(SETTINGS, epochs=2, learning_rate=0.005), tmp_path / "run"
    result = gossamer.compress(task, goal, out=out, settings=settings, ledger=tmp_path / "l.json")
    qualities = {candidate.name: candidate.quality for candidate in result.candidates if candidate.verdict.accepted}
    first = next(iter(qualities))
    assert f"{first.removesuffix(', float32')}, again, float32" in qualities
    assert max(qualities.values()) > qualities[first]
    assert result.report.chosen == max(qualities, key=lambda name: qualities[name])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "tune", lambda *given, **more: pytest.fail("trained once more"))
        again = gossamer.compress(task, goal, out=out, settings=settings, ledger=tmp_path / "l.json")
    assert [candidate.name for candidate in again.candidates] == [candidate.name for candidate in result.candidates]


def test_without_time_what_fits_first_is_delivered(user_task, trained, tmp_path, monkeypatch):
    answers = iter([True])
    monkeypatch.setattr(Run, "has_time_for", lambda self, seconds: next(answers, False))
    settings = replace(SETTINGS, epochs=2, learning_rate=0.005)
    goal = Goal(fit={"macs": 3000}, hours=1)
    result = gossamer.compress(
        user_task(trained), goal, out=tmp_path / "run", settings=settings, ledger=tmp_path / "l.json"
    )
    assert [candidate.verdict.accepted for candidate in result.candidates] == [False, True]
    assert any("stopped before" in note and "again" in note for note in result.report.notes)


def test_a_file_that_fits_is_trained_on_in_the_bits_that_the_limit_leaves(user_task, trained, tmp_path, monkeypatch):
    """Planted: what rounding and each training give; the first trained file is a tenth smaller than it may be."""
    task, limit = user_task(trained), 1100
    network = trace(task.model, task.example)
    run = Run(tmp_path / "run", task, Goal(fit={"bytes": limit}), "auto", network, SETTINGS, Watch())
    uncut = fewer_channels.uncut_written(run)[-1]
    outcomes = iter([(0.9, 0.85), (1.0, 0.86), (1.1, 0.9), (1.0, 0.85), (1.0, 0.86)])
    asked = []

    def tuned_to(run, number, demand, previous, epochs):
        used, quality = next(outcomes)
        asked.append(demand)
        sizes = replace(previous.sizes, coded=round(used * limit) - most_claims_bytes(run))
        verdict = replace(previous.verdict, accepted=used <= 1)
        return replace(previous, name=demand.name, sizes=sizes, quality=quality, verdict=verdict)

    exact = fit_module.rounded
    monkeypatch.setattr(fit_module, "rounded", lambda *given: replace(exact(*given), quality=0.8))
    monkeypatch.setattr(fit_module.fewer_bytes, "tuned_to", tuned_to)
    found = packed(run, 1, uncut, lambda number, name: 1)
    assert [candidate.quality for candidate in found[-5:]] == [0.85, 0.86, 0.9, 0.85, 0.86]
    first, second, third, fourth, _ = asked
    assert second.bits == pytest.approx(1.1 * first.bits)
    assert third.bits == second.bits, "there was no room: once more at the same bits"
    assert third.name == f"{second.name}, again"
    assert fourth.bits < third.bits, "the one before was too large"


# --- how it goes on, on planted outcomes -----------------------------------------------------------------------------


class Planted(Aim):
    """An aim whose cuts keep a latency of so many ms a share, and whose quality is what is planted, by the attempt."""

    def __new__(cls, *given):
        return object.__new__(cls)

    def __init__(self, limit, qualities):
        asked = {"asked": [], "qualities": iter(qualities), "limit": limit}
        for name, value in asked.items():
            object.__setattr__(self, name, value)
        goal = SimpleNamespace(fit={"latency": limit})
        object.__setattr__(self, "run", SimpleNamespace(goal=goal))
        object.__setattr__(self, "memory", None)

    def plant(self, demand):
        took = 10 * demand.share
        verdict = SimpleNamespace(accepted=took <= self.limit)
        best = SimpleNamespace(
            quality=next(self.qualities), verdict=verdict, limited=lambda run: {"latency": took}, demand=demand
        )
        return Cut(demand, [best])

    def cut(self, share, made):
        self.asked.append(round(share, 3))
        return self.plant(Demand(share, "time"))

    def once_more(self, cut, made):
        self.asked.append("again")
        return self.plant(cut.demand.once_more())


@pytest.mark.parametrize(
    ("qualities", "asked"),
    [
        ([0.80, 0.80, 0.70, 0.70], ["again", 0.495]),  # two betters nothing
        ([0.80, 0.81, 0.85, 0.86, 0.86, 0.86], ["again", 0.495, "again", "again", "again"]),  # the gentler one goes on
        ([0.80, 0.81, 0.75, 0.83, 0.8, 0.8], ["again", 0.495, "again", "again", "again"]),
        ([0.80, 1.0], ["again"]),  # no answer is wrong
    ],
)
def test_what_fits_is_tuned_on_then_cut_less_then_tuned_on(qualities, asked):
    """A limit of 5 ms; the first cut takes 4."""
    aim = Planted(5.0, qualities)
    made = bettered(aim, [aim.plant(Demand(0.4, "time"))])
    assert aim.asked == asked
    assert len(made) == 1 + len(asked)


def test_gentler_cuts_keep_below_one_that_was_too_wide():
    aim = Planted(5.0, [0.8, 0.8, 0.81, 0.8, 0.8, 0.8, 0.8])
    missed, fits = aim.plant(Demand(0.6, "time")), aim.plant(Demand(0.4, "time"))
    assert aim.gentler(fits, None) == pytest.approx(0.495)
    assert aim.gentler(fits, 0.44) == pytest.approx(0.42)
    assert aim.gentler(fits, 0.41) is None
    made = bettered(aim, [missed, fits])
    assert all(cut.demand.share <= 0.5 for cut in made[1:])


# --- int8 that is trained --------------------------------------------------------------------------------------------

SPOILED = {"fc.bias": np.array([100, 0, 0, 0], np.float32)}


def spoil(monkeypatch):
    """int8 is rounded so badly that it takes all images for one class."""
    monkeypatch.setattr(
        candidate, "quantize_int8", lambda *given, **more: with_values(quantize_int8(*given, **more), SPOILED)
    )


def test_int8_that_alone_fits_is_trained_where_its_answers_are_clearly_worse(fit, monkeypatch):
    spoil(monkeypatch)
    result = fit(ram=4096)
    names = [candidate.name for candidate in result.candidates]
    assert names[:3] == ["uncut, float32", "uncut, int8", "uncut, int8 trained"]
    assert result.report.chosen.startswith("uncut")
    assert result.report.chosen.endswith("int8 trained")
    assert result.report.compressed.quality > 0.9
    assert result.report.compressed.ram_bytes <= 4096


def test_int8_is_left_alone_where_float32_fits_too(fit, monkeypatch):
    spoil(monkeypatch)
    result = fit(ram=10_000)
    assert [candidate.name for candidate in result.candidates] == ["uncut, int8", "uncut, float32"]
    assert result.report.chosen == "uncut, float32"


def test_what_cannot_fit_is_said(fit):
    with pytest.raises(ToleranceNotMet, match=r"no candidate fits into the limits \(.*bytes .* times the limit"):
        fit(bytes=100)


# --- working memory: the small network reads and makes 16 channels of 8 x 8 in its second convolution -----------------


def test_int8_takes_a_quarter_of_the_memory_and_is_tried_before_channels_are_cut(fit):
    result = fit(ram=4096)
    assert result.report.chosen == "uncut, int8"
    assert [candidate.ram_bytes for candidate in result.candidates] == [4 * 64 * (16 + 16), 64 * (16 + 16)]
    assert [candidate.verdict.note for candidate in result.candidates] == ["ram 2 times the limit", ""]
    before, after = result.report.original, result.report.compressed
    assert (before.ram_bytes, after.ram_bytes) == (8192, 2048)
    assert working_memory((result.folder / "model.onnx").read_bytes()).bytes == after.ram_bytes
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "4.00\N{MULTIPLICATION SIGN} less working memory" in page
    assert "working memory of activations" in page


def test_channels_are_cut_to_working_memory_and_bytes_together(fit):
    result = fit(ram=1000, bytes=100_000)
    after = result.report.compressed
    assert after.ram_bytes == working_memory((result.folder / "model.onnx").read_bytes()).bytes <= 1000
    assert after.ram_bytes > 700, "more was cut than had to be"
    assert after.quality > 0.9


def test_a_file_in_int8_arithmetic_gets_few_bits_too(fit):
    """The memory is that of int8 alone, and eight bits a weight would not fit into the file."""
    result = fit(ram=2100, bytes=2600)
    uncut = next(candidate for candidate in result.candidates if candidate.name == "uncut, int8")
    assert uncut.sizes.coded > 2600
    assert result.report.chosen.endswith(", int8")
    after = result.report.compressed
    assert after.ram_bytes == working_memory((result.folder / "model.onnx").read_bytes()).bytes <= 2100
    assert (result.folder / "model.gossamer").stat().st_size <= 2600
    assert after.quality > 0.9


@pytest.mark.parametrize(("limits", "least"), [({"ram": 200}, 256), ({"ram": 200, "bytes": 1e6}, 256)])
def test_memory_that_no_cut_reaches_is_said_before_anything_is_trained(fit, tmp_path, limits, least):
    """The input has 3 channels, and the first convolution keeps one."""
    message = (
        f"no cut of channels brings the working memory to {limits['ram']} bytes: with the fewest .* it is {least:,}"
    )
    with pytest.raises(ToleranceNotMet, match=message):
        fit(**limits)
    steps = {path.name for path in (tmp_path / "run" / "steps").iterdir()}
    assert steps == {"00-uncut"}
    assert not (tmp_path / "run" / "stages" / "sensitivities.json").exists()


def test_a_cut_that_needs_more_than_predicted_is_lowered_before_it_is_trained(fit, monkeypatch):
    """Where the model is off (here: by a third), the graph of the cut is measured, and the share follows."""
    exact = MemoryModel.bytes
    monkeypatch.setattr(MemoryModel, "bytes", lambda self, counts: exact(self, counts) * (0.75 if counts else 1))
    result = fit(ram=1000, bytes=100_000)
    assert result.report.compressed.ram_bytes <= 1000
    assert len(result.candidates) == 4, "it was trained once, and written in float32 and int8"


def test_recipes_that_search_within_a_tolerance_refuse(fit):
    with pytest.raises(ValueError, match="post-training searches within a tolerance, not within limits"):
        fit("post-training", bytes=2000)
