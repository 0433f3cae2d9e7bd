# SPDX-License-Identifier: Apache-2.0
"""Fewer bytes: a ladder of bits per weight, trained on the bits that the file will need.

First the original is rounded without training, by output error and bits, ever more strongly until the selection split
refuses. From the last accepted one training goes on: a rung asks for so many coded bits a weight. Its network is tuned
from the last accepted one under a rate penalty, with the grids learned beside the weights, distilled from the original;
batch norms are re-estimated with the weights that the file will hold, and it is written. Zeros, coarse grids and dead
filters are not asked for: they come out of the bits.

A rung's integers are those of the file that it starts from: its fold factors and its units are the frame of all grids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gossamer import container
from gossamer.coding.costs import coded_bits, costs
from gossamer.graph import Network
from gossamer.plan import LayerPlan, Plan
from gossamer.quantize.folding import fold_factors
from gossamer.quantize.integers import fine_units
from gossamer.recipes.post_training import PostTraining, plan_of
from gossamer.search.candidate import Candidate, coded_layers, finish
from gossamer.search.ladder import climb
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.tuning import Distillation, RatePenalty
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.checkpoint import load_weights

UNTRAINED_COARSENESS = 0.08
ROUNDING = PostTraining(halvings=0)  # doubled until refused, and not settled: training goes on from there
GAINED = 0.7  # of the bits that are kept without training, what the first rung of training asks for at most


@dataclass(frozen=True)
class Demand:
    """A rung: so many coded bits per weight."""

    bits: float

    @property
    def name(self) -> str:
        """As it is printed and as its folder is called."""
        return f"{self.bits:.3g} bits a weight"


LADDER = tuple(Demand(float(f"{3 * 0.84**rung:.2g}")) for rung in range(30))  # 3 down to 0.02: 10x to 1,600x


def between(low: Demand, high: Demand) -> Demand:
    """The demand half-way, in proportion."""
    return Demand(float(f"{np.sqrt(low.bits * high.bits):.3g}"))


def climb_bytes(run: Run) -> list[Candidate]:
    """The untrained fine-grid file first, then rounded ones, then the ladder from the smallest of these on."""
    pace = measure_pace(run)
    seconds = run.seconds_of("first candidate", lambda: fine_grid(run))
    untrained = [fine_grid(run), *ROUNDING.search(run)]
    accepted = [candidate for candidate in untrained if candidate.verdict.accepted]
    start = min(accepted or untrained[:1], key=lambda candidate: candidate.sizes.coded)
    bits = _bits(start)
    rungs = [rung for rung in LADDER if rung.bits < bits] or [LADDER[-1]]
    tuned = climb(
        run,
        rungs,
        lambda number, demand, previous, epochs: [_tuned(run, number, demand, previous or start, epochs)],
        between=between,
        epochs_for=epochs_in_time(run, pace, seconds),
        first=next((place for place, rung in enumerate(rungs) if rung.bits <= GAINED * bits), len(rungs) - 1),
        steps=len(untrained) - 1,
    )
    return [*untrained, *tuned]


def _bits(candidate: Candidate) -> float:
    """Coded bits a weight of a candidate's integers."""
    integers = [tensor.integers for tensor in _grids(candidate).values() if tensor.integers is not None]
    return sum(map(coded_bits, integers)) / sum(values.size for values in integers)


def _grids(candidate: Candidate) -> dict[str, container.Tensor]:
    """The tensors of a candidate's file that lie on grids."""
    tensors = container.read(candidate.file).payload.tensors
    return {tensor.name: tensor for tensor in tensors if tensor.integers is not None}


def fine_grid(run: Run) -> Candidate:
    """Nothing trained, nothing zeroed: grids so fine that hardly an answer changes. There within seconds."""
    folder = run.step_folder(0, "fine-grid")
    if done := Candidate.load(folder):
        return done
    return on_fine_grid(run, folder, "fine grid, untrained", run.network.copy(), Plan())


def on_fine_grid(run: Run, folder: Path, name: str, network: Network, plan: Plan) -> Candidate:
    """The candidate whose weights stay as they are, but for grids so fine that hardly an answer changes."""
    coded = {layer.name for layer in coded_layers(run)}
    layers, values = [layer for layer in network.layers if layer.name in coded], network.module.state_dict()
    folded = {layer: (values[layer] * factor).numpy() for layer, factor in fold_factors(layers, values).items()}
    units = fine_units(folded, UNTRAINED_COARSENESS)
    grids = {
        layer: LayerPlan(sparsity=float((values[layer] == 0).float().mean()), step=float(unit[0]))
        for layer, unit in units.items()
    }
    return finish(run, folder, name, network, plan.with_layers(grids), units)


def _tuned(run: Run, number: int, demand: Demand, previous: Candidate, epochs: int) -> Candidate:
    """One rung: tuned from `previous` to the bits that `demand` asks for."""
    folder = run.step_folder(number, demand.name)
    if done := Candidate.load(folder):
        return done
    network, coded = run.network.copy(), coded_layers(run)
    load_weights(previous.folder / "weights.safetensors", network.module)
    before = fold_factors(coded, network.module.state_dict())
    grids = _grids(previous)
    frame = {name: factor / torch.from_numpy(grids[name].unit_along()) for name, factor in before.items()}
    penalty = RatePenalty(frame, costs, target=demand.bits, start=dict.fromkeys(frame, 1.0))
    plugs = (penalty, Distillation())
    effective = run.tune(network.module, plugs, measure_pace(run).numerics, epochs, folder, demand.name)
    reestimate_batch_norms(network.module, run.calibration_batches(), effective)
    network.module.load_state_dict(effective, strict=False)
    now = fold_factors(coded, network.module.state_dict())
    units = {name: (penalty.unit(name).cpu() / frame[name] * now[name]).abs().numpy() for name in frame}
    layers = {
        name: replace(layer, sparsity=float((effective[name] == 0).float().mean()))
        for name, layer in plan_of(units).layers.items()
    }
    return finish(run, folder, demand.name, network, Plan().with_layers(layers), units)
