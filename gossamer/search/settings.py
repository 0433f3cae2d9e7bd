# SPDX-License-Identifier: Apache-2.0
"""Settings: how a run is made, beside its goal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gossamer.coding import CHOICES
from gossamer.tuning import Numerics
from gossamer.tuning.limits import check_device, check_training


@dataclass(frozen=True)
class Settings:
    """How a run is made, beside its goal.

    `epochs` is per rung of the ladder, `numerics` the arithmetic of training ("channels_last bfloat16"): None lets
    the run choose, by what this machine does fastest. `latency_table`: the folder of a bundle that came back from
    another machine, whose milliseconds then count (`search.board`), or of a run on this one, whose table is taken over
    (`search.measured_table`). `coding`: of `gossamer.coding.CHOICES`, by how the files of candidates are coded, where
    the recipe has no coder of its own. `epoch_quality`: on so many images of the selection split the quality is asked
    after each epoch of tuning, to be seen in the report; it decides nothing.
    """

    seed: int = 0
    device: str = "cpu"
    batch_size: int = 128
    epochs: int | None = None
    learning_rate: float = 0.04
    numerics: str | None = None
    threads: int = 1
    augment: bool = True
    control: bool = False
    latency_table: str | None = None
    protect: tuple[str, ...] = ()
    coding: str = "small"
    epoch_quality: int = 0

    def __post_init__(self) -> None:
        if self.epoch_quality < 0:
            raise ValueError(f"epoch_quality must be a number of images, or 0 for none, got {self.epoch_quality}")
        if self.numerics is not None:
            Numerics.parse(self.numerics)
        if self.coding not in CHOICES:
            raise ValueError(f"coding must be one of {', '.join(CHOICES)}, got '{self.coding}'")
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        check_training(self.epochs, self.batch_size, self.learning_rate)
        check_device(self.device)


def decisive(settings: Settings) -> dict[str, Any]:
    """The settings that a run depends on: a question that decides nothing belongs to it only where it is asked."""
    found = asdict(settings)
    if not settings.epoch_quality:
        del found["epoch_quality"]
    return found
