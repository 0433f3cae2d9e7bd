# SPDX-License-Identifier: Apache-2.0
"""Staircase: of a grid of two prunings, the smallest network that still keeps the promise, along the border.

Cell (s, d): channels slimmed by s steps, then weights pruned by d steps. Whoever prunes more loses more, so the cells
that keep the promise lie below a border d*(s) that falls in s; whoever prunes more is smaller: the best is on it.

    1   the largest s that keeps the promise at d = 0, by bisection, or step by step as in the paper
    2   from there, while (s, d + 1) keeps it: d + 1; else s - 1, with the same d: d*(s - 1) >= d*(s), so what was
        pruned at s can be pruned at s - 1
    3   end at s = 0, or when the best size has not changed for `patience` values of s

Each cell of the border is asked about once: at most log2(S) + S + D cells of S x D, where brute force asks about all.

Paper: M. Tian, S. Yamagiwa, K. Wada, "Heuristic Method for Minimizing Model Size of CNN by Combining Multiple Pruning
Techniques", Sensors 22(15), 2022, 5874.
Differs from the paper:
1. Reconstructed from abstract and headings; the pseudo-code was not available.
2. Step 1 bisects, where the promise is taken to be kept by all smaller s; `bisect` False goes step by step.
3. Channels go before weights, never the other way round, and there is no finer grid around the best cell at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Cell = tuple[int, int]  #: steps of slimming, steps of weight pruning


@dataclass
class Grid:
    """S x D cells; `keeps` is asked about each cell once, `size` as often as one likes: it costs nothing."""

    slimming: int
    pruning: int
    keeps: Callable[[Cell], bool]
    size: Callable[[Cell], float]
    asked: dict[Cell, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.slimming, self.pruning) < 1:
            raise ValueError(f"expected a grid of at least 1 x 1 cells, got {self.slimming} x {self.pruning}")

    def promise(self, cell: Cell) -> bool:
        """Whether a cell keeps the promise; outside the grid none does."""
        if not (0 <= cell[0] < self.slimming and 0 <= cell[1] < self.pruning):
            return False
        if cell not in self.asked:
            self.asked[cell] = self.keeps(cell)
        return self.asked[cell]


def staircase(grid: Grid, *, patience: int | None = 2, bisect: bool = True) -> Cell | None:
    """The smallest cell found that keeps the promise; None if not even (0, 0) does.

    `patience` None walks the whole border: on a grid where pruning more never helps, that is the smallest of all.
    """
    first = _most_slimmed(grid, bisect)
    if first is None:
        return None
    slim, pruned = first, 0
    best, waited = (slim, 0), 0
    while slim >= 0:
        before = best
        while grid.promise((slim, pruned + 1)):
            pruned += 1
        # (slim, pruned) keeps the promise at the first s; further down because it did at s + 1
        if grid.size((slim, pruned)) < grid.size(best) and grid.promise((slim, pruned)):
            best = (slim, pruned)
        waited = 0 if best != before or slim == first else waited + 1
        if patience is not None and waited >= patience:
            break
        slim -= 1
    return best


def brute_force(grid: Grid) -> Cell | None:
    """The smallest of all cells that keep the promise, every one asked about; the control."""
    every = [(slim, pruned) for slim in range(grid.slimming) for pruned in range(grid.pruning)]
    return min(filter(grid.promise, every), key=grid.size, default=None)


def pruned_alone(grid: Grid) -> Cell | None:
    """The most pruned cell without slimming that keeps the promise, by bisection; the stairs begin at the other end."""
    pruned = _furthest(grid.pruning, lambda d: grid.promise((0, d)))
    return None if pruned is None else (0, pruned)


def _most_slimmed(grid: Grid, bisect: bool) -> int | None:
    """The largest s whose network keeps the promise before any weight is pruned."""
    if bisect:
        return _furthest(grid.slimming, lambda s: grid.promise((s, 0)))
    slim = 0
    while grid.promise((slim, 0)):
        slim += 1
    return slim - 1 if slim else None


def _furthest(steps: int, keeps: Callable[[int], bool]) -> int | None:
    """The last of so many steps that keeps the promise, where those before it do too; None if not even the first."""
    if not keeps(0):
        return None
    kept, refused = 0, steps
    while refused - kept > 1:
        middle = (kept + refused) // 2
        kept, refused = (middle, refused) if keeps(middle) else (kept, middle)
    return kept
