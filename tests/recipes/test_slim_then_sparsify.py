# SPDX-License-Identifier: Apache-2.0
"""slim-then-sparsify on a small network: the staircase ends where brute force does, and what was cut stays cut."""

from __future__ import annotations

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
from gossamer.search.run import Settings
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
    grid = read_json(control.folder / "grid.json")
    assert len(grid["cells"]) == 9
    assert len(grid["asked"]) == len(cells(quick))
    (chosen,) = [note for note in quick.report.notes if "cells asked about" in note]
    (found,) = [note for note in control.report.notes if note.startswith("the staircase: ")]
    assert found.removeprefix("the staircase: ").startswith(chosen.partition(":")[0])
    assert any(
        note.startswith(f"the staircase asks about {len(grid['asked'])} of 9 cells") for note in control.report.notes
    )
    table = staircase_table.section("x", "Small", staircase_table.Asked.of(control.folder / "grid.json"))
    assert f"| {len(grid['asked'])} |" in table
    assert "| 9 | 100.0 % |" in table


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


@pytest.mark.parametrize("options", ["slimming=0", "pruning=0", "patience=0"])
def test_options_without_meaning_are_refused(options):
    with pytest.raises(ValueError, match=r"of slim-then-sparsify must be at least 1, got 0"):
        recipe_named(f"slim-then-sparsify:{options}")
