# SPDX-License-Identifier: Apache-2.0
"""Fewer bytes: a ladder of bits per weight, trained on the bits that the file will need.

First the original is rounded without training, by output error and bits, ever more strongly until the selection split
refuses. From the last accepted one training goes on: a rung asks for so many coded bits a weight. Its network is tuned
from the last accepted one, or from one that was refused for little (`search/ladder.py`), under a rate penalty, with the
grids learned beside the weights, distilled from the original; batch norms are re-estimated with the weights that the
file will hold, and it is written. Zeros, coarse grids and dead filters are not asked for: they come out of the bits.

Channels cost training time, though, so those that hardly an answer depends on are cut before the first rung, as far as
half of the drop allows without training; and those that a rung has left idle, before the next. Where a network is much
wider than its task asks, more are cut and trained first (`macs`): zeros that are whole channels need no bits to say
where they are.

A rung's integers are those of the file that it starts from: its fold factors and its units are the frame of all grids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gossamer import container
from gossamer.coding.costs import coded_bits, costs
from gossamer.graph import Network
from gossamer.measure.quality import qualities
from gossamer.plan import Plan
from gossamer.quantize.folding import fold_factors
from gossamer.recipes.fine_grids import fine_grid, on_fine_grid, units_now
from gossamer.recipes.post_training import FIRST, PostTraining, Rounding, plan_of
from gossamer.recipes.same_speed import in_fewer_bits
from gossamer.runtime.export import export_onnx
from gossamer.search.candidate import Candidate, coded_layers, finish, reopened
from gossamer.search.idle import cut_beside, in_original, keep_busy
from gossamer.search.judge import observed_drop
from gossamer.search.ladder import AGAIN, climb, nearly
from gossamer.search.pace import Epochs, epochs_in_time, measure_pace
from gossamer.search.proposals import cut_and_trained
from gossamer.search.run import Run
from gossamer.search.widths import Keep, Widths, narrowed
from gossamer.tuning import Distillation, RatePenalty
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.plug import inputs_first

ROUNDING = PostTraining(halvings=0)  # doubled until refused, and not settled: training goes on from there
THINNER = tuple(0.8 * 0.85**rung for rung in range(12))  # shares of the multiply-adds; cutting less gains no time
BLOCK = 8  # channels that runtimes compute side by side: with 59 instead of 64 a network of fewer bytes can be slower
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
    if macs:
        thin = slimmed(run, len(rounded), macs, epochs_for)
    else:
        thin = thinned(run, len(rounded), max(strengths)) if strengths else []
    start = rounded[max(strengths)] if strengths else fine_grid(run)
    if thin and (thin[0].verdict.accepted or nearly(run.goal, thin[:1])):
        coarse = thin[1:] or thin
        start = ([one for one in coarse if one.verdict.accepted] or coarse[:1])[-1]  # training mends what rounding cost
    elif thin:
        run.note(f"'{thin[0].name}' loses too much to go on from: {thin[0].verdict.note}")
    untrained = [fine_grid(run), *rounded.values(), *thin]
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
        epochs_for=lambda number, name, times=1: epochs_for(number + bool(macs), name, times),
        first=next((place for place, rung in enumerate(rungs) if rung.bits <= wanted), len(rungs) - 1),
        steps=len(untrained) - 1,
    )
    return [*untrained, *tuned]


def thinned(run: Run, number: int, strength: float) -> list[Candidate]:
    """The network without the channels that can go untrained, rounded; none where too few can to save time."""

    def compute() -> dict[str, int]:
        # on one batch: what it proposes is judged on the selection split
        widths = Widths.of(run, int8=False, batches=1, multiple=BLOCK)
        most = run.goal.wanted / 2
        found: dict[str, int] = {}
        for share in THINNER:
            counts = widths.within(share, {})
            if counts is None:
                break
            network = narrowed(run, run.network, counts)[1]
            model = export_onnx(network.module, network.example)
            quality = qualities(run.task, run.task.selection, model, run.goal.runtime)
            if observed_drop(run.original_quality(), quality) > most:
                break
            found = counts
        return found

    counts = run.stage("channels that can go untrained", compute)
    if not counts:
        return []
    name = f"strength {strength:.3g}, {100 * run.network.macs_if(counts) / run.network.macs:.0f} % of the MACs"
    folder = run.step_folder(number, name)
    if done := Candidate.load(folder):
        return [done]
    keep, network = narrowed(run, run.network, counts)
    return [_rounded(run, folder, name, network, keep, strength)]


def _rounded(run: Run, folder: Path, name: str, network: Network, keep: Keep, strength: float) -> Candidate:
    """A network that has the channels `keep` of the original, rounded by output error and bits."""
    rounded, units = Rounding.of(run, network, ROUNDING.images).at(strength)
    return finish(run, folder, name, rounded, plan_of(units).with_channels(keep), units)


def slimmed(run: Run, number: int, share: float, epochs_for: Epochs) -> list[Candidate]:
    """The network cut to this share of its multiply-adds, trained and then rounded, as a training for bits wants it.

    That needs coarse grids to start from: the steps of fine ones cannot grow so far. Of a network that loses nothing
    that may not be lost, they are as coarse as the selection split allows. None where the cut cannot be.
    """
    name = f"{100 * share:.3g} % of the MACs"
    fine = _slimmed(run, number, share, name, epochs_for)
    if fine is None:
        return []
    if fine.verdict.accepted:
        return [fine, *in_fewer_bits(run, [fine])]
    coarse = f"{name}, strength {FIRST:.3g}"
    folder = run.step_folder(number + 1, coarse)
    found = Candidate.load(folder) or _rounded(run, folder, coarse, reopened(run, fine), fine.plan.keep(), FIRST)
    return [fine, found]


def _slimmed(run: Run, number: int, share: float, name: str, epochs_for: Epochs) -> Candidate | None:
    folder = run.step_folder(number, name)
    if done := Candidate.load(folder):
        return done
    epochs = epochs_for(1, name)
    if not epochs:
        return None
    trained = cut_and_trained(
        run, Widths.of(run, int8=False, multiple=BLOCK), share, run.network, {}, folder, name, epochs
    )
    if trained is None:
        return None
    keep, network = trained
    candidate = on_fine_grid(run, folder, name, network, Plan().with_channels(keep))
    run.forget_training(folder)
    return candidate


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
