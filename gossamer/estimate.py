# SPDX-License-Identifier: Apache-2.0
"""Estimate: in about a minute, what a network bears without a step of training, and what the data could prove of it.

The parts of the real search, on few images and in a folder that goes away. For bytes: integers by output error and
bits, ever more strongly. For multiply-adds, milliseconds and working memory: channels by the frontier, ever fewer. Each
is written and measured as a candidate is. Training goes further: what is lost here is where it starts from.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.plan import Plan
from gossamer.recipes.fewer_bytes import fine_grid
from gossamer.recipes.fewer_channels import demand
from gossamer.recipes.post_training import PostTraining
from gossamer.search.candidate import Candidate, finish
from gossamer.search.run import Run, Settings
from gossamer.search.watch import Watch
from gossamer.search.widths import Widths, narrowed
from gossamer.task import Task

MINUTE = 60.0  # after which nothing more is begun
IMAGES = 1000  # of the selection split
CALIBRATING = 100  # images, where integers are chosen
SHARES = (0.85, 0.7, 0.5, 0.35)


def estimate(task: Task, goal: Goal, settings: Settings | None = None, watch: Watch | None = None) -> list[Candidate]:
    """From careful to bold, as many as fit into a minute or so; their folders are gone again.

    They are judged on at most 1,000 images of the selection split.
    """
    settings, watch = settings or Settings(), watch or Watch()
    images = min(IMAGES, len(task.selection))
    chosen = np.random.default_rng(settings.seed).permutation(len(task.selection))[:images]
    few = replace(task, selection=task.selection.subset(np.sort(chosen), "selection"))
    hurried = replace(goal, hours=MINUTE / 3600, observed=None)
    with TemporaryDirectory() as folder:
        network = trace(task.model, task.example, freeze=settings.protect)
        run = Run(Path(folder) / "run", few, hurried, "estimate", network, settings, watch)
        if goal.minimise == "bytes" and "ram" not in goal.fit:
            found = [fine_grid(run), *PostTraining(images=CALIBRATING, halvings=1).search(run)]
        else:
            found = narrower(run)
        return found


def narrower(run: Run) -> list[Candidate]:
    """The network at a growing cut of its channels, its layers fitted to what they gave."""
    widths = Widths.of(run, int8=False, batches=1)
    found: list[Candidate] = []
    took = 0.0
    for number, share in enumerate(SHARES):
        counts = widths.within(share, {}) if not found or run.has_time_for(took) else None
        if counts is None:
            break
        start = time.monotonic()
        keep, network = narrowed(run, run.network, counts)
        name = demand(run, share).name
        found.append(finish(run, run.step_folder(number, name), name, network, Plan().with_channels(keep)))
        took = time.monotonic() - start
    return found
