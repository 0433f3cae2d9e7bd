# SPDX-License-Identifier: Apache-2.0
"""The staircase finds what brute force finds, in a fraction of the questions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.search.staircase import Grid, brute_force, pruned_alone, staircase


def grid_of(slimming, pruning, border):
    """A grid whose cells keep the promise up to `border[s]`, and where a cell's size is what pruning leaves."""
    return Grid(
        slimming,
        pruning,
        lambda cell: cell[1] <= border[cell[0]],
        lambda cell: (1 - cell[0] / (slimming + 1)) ** 2 * (1 - cell[1] / (pruning + 1)),
    )


@st.composite
def grids(draw):
    slimming, pruning = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    border = sorted(draw(st.lists(st.integers(-1, pruning - 1), min_size=slimming, max_size=slimming)), reverse=True)
    return slimming, pruning, border


@given(grids(), st.booleans())
def test_where_pruning_more_never_helps_it_finds_the_smallest(case, bisect):
    grid, control = grid_of(*case), grid_of(*case)
    found, best = staircase(grid, patience=None, bisect=bisect), brute_force(control)
    assert (found is None) == (best is None)
    if found is not None and best is not None:  # of two that are as small, either
        assert grid.size(found) == pytest.approx(grid.size(best))
    slimming, pruning, _ = case
    first = math.ceil(math.log2(slimming)) + 1 if bisect else slimming + 1
    assert len(grid.asked) <= first + slimming + pruning
    assert len(control.asked) == slimming * pruning


def test_a_grid_of_30_by_30_takes_a_fifteenth():
    border = [round(27 * (1 - (s / 22) ** 2)) if s <= 22 else -1 for s in range(30)]
    grid, control = grid_of(30, 30, border), grid_of(30, 30, border)
    assert staircase(grid) == brute_force(control)
    assert 15 * len(grid.asked) <= len(control.asked)


@given(grids(), st.integers(1, 3))
def test_with_patience_the_promise_is_kept_all_the_same(case, patience):
    grid = grid_of(*case)
    found = staircase(grid, patience=patience)
    if found is None:
        assert case[2][0] < 0
    else:
        assert grid.asked[found]


@given(grids(), st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20))
def test_where_quality_is_noisy_the_cell_that_is_found_was_accepted(case, refused):
    slimming, pruning, border = case
    clean = grid_of(slimming, pruning, border)
    noisy = Grid(slimming, pruning, lambda cell: clean.keeps(cell) and cell not in refused, clean.size)
    found = staircase(noisy, patience=None)
    assert found is None or noisy.asked[found]


def test_every_cell_is_asked_about_once():
    asked = []
    grid = grid_of(6, 6, [5, 4, 4, 2, 1, 0])
    counted = Grid(6, 6, lambda cell: asked.append(cell) or grid.keeps(cell), grid.size)
    staircase(counted)
    assert len(asked) == len(set(asked))


def test_a_grid_without_cells_is_refused():
    with pytest.raises(ValueError, match="expected a grid of at least 1 x 1 cells, got 0 x 3"):
        grid_of(0, 3, [])


@given(grids())
def test_weights_alone_are_pruned_as_far_as_goes_without_slimming(case):
    grid = grid_of(*case)
    assert pruned_alone(grid) == (None if case[2][0] < 0 else (0, case[2][0]))
    assert all(slim == 0 for slim, _ in grid.asked)
    assert len(grid.asked) <= math.ceil(math.log2(grid.pruning)) + 1
