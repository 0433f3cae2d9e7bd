# SPDX-License-Identifier: Apache-2.0
"""Fewer bytes by fewer channels first; what `auto` is asked is what it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import gossamer
from gossamer import container
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.recipes import fewer_bytes, slimmed_first
from gossamer.recipes.post_training import PostTraining
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch

SETTINGS = Settings(epochs=1, batch_size=64, augment=False)


def test_bits_are_asked_of_a_network_that_was_cut_and_trained(user_task, trained, tmp_path):
    task = user_task(trained)
    result = gossamer.compress(
        task, Goal(0.05), "auto:macs=0.5", out=tmp_path / "run", settings=SETTINGS, ledger=tmp_path / "l.json"
    )
    by_name = {candidate.name: candidate for candidate in result.candidates}
    slim = by_name["50 % of the MACs"]
    rounded = [candidate for name, candidate in by_name.items() if name.startswith("50 % of the MACs, strength")]
    bits = [candidate for name, candidate in by_name.items() if name.endswith("bits a weight")]
    original = result.report.original
    assert 0.25 * original.macs < slim.macs <= 0.5 * original.macs
    assert {candidate.macs for candidate in rounded} == {slim.macs}
    assert rounded[0].sizes.coded < 0.7 * slim.sizes.coded  # training for bits starts on coarse grids
    for candidate in bits:
        assert candidate.macs <= slim.macs
        assert candidate.sizes.coded < [one for one in rounded if one.verdict.accepted][-1].sizes.coded
        assert candidate.plan.channels.keys() >= slim.plan.channels.keys()
    assert bits
    assert container.read(result.folder / "model.gossamer").claims["certificate"]
    assert not list(result.folder.rglob("training.safetensors"))


def names_of(task, folder, settings=SETTINGS):
    result = gossamer.compress(task, Goal(0.05), "auto", out=folder / "run", settings=settings, ledger=folder / "l")
    return result, [candidate.name for candidate in result.candidates]


def test_channels_to_spare_go_before_bits_are_asked_for(user_task, trained, tmp_path):
    """Half of the arithmetic holds, which leaves less than a third; no choice of channels leaves less still."""
    result, names = names_of(user_task(trained), tmp_path, replace(SETTINGS, epochs=3))
    by_name = dict(zip(names, result.candidates, strict=True))
    slim = [name for name in names if name.endswith("briefly trained")]
    coarse = [name for name in names if "briefly trained, strength" in name]
    assert slim == ["50 % of the MACs, briefly trained"]
    assert by_name[slim[0]].macs < 0.5 * result.report.original.macs
    assert {by_name[name].macs for name in coarse} == {by_name[slim[0]].macs}
    first = next(candidate for candidate in result.candidates if candidate.name.endswith("bits a weight"))
    assert first.macs <= by_name[slim[0]].macs
    assert names.index(slim[0]) > names.index("strength 0.004")


@pytest.mark.parametrize(
    ("holds", "expected"),
    [((), ["50", "70"]), (("70",), ["50", "70"]), (("50", "36"), ["50", "36", "26"])],
    ids=["none", "70", "36"],
)
def test_how_far_channels_go_is_tried_from_a_half_on(holds, expected, user_task, trained, tmp_path, monkeypatch):
    task, asked, abandoned = user_task(trained), [], []
    run = Run(tmp_path, task, Goal(0.05), "auto", trace(task.model, task.example), SETTINGS, Watch())
    whole = SimpleNamespace(sizes=SimpleNamespace(coded=1000))

    def cut(run, widths, number, share, name, epochs, previous=None):
        asked.append((f"{100 * share:.0f}", epochs, previous and previous.name))
        drop = 0.0 if asked[-1][0] in holds else 0.04  # within what may be lost, but too much of it
        verdict = SimpleNamespace(accepted=True, drop=drop)
        return SimpleNamespace(
            name=asked[-1][0],
            macs=share * run.network.macs,
            verdict=verdict,
            folder=Path(asked[-1][0]),
            sizes=SimpleNamespace(coded=900),
        )

    monkeypatch.setattr(slimmed_first, "_untrained", lambda run, share: {"counts": {}, "drop": 0.01})
    monkeypatch.setattr(slimmed_first, "_cut_and_written", cut)
    monkeypatch.setattr(slimmed_first, "in_fewer_bits", lambda run, found: [])
    monkeypatch.setattr(run, "abandon", lambda folder: abandoned.append(folder.name))
    slim = slimmed_first.as_slim_as_it_holds(run, 1, whole, 0.004, lambda number, name, times=1: 6)
    assert [share for share, _, _ in asked] == expected
    assert [epochs for _, epochs, _ in asked] == [round(2 / (int(share) / 100)) for share in expected]
    assert [before for _, _, before in asked] == [None, *([None] if "50" not in holds else list(holds))]
    assert abandoned == [share for share in expected if share not in holds]
    assert (slim.start.name if slim.start else None) == (holds[-1] if holds else None)
    assert slim.trainings == len(expected)


def test_a_network_without_channels_to_spare_is_not_cut(user_task, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(slimmed_first, "_untrained", lambda run, share: {"counts": {}, "drop": 0.3})
    _result, names = names_of(user_task(trained), tmp_path)
    assert not [name for name in names if "MACs" in name]
    assert names[-1].endswith("bits a weight")


@pytest.mark.parametrize("gains", [True, False])
def test_training_for_bits_goes_on_from_the_slim_network_where_that_is_smaller(
    gains, user_task, trained, tmp_path, monkeypatch
):
    starts, tuned_to = [], fewer_bytes.tuned_to

    def watched(run, number, demand, previous, epochs):
        starts.append(previous.name)
        return tuned_to(run, number, demand, previous, epochs)

    monkeypatch.setattr(fewer_bytes, "tuned_to", watched)
    if gains:  # the whole network stays on its fine grid
        monkeypatch.setattr(PostTraining, "by_strength", lambda self, run: {0.004: fewer_bytes.fine_grid(run)})
    else:  # the slim one does
        monkeypatch.setattr(slimmed_first, "in_fewer_bits", lambda run, found: [])
    result, names = names_of(user_task(trained), tmp_path)
    said = [note for note in result.report.notes if "no smaller when it is rounded than the whole network" in note]
    assert "50 % of the MACs, briefly trained" in names
    assert ("briefly trained" in starts[0]) == gains
    assert bool(said) != gains


@pytest.mark.parametrize("goal", [Goal(0.05, minimise="macs"), Goal(0.05, fit={"bytes": 5000})], ids=["macs", "fit"])
def test_options_for_bytes_are_refused_where_they_would_do_nothing(goal, user_task, trained, tmp_path):
    with pytest.raises(ValueError, match=r"expected auto without options, .* got bits=0 and macs=0.5; leave them out"):
        gossamer.compress(user_task(trained), goal, "auto:macs=0.5", out=tmp_path, settings=SETTINGS)


def test_a_share_of_all_is_none():
    with pytest.raises(ValueError, match="macs of auto must be a share of the multiply-adds below 1, got 1"):
        gossamer.recipes.auto.Auto(macs=1.0)
