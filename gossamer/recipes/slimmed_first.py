# SPDX-License-Identifier: Apache-2.0
"""Channels that go before bits are asked for: every training after that is faster, and zeros that are whole channels
need no bits to say where they are.

    told how far (`macs`)      cut to that share of the multiply-adds, trained for a rung's epochs, rounded
    not told                   1. a light cut, untrained: where it loses much, no channels are to spare
                               2. cut to a half, a third, ... of the multiply-adds, each from the one before and trained
                                  for a little, as long as that takes no more than `SPENT` of what may be lost; to 70 %
                                  where half is too few; rounded
                               3. none held: what can go without any training, rounded

Training for bits needs coarse grids to start from: the steps of fine ones cannot grow so far. So it is rounded then,
as coarsely as the selection split allows, or as a start at least.

Cost: a third of a rung's training for each share that is tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.graph import Network
from gossamer.measure.quality import qualities
from gossamer.plan import Plan
from gossamer.recipes.fine_grids import on_fine_grid
from gossamer.recipes.post_training import FIRST, Rounding, plan_of
from gossamer.recipes.same_speed import IMAGES, in_fewer_bits
from gossamer.runtime.export import export_onnx
from gossamer.search.candidate import Candidate, finish, reopened
from gossamer.search.judge import observed_drop
from gossamer.search.ladder import NEARLY, nearly
from gossamer.search.pace import Epochs
from gossamer.search.proposals import cut_and_trained
from gossamer.search.run import Run
from gossamer.search.widths import Keep, Widths, narrowed
from gossamer.tuning import Diverged

BLOCK = 8  # channels that runtimes compute side by side: with 59 instead of 64 a network of fewer bytes can be slower
THINNER = tuple(0.8 * 0.85**rung for rung in range(12))  # shares of the multiply-adds; cutting less gains no time
SLIMMER, HALF = (0.7, 0.5, 0.36, 0.26, 0.19, 0.14), 1  # shares that are trained, and which of them is the first
TRAINED = 1 / 3  # of the time that a rung's epochs of the original take
SPENT = 0.7  # of the drop that may be: bits are to be taken too, though their training mends some of it


@dataclass(frozen=True)
class Slim:
    """What was tried, where training for bits starts (None: not from here), and how many trainings there were."""

    tried: tuple[Candidate, ...] = ()
    start: Candidate | None = None
    trainings: int = 0


def slimmed(run: Run, number: int, share: float, epochs_for: Epochs) -> Slim:
    """The network cut to this share of its multiply-adds, trained and then rounded; nothing where the cut cannot be."""
    name = f"{100 * share:.3g} % of the MACs"
    epochs = epochs_for(1, name)
    fine = _cut_and_written(run, Widths.of(run, int8=False, multiple=BLOCK), number, share, name, epochs)
    if fine is None:
        return Slim(trainings=1)
    if fine.verdict.accepted:
        return _rounded_from(run, [fine], [fine])
    coarse = f"{name}, strength {FIRST:.3g}"
    folder = run.step_folder(number + 1, coarse)
    found = Candidate.load(folder) or _rounded(run, folder, coarse, reopened(run, fine), fine.plan.keep(), FIRST)
    return Slim((fine, found), found if _good_enough(run, fine) else None, 1)


def as_slim_as_it_holds(run: Run, number: int, whole: Candidate, strength: float, epochs_for: Epochs) -> Slim:
    """The network without the channels that it can spare, rounded; nothing where it can spare too few to save time.

    `whole`: all channels, as coarsely rounded as the selection split allows, with this strength.
    """
    if _untrained(run, THINNER[0])["drop"] > run.goal.wanted + NEARLY:
        return Slim()
    tried: list[Candidate] = []
    held: list[Candidate] = []
    place: int | None = HALF
    while place is not None and place < len(SLIMMER):
        share = SLIMMER[place]
        if held and held[-1].macs <= share * run.network.macs:
            place += 1
            continue
        name = f"{100 * share:.3g} % of the MACs, briefly trained"
        epochs = round(TRAINED * epochs_for(1 + len(tried), name) / share)
        one = _cut_and_written(run, _widths(run), number + len(tried), share, name, epochs, held[-1] if held else None)
        if one is None:
            break
        tried.append(one)
        if _spares_some(run, one):
            held.append(one)
            place = place + 1 if place >= HALF else None
        else:
            run.abandon(one.folder)
            place = place - 1 if place == HALF else None
    if held:
        slim = _rounded_from(run, tried, held)
        if slim.start and slim.start.sizes.coded < whole.sizes.coded:
            return slim
        run.note(f"'{held[-1].name}' is no smaller when it is rounded than the whole network: bits are asked of that")
        return Slim(slim.tried, None, slim.trainings)
    thin = _thinned(run, number + len(tried), strength)
    start = next((one for one in thin if _good_enough(run, one)), None)
    return Slim((*tried, *thin), start, len(tried))


def _good_enough(run: Run, candidate: Candidate) -> bool:
    """Whether training can go on from a candidate: one that is accepted, or refused for little."""
    if candidate.verdict.accepted or nearly(run.goal, [candidate]):
        return True
    run.note(f"'{candidate.name}' loses too much to go on from: {candidate.verdict.note}")
    return False


def _spares_some(run: Run, candidate: Candidate) -> bool:
    return candidate.verdict.accepted and candidate.verdict.drop <= SPENT * run.goal.wanted


def _rounded_from(run: Run, tried: list[Candidate], held: list[Candidate]) -> Slim:
    """The last that held, ever more coarsely."""
    coarse = in_fewer_bits(run, held[-1:])
    accepted = [one for one in coarse if one.verdict.accepted]
    start = accepted[-1] if accepted else coarse[0] if coarse else held[-1]  # training mends what rounding cost
    return Slim((*tried, *coarse), start, len(tried))


def _cut_and_written(
    run: Run,
    widths: Widths,
    number: int,
    share: float,
    name: str,
    epochs: int,
    previous: Candidate | None = None,
) -> Candidate | None:
    """Cut from `previous`, or the original, and trained for so many epochs; None for none, or where it cannot be."""
    folder = run.step_folder(number, name)
    if done := Candidate.load(folder):
        return done
    if epochs < 1:
        return None
    try:
        trained = cut_and_trained(run, widths, share, previous, folder, name, epochs)
    except Diverged as error:
        run.note(f"'{name}' was given up: {error}")
        return None
    if trained is None:
        return None
    keep, network = trained
    candidate = on_fine_grid(run, folder, name, network, Plan().with_channels(keep))
    run.forget_training(folder)
    return candidate


def _thinned(run: Run, number: int, strength: float) -> list[Candidate]:
    """The network without the channels that can go untrained, while half of the drop allows it, rounded; or none."""
    counts: dict[str, int] = {}
    for share in THINNER:
        cut = _untrained(run, share)
        if not cut["counts"] or cut["drop"] > run.goal.wanted / 2:
            break
        counts = cut["counts"]
    if not counts:
        return []
    name = f"strength {strength:.3g}, {100 * run.network.macs_if(counts) / run.network.macs:.0f} % of the MACs"
    folder = run.step_folder(number, name)
    if done := Candidate.load(folder):
        return [done]
    keep, network = narrowed(run, run.network, counts)
    return [_rounded(run, folder, name, network, keep, strength)]


def _untrained(run: Run, share: float) -> dict[str, Any]:
    """The counts that leave this share of the multiply-adds, none where nothing does, and what that loses untrained."""

    def compute() -> dict[str, Any]:
        counts = _widths(run).within(share, {})
        if counts is None:
            return {"counts": {}, "drop": 1.0}
        network = narrowed(run, run.network, counts)[1]
        model = export_onnx(network.module, network.example)
        quality = qualities(run.task, run.task.selection, model, run.goal.runtime)
        return {"counts": counts, "drop": observed_drop(run.original_quality(), quality)}

    found: dict[str, Any] = run.stage(f"{100 * share:.3g} % of the MACs, untrained", compute)
    return found


def _widths(run: Run) -> Widths:
    """Measured on one batch: what they propose is judged by more."""
    return Widths.of(run, int8=False, batches=1, multiple=BLOCK)


def _rounded(run: Run, folder: Path, name: str, network: Network, keep: Keep, strength: float) -> Candidate:
    """A network that has the channels `keep` of the original, rounded by output error and bits."""
    rounded, units = Rounding.of(run, network, IMAGES).at(strength)
    return finish(run, folder, name, rounded, plan_of(units).with_channels(keep), units)
