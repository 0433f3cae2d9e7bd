# SPDX-License-Identifier: Apache-2.0
"""slim-then-sparsify on a small network: the staircase ends where brute force does, and what was cut stays cut."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

import gossamer
from benchmarks import staircase_table
from gossamer import container
from gossamer.files import read_json
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.recipes import recipe_named
from gossamer.recipes.network_slimming import slimmable
from gossamer.search.settings import Settings
from gossamer.tuning import BatchNormL1

SETTINGS = Settings(epochs=1, batch_size=64, augment=False, numerics="plain float32")
RECIPE = "slim-then-sparsify:slimming=3,pruning=3"


@pytest.fixture(scope="module")
def both(user_task, trained, tmp_path_factory):
    """Finished runs by staircase and by brute force on the same grid."""
    out, task = tmp_path_factory.mktemp("runs"), user_task(trained)

    def run(name: str, recipe: str):
        return gossamer.compress(
            task, Goal(0.04, observed=0.015), recipe, out=out / name, settings=SETTINGS, ledger=out / f"{name}.json"
        )

    return run("staircase", RECIPE), run("brute", f"{RECIPE},brute_force=true")


def cells(result):
    """Candidates by the shares cut of channels and weights."""
    found = {}
    for candidate in result.candidates:
        if candidate.name.endswith("cut"):
            words = candidate.name.split(" ")
            found[float(words[0]), float(words[4])] = candidate
    return found


def test_the_staircase_finds_what_brute_force_finds_with_fewer_cells(both):
    quick, control = map(cells, both)
    assert len(control) == 9
    assert len(quick) < len(control)
    best = {
        name: min((c for c in found.values() if c.verdict.accepted), key=lambda c: c.nonzeros)
        for name, found in (("staircase", quick), ("brute force", control))
    }
    assert best["staircase"].nonzeros <= 1.35 * best["brute force"].nonzeros, "at most a step of the grid larger"
    assert best["staircase"].nonzeros < 0.6 * both[0].candidates[0].parameters


def test_brute_force_says_what_the_staircase_would_have_found(both):
    """On the same grid with the same images, trained alike: what the staircase by itself asked about and found."""
    quick, control = both
    grids = [read_json(result.folder / "grid.json") for result in both]
    (alone,), (walk,) = (grid["walks"] for grid in grids)
    assert len(grids[1]["cells"]) == 9
    assert len(grids[0]["cells"]) == len(alone["asked"]) == len(cells(quick))
    assert (walk["asked"], walk["found"]) == (alone["asked"], alone["found"])
    said = [[note for note in result.report.notes if note.startswith("the staircase: ")] for result in both]
    assert [len(notes) for notes in said] == [1, 1]
    assert said[0][0].partition(";")[0] == said[1][0].partition(";")[0]
    assert f"it asks about {len(walk['asked'])} of 9 cells" in said[1][0]
    assert "in 100.0 % of the time" in said[0][0]
    assert any(note.startswith("brute force: ") for note in control.report.notes)
    table = staircase_table.section("x", "Small", staircase_table.Asked.of(control.folder / "grid.json"))
    assert f"| {len(walk['asked'])} |" in table
    assert "| 9 | 100.0 % |" in table


def test_each_drop_is_walked_over_the_same_cells(both, user_task, trained, tmp_path):
    """Brute force knows all cells: within each drop the walk stays within it, and a larger drop never finds less."""
    task = user_task(trained)
    recipe = f"{RECIPE},drops=0.5/3"
    run = gossamer.compress(
        task, Goal(0.04, observed=0.015), recipe, out=tmp_path / "run", settings=SETTINGS, ledger=tmp_path / "l.json"
    )
    asked = staircase_table.Asked.of(run.folder / "grid.json")
    every = staircase_table.Asked.of(both[1].folder / "grid.json")
    assert [walk.drop for walk in asked.walks] == [None, 0.005, 0.03]
    for cell, entry in asked.cells.items():
        assert {**entry, "seconds": 0} == {**every.cells[cell], "seconds": 0}, "made alike, whichever walk asks first"
    for walk in asked.walks[1:]:
        assert walk.found is not None
        assert asked.cells[walk.found]["drop"] <= walk.drop
    found = [asked.cells[walk.found]["left"] for walk in asked.walks[1:]]
    assert found == sorted(found, reverse=True)
    assert set(asked.cells) == {cell for walk in asked.walks for cell in walk.asked} | {(0, 1), (0, 2)} & set(
        asked.cells
    )
    assert asked.smallest(((0, d) for d in range(3) if (0, d) in asked.cells), 0.03) == every.smallest(
        ((0, d) for d in range(3)), 0.03
    ), "weights alone"
    table = staircase_table.walked("x", "Small", asked)
    assert re.search(r"\| at most 3 \| \d+ % \| \d+ % \| [\d,]+ \| [\d.]+x \|", table)
    assert f"| {len(asked.walks[1].asked)} |" in table


def test_a_cell_holds_what_its_name_says(both):
    for (channels, weights), candidate in cells(both[1]).items():
        stored = {tensor.name: tensor for tensor in container.read(candidate.file).payload.tensors}
        grids = [tensor.integers for tensor in stored.values() if tensor.integers is not None]
        zeros = 1 - sum(map(np.count_nonzero, grids)) / sum(integers.size for integers in grids)
        assert zeros >= weights / 100 - 0.01
        if channels:
            kept = np.concatenate(list(candidate.plan.keep().values()))
            assert kept.mean() <= 1 - channels / 100 + 0.1
        else:
            assert not candidate.plan.channels


def test_the_penalty_moves_scales_towards_zero_and_nothing_else():
    scale, other = nn.Parameter(torch.tensor([0.5, -2.0, 0.0])), nn.Parameter(torch.ones(3))
    for parameter in (scale, other):
        parameter.grad = torch.zeros(3)
    BatchNormL1(["scale"], 0.1).after_backward({"scale": scale, "other": other})
    assert scale.grad.tolist() == pytest.approx([0.1, -0.1, 0.0])
    assert not other.grad.any()
    with pytest.raises(ValueError, match="strength must be positive, got 0"):
        BatchNormL1([], 0)


def test_networks_without_batch_norms_are_refused():
    network = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="expected batch norms behind layers whose channels can be cut"):
        slimmable(network)


@pytest.mark.parametrize("drops", ["1/x", "-1", "0//1"])
def test_drops_are_points(drops):
    with pytest.raises(ValueError, match="drops of slim-then-sparsify must be points"):
        recipe_named(f"slim-then-sparsify:drops={drops}")


@pytest.mark.parametrize("options", ["slimming=0", "pruning=0", "patience=0"])
def test_options_without_meaning_are_refused(options):
    with pytest.raises(ValueError, match=r"of slim-then-sparsify must be at least 1, got 0"):
        recipe_named(f"slim-then-sparsify:{options}")
