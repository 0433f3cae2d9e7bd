# SPDX-License-Identifier: Apache-2.0
"""Estimate: in about a minute, what a network bears without a step of training, and what the data could prove of it.

The parts of the real search, on few images and in a folder that goes away. First the network as it is, in every
arithmetic that the goal is about: int8 is the commonest first gain. For multiply-adds, milliseconds and working memory
then channels by the frontier, ever fewer, chosen by multiply-adds alone: each cut is timed, so no table of milliseconds
is made. For bytes: integers by output error and bits, ever more strongly. Each is written and measured as a candidate
is. Training goes further: what is lost here is where it starts from.

Nothing is begun when a minute is over, and on how many images groups of channels are measured follows from how fast
the network runs here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from gossamer.data.images import Split
from gossamer.goal import Goal
from gossamer.graph import Network, trace
from gossamer.plan import Plan
from gossamer.recipes.fewer_channels import BY_CUTTING, Demand, missed_limits, uncut_written, written_forms
from gossamer.recipes.fine_grids import fine_grid
from gossamer.recipes.post_training import FIRST, MOST, PostTraining, Rounding, rounded
from gossamer.recipes.same_speed import as_int8
from gossamer.search.board import MULTIPLE
from gossamer.search.candidate import Candidate, reopened
from gossamer.search.run import Run
from gossamer.search.sensitivity import LEVELS
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.search.widths import Widths, narrowed
from gossamer.task import Task

MINUTE = 60.0  # after which nothing more is begun
IMAGES = 1000  # of the selection split
REFITTED = 256  # images of the calibration split, on which cuts are fitted and ranges are found
CALIBRATING = 100  # images, where integers are chosen
MEASURING = 15.0  # seconds, about, for what each group is worth
FEWEST, MOST_IMAGES = 8, 128  # to measure it on
SHARES = (0.85, 0.7, 0.5, 0.35, 0.2)


def estimate(
    task: Task,
    goal: Goal,
    settings: Settings | None = None,
    watch: Watch | None = None,
    network: Network | None = None,
    look: int = 1,
) -> list[Candidate]:
    """From careful to bold, as many as fit into a minute or so; their folders are gone again.

    They are judged on at most 1,000 images of the selection split. `network`: the task's, where it was traced before;
    `look`: the number that a run would have among those on the test split.
    """
    settings, watch = settings or Settings(), watch or Watch()
    few = replace(
        task,
        selection=_few(task.selection, IMAGES, settings.seed),
        calibration=_few(task.calibration, REFITTED, settings.seed),
    )
    hurried = replace(goal, hours=MINUTE / 3600, observed=None)
    with TemporaryDirectory() as folder:
        network = network or trace(task.model, task.example, freeze=settings.protect)
        run = Run(Path(folder) / "run", few, hurried, "estimate", network, settings, watch, look)
        if goal.minimise == "bytes" and not goal.fit:
            watch.say("writing the network with fewer and fewer bits a weight ...")
            return [fine_grid(run), *PostTraining(images=CALIBRATING, halvings=1).search(run)]
        watch.say("writing and measuring the network as it is ...")
        found = uncut_written(run)
        if not goal.fit or missed_limits(run, found[-1], BY_CUTTING):
            found = [*found, *narrower(run)]
        if "bytes" in goal.fit:
            found = [*found, *coarser(run, found)]
        return found


def _few(split: Split, images: int, seed: int) -> Split:
    """At most so many images of a split, at random."""
    chosen = np.random.default_rng(seed).permutation(len(split))[:images]
    return split.subset(np.sort(chosen), split.name)


def narrower(run: Run) -> list[Candidate]:
    """The network at a growing cut of its channels, its layers fitted to what they gave, in every arithmetic.

    Limits that only channels can keep end it where they are kept.
    """
    inputs = _inputs(run)
    run.watch.say(f"measuring what each of {len(run.network.prunable)} groups of channels is worth ...")
    widths = Widths.roughly(run, inputs, MULTIPLE if run.goal.minimise == "latency" else 1)
    found: list[Candidate] = []
    took = 0.0
    for number, share in enumerate(SHARES, start=1):
        counts = widths.within(share, {}) if not found or run.has_time_for(took) else None
        if counts is None:
            break
        start = time.monotonic()
        name = Demand(share, "MACs").name
        run.watch.say(f"cutting to {name} ...")
        keep, network = narrowed(run, run.network, counts)
        found += written_forms(run, run.step_folder(number, name), name, network, Plan().with_channels(keep))
        took = time.monotonic() - start
        if run.goal.fit and not missed_limits(run, found[-1], BY_CUTTING):
            break
    return found


def _inputs(run: Run) -> Tensor:
    """As many calibration images as let all groups be measured in `MEASURING` seconds or so, (N, C, H, W)."""
    inputs = next(run.calibration_batches())[:MOST_IMAGES]
    module = run.network.module.eval()
    with torch.no_grad():
        module(inputs[:FEWEST])
        start = time.monotonic()
        module(inputs[:FEWEST])
        seconds = (time.monotonic() - start) / FEWEST
    passes = max(1, len(LEVELS) * len(run.network.prunable))
    return inputs[: max(FEWEST, int(MEASURING / (passes * seconds)))]


def coarser(run: Run, found: Sequence[Candidate]) -> list[Candidate]:
    """What keeps its other limits, rounded ever more strongly until its file fits too, or the time is over."""
    base = found[-1]
    if missed_limits(run, base, BY_CUTTING) or not missed_limits(run, base, ("bytes",)):
        return []
    run.watch.say(f"writing '{base.name}' with fewer and fewer bits a weight ...")
    rounding = Rounding.of(run, reopened(run, base), CALIBRATING)
    made: list[Candidate] = []
    strength, took = FIRST, 0.0
    while strength <= MOST and (not made or run.has_time_for(took)):
        start = time.monotonic()
        candidate = rounded(run, rounding, len(SHARES) + 1 + len(made), strength, base.plan.keep())
        made.append(as_int8(run, candidate) if base.plan.int8 else candidate)
        if not missed_limits(run, made[-1], ("bytes",)):
            break
        took, strength = time.monotonic() - start, 2 * strength
    return made
