# SPDX-License-Identifier: Apache-2.0
"""Kinds of tasks: what a network is to say about an image, one a file.

A kind is a frozen dataclass. It knows what the truth of an image is, how training measures an answer against it, and
which number between 0 and 1, or right or wrong, the certificate is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer.data.images import Split
from gossamer.data.splits import Splits
from gossamer.near import meant

Quality = NDArray[np.bool_] | NDArray[np.float64]
"""Of each example, (N,): right or wrong, or a number between 0 and 1; the certificate tests the two differently."""
Targets = NDArray[np.int64] | NDArray[np.uint8] | NDArray[np.float32]
"""Labels (N,), masks (N, H, W), or objects (N, L, 6)."""


def remark_on_areas(splits: Splits) -> Iterator[str]:
    """That test images of one area, session or video are not independent, where that is known of them."""
    if splits.test.areas is not None:
        areas = len(set(splits.test.areas.tolist()))
        yield (
            f"the {len(splits.test):,} test images come from {areas:,} areas; the certificate takes them for "
            "independent, which those of one area are not"
        )


def check_measure(measure: str, known: Iterable[str]) -> None:
    """ValueError for a measure that a kind does not have."""
    if measure not in (known := list(known)):
        raise ValueError(f"measure must be one of {', '.join(known)}, got '{measure}'{meant(measure, known)}")


class Kind(Protocol):
    """What every kind can do."""

    @property
    def name(self) -> str:
        """In a word, as the report has it."""
        ...

    @property
    def measured(self) -> str:
        """What the quality of an example is called: "accuracy", "IoU"; certificates name it."""
        ...

    def targets(self, split: Split, positions: NDArray[np.int64]) -> Targets:
        """The truth of some examples, (N, ...)."""
        ...

    def augmented(
        self, pixels: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, cutout: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images, uint8 (N, C, H, W), and their truth, changed at random together."""
        ...

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What is trained on, a mean over the batch, ()."""
        ...

    def imitation(self, outputs: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
        """How far outputs are from those wanted, of another network, ()."""
        ...

    def quality(self, outputs: NDArray[np.float32], targets: Targets) -> Quality:
        """What counts, of each example, (N,)."""
        ...

    def judged(self, outputs: NDArray[np.float32], targets: Targets) -> tuple[Quality, list[Any]]:
        """`quality`, and the evidence of each example that `figures` need, small; none where there are no figures."""
        ...

    def figures(self, evidence: Sequence[Any]) -> dict[str, float]:
        """Numbers of a whole split that are no mean over its examples, by name, fractions; papers report these."""
        ...

    def in_file(self) -> dict[str, Any]:
        """What a file says of the network's outputs, JSON values, beside what its plan says."""
        ...

    def check_split(self, split: Split, classes: int, where: str) -> None:
        """Raise ValueError where the truth is missing, or names a class that there is not."""
        ...

    def remarks(self, splits: Splits) -> Iterator[str]:
        """What whoever reads the report should know of the data."""
        ...

    def check_outputs(self, outputs: torch.Tensor, example: torch.Tensor, classes: int, where: str) -> None:
        """Raise ValueError where outputs for two images cannot be answers."""
        ...
