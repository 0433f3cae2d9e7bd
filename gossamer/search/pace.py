# SPDX-License-Identifier: Apache-2.0
"""Pace: how fast this machine trains this network, measured before anything is promised."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gossamer.search.run import Run
from gossamer.tuning.numerics import Numerics, fastest_numerics

TRIAL_IMAGES = 64  # enough to tell the arithmetics apart
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
    """Time a few training steps in each arithmetic; remembered by the run, so that it resumes in the same one."""

    def compute() -> dict[str, object]:
        task, settings = run.task, run.settings
        size = min(settings.batch_size, TRIAL_IMAGES, len(task.train))
        inputs, _ = next(
            task.batches(task.train, size, generator=torch.Generator().manual_seed(0), device=settings.device)
        )
        numerics, trials_ms = fastest_numerics(run.network.module, inputs)
        epoch_seconds = len(task.train) / size * trials_ms[str(numerics)] / 1000 * (1 + TEACHER_SHARE)
        epochs = settings.epochs or _epochs(run.goal.hours, epoch_seconds)
        return {
            "numerics": str(numerics),
            "epoch_seconds": epoch_seconds,
            "epochs": epochs,
            "trials_ms": trials_ms,
        }

    stored = run.stage("pace", compute)
    return Pace(**stored | {"numerics": Numerics.parse(stored["numerics"])})


def _epochs(hours: float | None, epoch_seconds: float) -> int:
    if hours is None:
        return DEFAULT_EPOCHS
    fit = int(SHARE_FOR_TRAINING * 3600 * hours / epoch_seconds / RUNGS_HOPED_FOR)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, fit))
