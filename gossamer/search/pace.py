# SPDX-License-Identifier: Apache-2.0
"""Pace: how fast this machine trains this network, measured before anything is promised.

Steps are those of the real loop: with the teacher, with the plugs that the goal will bring, with the data. Such a step
of ResNet-20 took 1.9 times as long as its forward and backward passes alone (64 images, float32, one CPU thread), of
which the plugs were at most 9 %.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from gossamer import tuning
from gossamer.goal import Goal
from gossamer.graph import Network
from gossamer.quantize.folding import fold_factors
from gossamer.search.run import Run, Settings
from gossamer.task import Task
from gossamer.tuning import Distillation, GridRounding, Plug, Sparsify
from gossamer.tuning.numerics import ALL_NUMERICS, Numerics, fastest_numerics

TRIAL_PIXELS, FEWEST_TRIAL_IMAGES = 2**16, 8  # a batch that tells the arithmetics apart, and no larger
TRIAL_STEPS = 4  # after one that warms up
TRIAL_ZEROS, TRIAL_COARSENESS = 0.5, 0.85  # of the plugs that are timed
DEFAULT_EPOCHS, FEWEST_EPOCHS, MOST_EPOCHS = 12, 4, 15
RUNGS_HOPED_FOR = 3
SHARE_FOR_TRAINING = 0.85  # the rest goes to measuring, coding and the certificate


@dataclass(frozen=True)
class Pace:
    """Chosen arithmetic, seconds of one epoch of tuning, and epochs for each rung."""

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
        numerics, epoch_seconds, trials_ms = epoch_time(run.task, run.network, run.goal, run.settings)
        epochs = epochs_per_rung(run.goal, run.settings, epoch_seconds)
        return {
            "numerics": str(numerics),
            "epoch_seconds": epoch_seconds,
            "epochs": epochs,
            "trials_ms": trials_ms,
        }

    stored = run.stage("pace", compute)
    return Pace(**stored | {"numerics": Numerics.parse(stored["numerics"])})


def time_needed(run: Run, pace: Pace, candidate_seconds: float) -> Callable[[int], float]:
    """Seconds that rung number n, from 1 on, and all that must still come after it take.

    `candidate_seconds` is what writing and measuring the candidates of one rung took. At the end the test split is
    asked about each as the selection split was, and the dense control is tuned as long as all of them.
    """

    def seconds(number: int) -> float:
        training = pace.rung_seconds * (1 + number if run.settings.control else 1)
        asked = len(run.task.test) / len(run.task.selection)
        return training + candidate_seconds * (1 + asked * (1 + number))

    return seconds


def epoch_time(
    task: Task, network: Network, goal: Goal, settings: Settings
) -> tuple[Numerics, float, dict[str, float]]:
    """The fastest arithmetic, the seconds that an epoch of tuning takes in it, and all trials in milliseconds."""
    pixels = task.preprocess.height * task.preprocess.width
    size = min(settings.batch_size, max(FEWEST_TRIAL_IMAGES, TRIAL_PIXELS // pixels), len(task.train))
    inputs, _ = next(task.batches(task.train, size, generator=torch.Generator().manual_seed(0), device=settings.device))
    among = ALL_NUMERICS if settings.numerics is None else (Numerics.parse(settings.numerics),)
    numerics, trials_ms = fastest_numerics(network.module, inputs, among)
    without = step_seconds(task, network, settings, numerics, (Distillation(),), size)
    plugs = usual_plugs(network, goal)
    added = step_seconds(task, network, settings, numerics, plugs, size) - without if len(plugs) > 1 else 0.0
    images, batch = len(task.train), min(settings.batch_size, len(task.train))
    return numerics, images / size * without + images / batch * max(0.0, added), trials_ms


def usual_plugs(network: Network, goal: Goal) -> tuple[Plug, ...]:
    """The plugs of a rung in the middle of the ladder, at work from the first step on."""
    if goal.minimise != "bytes":
        return (Distillation(),)
    factors = fold_factors(network.layers, network.module.state_dict())
    rounding = GridRounding(factors, coarseness=TRIAL_COARSENESS)
    return Sparsify(factors, final=TRIAL_ZEROS), rounding, Distillation()


def step_seconds(
    task: Task, network: Network, settings: Settings, numerics: Numerics, plugs: Sequence[Plug], size: int
) -> float:
    """Seconds of one step of the real loop with `size` images a batch; the network is left as it is."""
    marks: list[float] = []

    def progress(done: int, total: int, words: str) -> None:
        marks.append(time.perf_counter())
        if done > TRIAL_STEPS:
            raise _Enough

    trial = tuning.Settings(
        epochs=TRIAL_STEPS + 1, batch_size=size, learning_rate=1e-6, augment=settings.augment, seed=settings.seed
    )
    module, teacher = network.copy().module, copy.deepcopy(network.module)
    with suppress(_Enough):
        tuning.tune(
            module, task, trial, plugs, teacher=teacher, numerics=numerics, device=settings.device, progress=progress
        )
    return (marks[-1] - marks[0]) / (len(marks) - 1)


class _Enough(Exception):
    """Ends a trial."""


def epochs_per_rung(goal: Goal, settings: Settings, epoch_seconds: float) -> int:
    """What was asked for, or as many as let some rungs fit into the goal's hours."""
    if settings.epochs is not None:
        return settings.epochs
    if goal.hours is None:
        return DEFAULT_EPOCHS
    trained = RUNGS_HOPED_FOR * (2 if settings.control else 1)
    fit = int(SHARE_FOR_TRAINING * 3600 * goal.hours / epoch_seconds / trained)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, fit))
