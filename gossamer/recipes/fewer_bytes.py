# SPDX-License-Identifier: Apache-2.0
"""Fewer bytes: a ladder of bits per weight, trained on the bits that the file will need.

First the original is rounded without training, by output error and bits, ever more strongly until the selection split
refuses. From the last accepted one training goes on: a rung asks for so many coded bits a weight. Its network is tuned
from the last accepted one, or from one that was refused for little (`search/ladder.py`), under a rate penalty, with the
grids learned beside the weights, distilled from the original; batch norms are re-estimated with the weights that the
file will hold, and it is written. Zeros, coarse grids and dead filters are not asked for: they come out of the bits.

Channels cost training time, though, so those that the network can spare are cut before the first rung
(`slimmed_first`), and those that a rung has left idle, before the next.

A rung's integers are those of the file that it starts from: its fold factors and its units are the frame of all grids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from gossamer import container
from gossamer.coding.costs import coded_bits, costs
from gossamer.graph import Network
from gossamer.plan import Plan
from gossamer.quantize.folding import fold_factors
from gossamer.recipes.fine_grids import fine_grid, units_now
from gossamer.recipes.post_training import PostTraining, plan_of
from gossamer.recipes.slimmed_first import BLOCK, Slim, as_slim_as_it_holds, slimmed
from gossamer.search.candidate import Candidate, coded_layers, finish, reopened
from gossamer.search.idle import cut_beside, in_original, keep_busy
from gossamer.search.ladder import AGAIN, climb
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.tuning import Distillation, RatePenalty
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.plug import inputs_first

ROUNDING = PostTraining(halvings=0)  # doubled until refused, and not settled: training goes on from there
GAINED = 0.7  # of the bits that are kept without training, what the first rung of training asks for at most


@dataclass(frozen=True)
class Demand:
    """A rung: so many coded bits per weight of the original."""

    bits: float
    again: int = 0

    @property
    def name(self) -> str:
        """As it is printed and as its folder is called."""
        return f"{self.bits:.3g} bits a weight{AGAIN * self.again}"

    def once_more(self) -> Demand:
        """The same under another name."""
        return replace(self, again=self.again + 1)


LADDER = tuple(Demand(float(f"{3 * 0.84**rung:.2g}")) for rung in range(30))  # 3 down to 0.02: 10x to 1,600x


def between(low: Demand, high: Demand) -> Demand:
    """The demand half-way, in proportion."""
    return Demand(float(f"{np.sqrt(low.bits * high.bits):.3g}"))


def climb_bytes(run: Run, first_bits: float = 0.0, macs: float = 0.0) -> list[Candidate]:
    """The untrained fine-grid file first, then rounded ones, then the ladder from the smallest of these on.

    `first_bits` a weight is what the first rung of training asks for, where it is given. `macs`: the share of the
    multiply-adds that a training leaves before that.
    """
    pace = measure_pace(run)
    seconds = run.seconds_of("first candidate", lambda: fine_grid(run))
    rounded = ROUNDING.by_strength(run)
    strengths = [strength for strength, candidate in rounded.items() if candidate.verdict.accepted]
    epochs_for = epochs_in_time(run, pace, seconds)
    slim = Slim()
    if macs:
        slim = slimmed(run, len(rounded), macs, epochs_for)
    elif strengths:
        slim = as_slim_as_it_holds(run, len(rounded), rounded[max(strengths)], max(strengths), epochs_for)
    start = slim.start or (rounded[max(strengths)] if strengths else fine_grid(run))
    before = [fine_grid(run), *rounded.values(), *slim.tried]
    bits = bits_of(run, start)
    wanted = first_bits or GAINED * bits
    every = {*LADDER, *({Demand(first_bits)} if first_bits else ())}
    rungs = sorted((rung for rung in every if rung.bits < bits), key=lambda rung: -rung.bits) or [LADDER[-1]]
    tuned = climb(
        run,
        rungs,
        lambda number, demand, previous, epochs: [tuned_to(run, number, demand, previous or start, epochs)],
        between=between,
        once_more=Demand.once_more,
        gives_back=True,
        epochs_for=lambda number, name, times=1: epochs_for(number + slim.trainings, name, times),
        first=next((place for place, rung in enumerate(rungs) if rung.bits <= wanted), len(rungs) - 1),
        steps=len(before) - 1,
    )
    return [*before, *tuned]


def bits_of(run: Run, candidate: Candidate) -> float:
    """Coded bits of a candidate's integers, a weight of the original."""
    integers = [tensor.integers for tensor in _grids(candidate).values() if tensor.integers is not None]
    return sum(map(coded_bits, integers)) / weights_of(run, run.network)


def weights_of(run: Run, network: Network) -> int:
    """Numbers in the weights of the layers that are coded."""
    return sum(math.prod(layer.shape) for layer in coded_layers(run, network))


def _grids(candidate: Candidate) -> dict[str, container.Tensor]:
    """The tensors of a candidate's file that lie on grids."""
    tensors = container.read(candidate.file).payload.tensors
    return {tensor.name: tensor for tensor in tensors if tensor.integers is not None}


def tuned_to(run: Run, number: int, demand: Demand, previous: Candidate, epochs: int) -> Candidate:
    """One rung: tuned from `previous` to the bits that `demand` asks for."""
    folder = run.step_folder(number, demand.name)
    if done := Candidate.load(folder):
        return done
    network, kept, grids = reopened(run, previous), previous.plan.keep(), _grids(previous)
    before = fold_factors(coded_layers(run, network), network.module.state_dict())
    frame = {name: factor / torch.from_numpy(grids[name].unit_along()) for name, factor in before.items()}
    gentler = not previous.verdict.accepted and not demand.again  # what a refused one left idle may be of use again
    if not gentler and (idle := keep_busy(network, BLOCK)):
        kept = in_original(run.network, network, kept, idle)
        network, frame = cut_beside(network, idle, frame)
        reestimate_batch_norms(network.module, run.calibration_batches())
    target = demand.bits * weights_of(run, run.network) / weights_of(run, network)
    start, sides = dict.fromkeys(frame, 1.0), inputs_first(coded_layers(run, network))
    penalty = RatePenalty(frame, costs, target=target, start=start, inputs_first=sides)
    plugs = (penalty, Distillation())
    effective = run.tune(network.module, plugs, measure_pace(run).numerics, epochs, folder, demand.name)
    reestimate_batch_norms(network.module, run.calibration_batches(), effective)
    network.module.load_state_dict(effective, strict=False)
    steps = {name: penalty.unit(name).cpu() / factor for name, factor in frame.items()}
    units = units_now(coded_layers(run, network), network, steps)
    layers = {
        name: replace(layer, sparsity=float((effective[name] == 0).float().mean()))
        for name, layer in plan_of(units).layers.items()
    }
    return finish(run, folder, demand.name, network, Plan().with_channels(kept).with_layers(layers), units)
