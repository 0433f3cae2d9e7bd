# SPDX-License-Identifier: Apache-2.0
"""Post-training: the smallest file without a step of training, from a few hundred images without labels.

Rate-distortion quantization (`gossamer.quantize.post_training`) has one dial, its strength. It is doubled until the
selection split refuses, or halved until it accepts; then the last interval is halved, in logarithms, as often as
`halvings` says. Every strength tried is a file.

A network stands for all its candidates: from one strength to the next only the rounding is done anew.

Cost: no training; a pass over a few hundred images for each strength that is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, channels_last

from gossamer.coding.costs import costs
from gossamer.graph import Layer, Network
from gossamer.graph.walk import MOST_BYTES, images_that_fit
from gossamer.plan import LayerPlan, Plan
from gossamer.quantize.post_training import RateDistortion
from gossamer.quantize.second_order import Sensitivity, sensitivity
from gossamer.search.candidate import Candidate, coded_layers, finish
from gossamer.search.run import Run
from gossamer.task import Task

FIRST, LEAST, MOST = 0.004, 1e-6, 4.0  # strengths; ResNets on CIFAR-10 lost nothing at 0.004
BATCH = 50


@dataclass(frozen=True)
class PostTraining:
    """`images` calibrate, `halvings` settle the strength."""

    images: int = 500
    halvings: int = 3

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("halvings", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} of post-training must be at least {least}, got {getattr(self, name)}")

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried."""
        return list(self.by_strength(run).values())

    def by_strength(self, run: Run) -> dict[float, Candidate]:
        """Every strength tried, in this order, and its candidate."""
        run.goal.must_be_bytes("post-training")
        rounding = Rounding.of(run, run.network, self.images)
        tried: dict[float, Candidate] = {}
        good: float | None = None
        bad: float | None = None
        halvings = 0
        strength = FIRST
        seconds = run.seconds_of("first candidate", lambda: rounded(run, rounding, 0, FIRST))
        while LEAST <= strength <= MOST:
            if tried and not run.has_time_for(seconds):
                run.note("no time was left to settle the strength more closely")
                break
            candidate = tried[strength] = rounded(run, rounding, len(tried), strength)
            if candidate.verdict.accepted:
                good = strength
            else:
                bad = strength
            if good is None or bad is None:
                strength = 2 * strength if bad is None else strength / 2
                continue
            if halvings == self.halvings:
                break
            halvings += 1
            strength = float(np.sqrt(good * bad))
        return tried


class Rounding:
    """A network, its layers and calibration batches; from these any strength is rounded, statistics gathered once."""

    def __init__(self, network: Network, layers: Sequence[Layer], batches: Sequence[Tensor]) -> None:
        self.network, self.layers, self.batches = network, layers, batches

    @classmethod
    def of(cls, run: Run, network: Network, images: int) -> Rounding:
        """Of the layers of the run's network, or a cut of it, that its files code; so many images calibrate at most."""
        batches = calibration_batches(network, run.task, images, run.note)
        return cls(network, coded_layers(run, network), batches)

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """What an error of each layer does to the outputs."""
        return sensitivity(self.network, self.batches)

    def at(self, strength: float) -> tuple[Network, dict[str, NDArray[np.float32]]]:
        """A copy of the network with its weights on grids, and the units of the deployed weights' grids."""
        return RateDistortion(strength).quantize(self.network, self.layers, self.batches, self.sensitivity, costs)


def rounded(
    run: Run, rounding: Rounding, number: int, strength: float, keep: Mapping[str, NDArray[np.bool_]] | None = None
) -> Candidate:
    """The candidate of one strength; `keep`: the channels of the original that the network to be rounded has left."""
    name = f"strength {strength:.6g}"  # told apart after ten halvings
    folder = run.step_folder(number, name)
    if done := Candidate.load(folder):
        return done
    network, units = rounding.at(strength)
    return finish(run, folder, name, network, plan_of(units).with_channels(keep or {}), units)


def calibration_batches(network: Network, task: Task, images: int, note: Callable[[str], object]) -> list[Tensor]:
    """Batches of the calibration split as it is: `images`, or fewer if memory does not suffice, and then a note."""
    wanted = min(images, len(task.calibration))
    left = images_that_fit(network, task.example[:1], wanted)
    if left < wanted:
        note(f"calibrated on {left:,} of {wanted:,} images: more of them would hold over {MOST_BYTES >> 30} GiB")
    batches: list[Tensor] = []
    for inputs, _ in task.batches(task.calibration, BATCH):
        batches.append(inputs[:left].contiguous(memory_format=channels_last))
        left -= len(batches[-1])
        if left == 0:
            break
    return batches


def plan_of(units: Mapping[str, NDArray[np.float32]]) -> Plan:
    """Grids as the plan tells them; of several steps in a tensor, their geometric mean."""
    return Plan().with_layers(
        {name: LayerPlan(step=float(np.exp(np.log(unit).mean()))) for name, unit in units.items()}
    )
