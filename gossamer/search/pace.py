# SPDX-License-Identifier: Apache-2.0
"""Pace: how fast this machine trains this network, measured before anything is promised."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gossamer.goal import Goal
from gossamer.graph import Network
from gossamer.search.run import Run, Settings
from gossamer.task import Task
from gossamer.tuning.numerics import ALL_NUMERICS, Numerics, fastest_numerics

TRIAL_PIXELS, FEWEST_TRIAL_IMAGES = 2**16, 8  # a batch that tells the arithmetics apart, and no larger
TEACHER_SHARE = 1 / 3  # a forward pass costs about half a backward pass
DEFAULT_EPOCHS, FEWEST_EPOCHS, MOST_EPOCHS = 12, 4, 15
RUNGS_HOPED_FOR = 3
SHARE_FOR_TRAINING = 0.85  # the rest goes to measuring, coding and the certificate


@dataclass(frozen=True)
class Pace:
    """Chosen arithmetic, seconds of one epoch with a teacher, and epochs for each rung."""

    numerics: Numerics
    epoch_seconds: float
    epochs: int
    trials_ms: dict[str, float]

    @property
    def rung_seconds(self) -> float:
        """Seconds that training one rung takes."""
        return self.epochs * self.epoch_seconds


def measure_pace(run: Run) -> Pace:
    """Time a few training steps in each arithmetic; remembered by the run, so that it resumes in the same one.

    Two runs may still choose differently, and end with other digits: `Settings.numerics` settles it beforehand.
    """

    def compute() -> dict[str, object]:
        numerics, epoch_seconds, trials_ms = epoch_time(run.task, run.network, run.settings)
        epochs = epochs_per_rung(run.goal, run.settings, epoch_seconds)
        return {
            "numerics": str(numerics),
            "epoch_seconds": epoch_seconds,
            "epochs": epochs,
            "trials_ms": trials_ms,
        }

    stored = run.stage("pace", compute)
    return Pace(**stored | {"numerics": Numerics.parse(stored["numerics"])})


def epoch_time(task: Task, network: Network, settings: Settings) -> tuple[Numerics, float, dict[str, float]]:
    """The fastest arithmetic, the seconds that an epoch with a teacher takes in it, and all trials in milliseconds."""
    pixels = task.preprocess.height * task.preprocess.width
    size = min(settings.batch_size, max(FEWEST_TRIAL_IMAGES, TRIAL_PIXELS // pixels), len(task.train))
    inputs, _ = next(task.batches(task.train, size, generator=torch.Generator().manual_seed(0), device=settings.device))
    among = ALL_NUMERICS if settings.numerics is None else (Numerics.parse(settings.numerics),)
    numerics, trials_ms = fastest_numerics(network.module, inputs, among)
    seconds = len(task.train) / size * trials_ms[str(numerics)] / 1000 * (1 + TEACHER_SHARE)
    return numerics, seconds, trials_ms


def epochs_per_rung(goal: Goal, settings: Settings, epoch_seconds: float) -> int:
    """What was asked for, or as many as let some rungs fit into the goal's hours."""
    if settings.epochs is not None:
        return settings.epochs
    if goal.hours is None:
        return DEFAULT_EPOCHS
    fit = int(SHARE_FOR_TRAINING * 3600 * goal.hours / epoch_seconds / RUNGS_HOPED_FOR)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, fit))
