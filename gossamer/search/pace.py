# SPDX-License-Identifier: Apache-2.0
"""Pace: how fast this machine trains this network, measured before anything is promised.

Steps are those of the real loop: with the teacher, with the plugs that the goal will bring, with the data. Such a step
of ResNet-20 took 1.9 times as long as its forward and backward passes alone (64 images, float32, one CPU thread), of
which the plugs were at most 9 %.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from gossamer import tuning
from gossamer.coding.costs import costs
from gossamer.goal import Goal
from gossamer.graph import Network
from gossamer.quantize.folding import fold_factors
from gossamer.search.run import ABANDONED, LOSSES, Run
from gossamer.search.settings import Settings
from gossamer.task import Task
from gossamer.tuning import Distillation, Plug, RatePenalty
from gossamer.tuning.numerics import ALL_NUMERICS, Numerics, fastest_numerics
from gossamer.tuning.plug import inputs_first

TRIAL_PIXELS, FEWEST_TRIAL_IMAGES = 2**16, 8  # a batch that tells the arithmetics apart, and no larger
TRIAL_STEPS = 4  # after one that warms up
TRIAL_BITS = 1.5  # a weight, asked of the rate penalty that is timed
DEFAULT_EPOCHS, FEWEST_EPOCHS, MOST_EPOCHS = 12, 4, 15
FEWEST_STEPS = 600  # a rung, where hours allow: with few images, more epochs
RUNGS_HOPED_FOR = 3
SHARE_FOR_TRAINING = 0.85  # the rest goes to measuring, coding and the certificate


@dataclass(frozen=True)
class Pace:
    """Chosen arithmetic, seconds of one epoch of tuning, and epochs for each rung."""

    numerics: Numerics
    epoch_seconds: float
    epochs: int
    trials_ms: dict[str, float]


class Epochs(Protocol):
    """How long an attempt may train."""

    def __call__(self, number: int, name: str, times: int = 1) -> int:
        """Of the attempt of this number, from 1 on: `times` as many as usual, or fewer; 0 where nothing fits."""
        ...


def measure_pace(run: Run) -> Pace:
    """Time a few training steps in each arithmetic; remembered by the run, so that it resumes in the same one.

    Two runs may still choose differently, and end with other digits: `Settings.numerics` settles it beforehand.
    """

    def compute() -> dict[str, object]:
        numerics, epoch_seconds, trials_ms = epoch_time(run.task, run.network, run.goal, run.settings)
        epochs = epochs_per_rung(run.goal, run.settings, epoch_seconds, len(run.task.train))
        return {
            "numerics": str(numerics),
            "epoch_seconds": epoch_seconds,
            "epochs": epochs,
            "trials_ms": trials_ms,
        }

    stored = run.stage("pace", compute)
    return Pace(**stored | {"numerics": Numerics.parse(stored["numerics"])})


def epochs_in_time(
    run: Run, pace: Pace, candidate_seconds: float, copies: int = 1, choosing_seconds: float = 0.0
) -> Epochs:
    """How many epochs each attempt of a ladder may train so that all that comes after it still fits into the hours.

    `candidate_seconds` is what writing and measuring the candidates of one rung took, `choosing_seconds` what goes by
    before each is trained (`proposals.fitting_seconds`). Networks get smaller from rung to rung, so an epoch takes no
    longer than it did in the rung before; the dense control's are those of the original. Where the pace says no, it is
    measured once more: the machine may have been busy. Then epochs are taken away, unless a number of them was asked
    for, but not half of them. `copies` are trained beside each other. 0, and a note, when nothing fits. Remembered by
    the run: started again, it comes to the same.
    """

    def decide(number: int, name: str, times: int) -> int:
        tuned = tuned_epochs(run)
        wanted = times * pace.epochs
        fewest = min(FEWEST_EPOCHS, pace.epochs) if times == 1 else wanted // 2
        if run.settings.epochs is not None:
            fewest = wanted

        def needed(epochs: int, epoch_seconds: float, dense_seconds: float) -> float:
            control = (tuned + epochs) * dense_seconds if run.settings.control else 0.0
            training = choosing_seconds + epochs * epoch_seconds
            return training + control + seconds_at_the_end(run, number, candidate_seconds)

        def fitting(epoch_seconds: float, dense_seconds: float) -> int:
            for epochs in range(wanted, fewest - 1, -1):
                if run.has_time_for(needed(epochs, epoch_seconds, dense_seconds)):
                    return epochs
            return 0

        dense_seconds = copies * pace.epoch_seconds
        epoch_seconds = min(dense_seconds, copies * run.epoch_seconds)
        epochs = fitting(epoch_seconds, dense_seconds)
        if epochs < wanted:
            again = copies * tuning_seconds(run.task, run.network, run.goal, run.settings, pace.numerics)
            dense_seconds, epoch_seconds = min(dense_seconds, again), min(epoch_seconds, again)
            epochs = max(epochs, fitting(epoch_seconds, dense_seconds))
        minutes = needed(wanted, epoch_seconds, dense_seconds) / 60
        if epochs == 0:
            run.note(f"stopped before '{name}': with what comes after it, it needs about {minutes:.0f} min")
        elif epochs < wanted:
            run.note(f"'{name}' is tuned for {epochs} epochs; {wanted} would need about {minutes:.0f} min")
        return epochs

    def epochs_for(number: int, name: str, times: int = 1) -> int:
        return int(run.stage(f"epochs for {name}", lambda: decide(number, name, times)))

    return epochs_for


def seconds_at_the_end(run: Run, number: int, candidate_seconds: float) -> float:
    """Seconds that writing rung number n takes, and what must still come after it, but for the dense control.

    At the end the test split is asked about each candidate as the selection split was, a second one about two networks.
    """
    second = 0 if run.task.second_test is None else 2 * len(run.task.second_test)
    asked = (len(run.task.test) * (1 + number) + second) / len(run.task.selection)
    return candidate_seconds * (1 + asked)


def tuned_epochs(run: Run) -> int:
    """Epochs that the run spent on tuning candidates, but for steps that were abandoned."""
    stages = run.stages()
    abandoned = {name.removesuffix(ABANDONED) for name in stages if name.endswith(ABANDONED)}
    return sum(
        len(stage["value"])
        for name, stage in stages.items()
        if name.endswith(LOSSES) and name.removesuffix(LOSSES).partition(" ")[0] not in abandoned
    )


def epoch_time(
    task: Task, network: Network, goal: Goal, settings: Settings
) -> tuple[Numerics, float, dict[str, float]]:
    """The fastest arithmetic, the seconds that an epoch of tuning takes in it, and all trials in milliseconds."""
    size = trial_size(task, settings)
    inputs, _ = next(task.batches(task.train, size, generator=torch.Generator().manual_seed(0), device=settings.device))
    among = ALL_NUMERICS if settings.numerics is None else (Numerics.parse(settings.numerics),)
    numerics, trials_ms = fastest_numerics(network.module, inputs, among)
    return numerics, tuning_seconds(task, network, goal, settings, numerics), trials_ms


def tuning_seconds(task: Task, network: Network, goal: Goal, settings: Settings, numerics: Numerics) -> float:
    """Seconds of one epoch of tuning, from a few steps: the images' share and the plugs' share, which is per step."""
    size = trial_size(task, settings)

    def step(plugs: Sequence[Plug]) -> float:
        return step_seconds(task, network.copy().module, network, settings, numerics, plugs, size)

    without = step((Distillation(),))
    plugs = usual_plugs(network, goal)
    added = step(plugs) - without if len(plugs) > 1 else 0.0
    images, batch = len(task.train), min(settings.batch_size, len(task.train))
    return images / size * without + images / batch * max(0.0, added)


def trial_size(task: Task, settings: Settings) -> int:
    """Images in a batch of a trial."""
    pixels = task.preprocess.height * task.preprocess.width
    return min(settings.batch_size, max(FEWEST_TRIAL_IMAGES, TRIAL_PIXELS // pixels), len(task.train))


def usual_plugs(network: Network, goal: Goal) -> tuple[Plug, ...]:
    """The plugs of a rung in the middle of the ladder, at work from the first step on."""
    if goal.minimise != "bytes" and "bytes" not in goal.fit:
        return (Distillation(),)
    factors = fold_factors(network.layers, network.module.state_dict())
    return RatePenalty(factors, costs, target=TRIAL_BITS, inputs_first=inputs_first(network.layers)), Distillation()


def step_seconds(
    task: Task,
    module: nn.Module,
    teacher: Network,
    settings: Settings,
    numerics: Numerics,
    plugs: Sequence[Plug],
    size: int,
) -> float:
    """Seconds of one step of the real loop with `size` images a batch; the module is used up, the teacher is not."""
    marks: list[float] = []

    def progress(done: int, total: int, words: str) -> None:
        marks.append(time.perf_counter())
        if done > TRIAL_STEPS:
            raise _Enough

    trial = tuning.Settings(
        epochs=TRIAL_STEPS + 1, batch_size=size, learning_rate=1e-6, augment=settings.augment, seed=settings.seed
    )
    taught_by = copy.deepcopy(teacher.module)
    with suppress(_Enough):
        tuning.tune(
            module, task, trial, plugs, teacher=taught_by, numerics=numerics, device=settings.device, progress=progress
        )
    return (marks[-1] - marks[0]) / (len(marks) - 1)


class _Enough(Exception):
    """Ends a trial."""


def epochs_per_rung(goal: Goal, settings: Settings, epoch_seconds: float, images: int) -> int:
    """What was asked for, or as many as let some rungs fit into the goal's hours; of few images more."""
    if settings.epochs is not None:
        return settings.epochs
    enough = max(1, math.ceil(FEWEST_STEPS / max(1, images // settings.batch_size)))
    if goal.hours is None:
        return max(DEFAULT_EPOCHS, enough)
    trained = RUNGS_HOPED_FOR * (2 if settings.control else 1)
    fit = int(SHARE_FOR_TRAINING * 3600 * goal.hours / epoch_seconds / trained)
    return min(max(MOST_EPOCHS, enough), max(FEWEST_EPOCHS, fit))
