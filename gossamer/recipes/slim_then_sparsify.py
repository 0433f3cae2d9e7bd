# SPDX-License-Identifier: Apache-2.0
"""slim-then-sparsify: channels first, then weights, as much of each as makes the smallest network within the tolerance.

Paper: M. Tian, S. Yamagiwa, K. Wada, "Heuristic Method for Minimizing Model Size of CNN by Combining Multiple Pruning
Techniques", Sensors 22(15), 2022, 5874.

    train    once, under a penalty on the scales of batch norms (network slimming)
    slim     s steps: the channels of the smallest scales go, one threshold over all groups; tuned; kept on disk
    sparsify d steps: from a slimmed network, the smallest weights go, one threshold over all layers; tuned with zeros
    search   the staircase over the cells (s, d) (`gossamer.search.staircase`); size is what is left of the weights

Cost: a training of `--epochs` under the penalty and one for each cell that is asked about.

Differs from the paper:
1. Reconstructed from abstract and headings; its pseudo-code and its tables were not available. How the staircase may
   differ is listed in its file; the penalty is on the scales of channels that can be cut, not on all.
2. Tuning has the original as teacher. What is accepted is decided on the selection split, as everywhere here.
3. Only channels that no sum ties to other layers are cut, as network slimming cuts ResNets.
4. The file stores what is left on a fine grid, entropy-coded; the paper counts weights.
5. In DenseNets a channel goes where it is made, out of every later layer, and is scored by the scales of all batch
   norms that read it. Network slimming has a channel selection before each of them, which hides it from that one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer.files import write_json
from gossamer.filters import BatchNormScale
from gossamer.graph import Group, Network
from gossamer.plan import Plan
from gossamer.rates import Global
from gossamer.recipes.fine_grids import fine_grid, on_fine_grid
from gossamer.recipes.network_slimming import FLOOR, slimmable
from gossamer.search.candidate import Candidate
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.search.staircase import Cell, Grid, brute_force, pruned_alone, staircase
from gossamer.search.widths import matrices_of
from gossamer.tuning import BatchNormL1, Distillation, FixedZeros
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.checkpoint import load_weights, save_weights
from gossamer.weights import Magnitude

PENALISED = "the training under the penalty"
ROUNDING = 1e-9  # of fractions of whole answers


@dataclass(frozen=True)
class Walk:
    """A staircase: the drop that it allows, or None for the goal's own; its cells, and what it found.

    `weights_alone`: the most pruned cell without slimming within the drop, which is asked about for comparison.
    """

    drop: float | None
    asked: tuple[Cell, ...]
    found: Cell | None
    weights_alone: Cell | None


@dataclass(frozen=True)
class SlimThenSparsify:
    """`slimming` x `pruning` cells: s steps leave 1 - s / slimming of the channels, d steps 1 - d / pruning of weights.

    `drops`, such as 0/0.5/1/2: the staircase is walked once more for each, a cell being kept where it loses no more
    than so many points on the selection split, and weights alone are pruned too; cells are made once for all walks.
    What is delivered is decided by the goal. `brute_force` asks about every cell. grid.json has all cells and walks.
    """

    slimming: int = 10
    pruning: int = 10
    penalty: float = 1e-4
    patience: int = 2
    brute_force: bool = False
    drops: str = ""

    def __post_init__(self) -> None:
        for name in ("slimming", "pruning", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of slim-then-sparsify must be at least 1, got {getattr(self, name)}")
        if min(self._drops, default=0.0) < 0:
            raise ValueError(f"drops of slim-then-sparsify must be points from 0 on, got '{self.drops}'")

    @property
    def _drops(self) -> list[float]:
        """As fractions."""
        try:
            return [float(points) / 100 for points in self.drops.split("/")] if self.drops else []
        except ValueError as error:
            raise ValueError(
                f"drops of slim-then-sparsify must be points such as 0/0.5/1/2, got '{self.drops}'"
            ) from error

    @property
    def spreads(self) -> bool:
        """The cells of brute force do not wait for each other; the staircase decides by one where it goes next."""
        return self.brute_force

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, the original on a fine grid first."""
        run.goal.must_be_bytes("slim-then-sparsify")
        groups = slimmable(run.network)
        pace = measure_pace(run)
        seconds = run.seconds_of("first candidate", lambda: fine_grid(run))
        tried: dict[Cell, Candidate] = {}
        epochs_for = epochs_in_time(run, pace, seconds)
        slimmed: dict[int, tuple[int, int]] = {}  # weights and all parameters of each slimmed network

        def candidate(cell: Cell) -> Candidate:
            if cell not in tried:
                if run.workers:  # which were told how long before
                    epochs = pace.epochs if run.has_time_for(0) else 0
                else:
                    epochs = epochs_for(len(tried) + 2, self._name(cell))  # the training under the penalty is the first
                if epochs == 0:
                    raise _OutOfTime
                run.seconds_of(PENALISED, lambda: self._trained(run, groups))
                if cell[1] and (cell[0], 0) not in tried:
                    candidate((cell[0], 0))
                taken = run.workers is not None and run.workers.take(run, (*cell, epochs), self._name(cell))
                tried[cell] = self.trial(run, (*cell, epochs))
                if taken:
                    run.watch.candidate(tried[cell].name, asdict(tried[cell]))
            return tried[cell]

        def left(cell: Cell) -> float:
            """Weights and biases that a cell leaves, known before it is tuned."""
            slim, pruned = cell
            if slim not in slimmed:
                trained = self._trained(run, groups)
                network = trained.cut(self._channels(trained, groups, 1 - slim / self.slimming))
                slimmed[slim] = sum(math.prod(layer.shape) for layer in network.layers), network.parameters
            weights, parameters = slimmed[slim]
            return parameters - pruned / self.pruning * weights

        if run.workers:
            self._begin(run, groups, pace.epochs)
        walks: list[Walk] = []
        try:
            if self.brute_force:
                brute_force(Grid(self.slimming, self.pruning, lambda cell: candidate(cell).verdict.accepted, left))
            for drop in (None, *self._drops):
                walks.append(self._walk(candidate, left, drop))
        except _OutOfTime:
            run.note(f"the search ended for want of time after {len(tried)} of {self.slimming * self.pruning} cells")
        self._tell(run, tried, walks, left)
        return [fine_grid(run), *tried.values()]

    def _walk(self, candidate: Callable[[Cell], Candidate], left: Callable[[Cell], float], drop: float | None) -> Walk:
        """The staircase where a cell is kept that loses at most `drop`, or, without one, that the goal accepts."""

        def keeps(cell: Cell) -> bool:
            verdict = candidate(cell).verdict
            return verdict.accepted if drop is None else verdict.drop <= drop + ROUNDING

        grid = Grid(self.slimming, self.pruning, keeps, left)
        found = staircase(grid, patience=self.patience)
        asked = dict.fromkeys([*grid.asked, *((slim, 0) for slim, _ in grid.asked)])  # made of slimmed networks
        alone = pruned_alone(grid) if drop is not None or self.brute_force else None
        return Walk(drop, tuple(asked), found, alone)

    def _begin(self, run: Run, groups: list[Group], epochs: int) -> None:
        """Let workers make the cells that are not finished; those that are sparse start from the slimmed ones."""
        assert run.workers is not None
        run.seconds_of(PENALISED, lambda: self._trained(run, groups))
        cells = [(slim, pruned) for slim in range(self.slimming) for pruned in range(self.pruning)]
        waiting = [cell for cell in cells if Candidate.load(self._folder(run, cell)) is None]
        made = [self._folder(run, (slim, 0)) for slim in range(self.slimming) if (slim, 0) not in waiting]
        trials: dict[tuple[int, ...], list[tuple[int, ...]]] = {
            (slim, pruned, epochs): [(slim, 0, epochs)] if pruned and (slim, 0) in waiting else []
            for slim, pruned in waiting
        }
        needed = [str(folder.relative_to(run.folder)) for folder in made]
        run.workers.begin(run, self, trials, ("stages", "penalised", "original.onnx", *needed))

    def _folder(self, run: Run, cell: Cell) -> Path:
        return run.step_folder(1 + cell[0] * self.pruning + cell[1], self._name(cell))

    def trial(self, run: Run, key: tuple[int, ...]) -> Candidate:
        """A cell: its steps of slimming and of pruning, and epochs; remembered is how long it took."""
        *cell, epochs = key
        slim, pruned = cell
        groups = slimmable(run.network)
        run.seconds_of(self._name((slim, pruned)), lambda: self._cell(run, groups, (slim, pruned), epochs))
        return self._cell(run, groups, (slim, pruned), epochs)

    def _tell(
        self, run: Run, tried: Mapping[Cell, Candidate], walks: Sequence[Walk], left: Callable[[Cell], float]
    ) -> None:
        """Note what was found, and write down all cells and walks."""
        stages = run.stages()
        seconds = {cell: float(stages[f"seconds of {self._name(cell)}"]["value"]) for cell in tried}
        kept = [cell for cell, one in tried.items() if one.verdict.accepted]
        if self.brute_force and len(tried) == self.slimming * self.pruning:
            ways = {
                "brute force": kept,
                "slimming alone": [cell for cell in kept if cell[1] == 0],
                "pruning of weights alone": [cell for cell in kept if cell[0] == 0],
            }
            for way, among in ways.items():
                if among:
                    best = min(among, key=left)
                    run.note(f"{way}: {self._name(best)}, {left(best):,.0f} weights and biases left")
        for walk in walks:
            share = 100 * sum(seconds[cell] for cell in walk.asked) / sum(seconds.values())
            within = "" if walk.drop is None else f" within {100 * walk.drop:g} points"
            found = "nothing" if walk.found is None else self._name(walk.found)
            size = "" if walk.found is None else f", {left(walk.found):,.0f} weights and biases left"
            run.note(
                f"the staircase{within}: {found}{size}; it asks about {len(walk.asked)} of "
                f"{self.slimming * self.pruning} cells, in {share:.1f} % of the time of the {len(tried)} that were made"
            )
        cells = [
            {
                "cell": cell,
                "accepted": one.verdict.accepted,
                "left": left(cell),
                "nonzeros": one.nonzeros,
                "bytes": one.sizes.coded,
                "quality": one.quality,
                "drop": one.verdict.drop,
                "seconds": seconds[cell],
            }
            for cell, one in tried.items()
        ]
        network = {"parameters": run.network.parameters, "quality": float(run.original_quality().mean())}
        grid = {**asdict(self), **network, "penalised_seconds": stages.get(f"seconds of {PENALISED}", {}).get("value")}
        write_json(run.folder / "grid.json", {**grid, "cells": cells, "walks": [asdict(walk) for walk in walks]})

    def _name(self, cell: Cell) -> str:
        return f"{100 * cell[0] / self.slimming:.3g} % of channels, {100 * cell[1] / self.pruning:.3g} % of weights cut"

    def _cell(self, run: Run, groups: list[Group], cell: Cell, epochs: int) -> Candidate:
        """A slimmed network, or a sparse one made from it."""
        name = self._name(cell)
        folder = self._folder(run, cell)
        if done := Candidate.load(folder):
            run.forget_training(folder)
            return done
        trained = self._trained(run, groups)
        keep = self._channels(trained, groups, 1 - cell[0] / self.slimming)
        network = trained.cut(keep) if cell[0] else trained
        plan = Plan().with_channels(keep if cell[0] else {})
        zeros: dict[str, torch.Tensor] = {}
        if cell[1]:
            load_weights(self._folder(run, (cell[0], 0)) / "weights.safetensors", network.module)
            values = network.module.state_dict()
            weights = {layer.name: values[layer.name].numpy() for layer in network.layers}
            kept = Magnitude("global").keep(weights, cell[1] / self.pruning)
            zeros = {layer: torch.from_numpy(row) for layer, row in kept.items()}
        reestimate_batch_norms(network.module, run.calibration_batches())
        plugs = (FixedZeros(zeros), Distillation())
        effective = run.tune(network.module, plugs, measure_pace(run).numerics, epochs, folder, name)
        reestimate_batch_norms(network.module, run.calibration_batches(), effective)
        network.module.load_state_dict(effective, strict=False)
        candidate = on_fine_grid(run, folder, name, network, plan)
        run.forget_training(folder)
        return candidate

    def _trained(self, run: Run, groups: list[Group]) -> Network:
        """The original after training under the penalty, done once."""
        network, folder = run.network.copy(), run.folder / "penalised"
        done = folder / "weights.safetensors"
        if not done.exists():
            scales = [member.tensor for group in groups for member in group.members if member.role == "scale"]
            plugs = (BatchNormL1(scales, self.penalty),)
            pace = measure_pace(run)
            run.tune(network.module, plugs, pace.numerics, pace.epochs, folder, "under the penalty")
            save_weights(done, network.module)
            run.forget_training(folder)
        load_weights(done, network.module)
        return network

    def _channels(self, trained: Network, groups: list[Group], share: float) -> dict[str, NDArray[np.bool_]]:
        """What stays of each group when `share` of all channels stay."""
        tensors = trained.module.state_dict()
        scores = {group.name: BatchNormScale().score(matrices_of(group, tensors)) for group in groups}
        counts = Global(floor=FLOOR).counts(scores, share)
        return {group.name: group.best(scores[group.name], group.whole(counts[group.name])) for group in groups}


class _OutOfTime(Exception):
    """The next cell does not fit into the hours."""
