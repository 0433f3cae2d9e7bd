# SPDX-License-Identifier: Apache-2.0
"""CAR: remove, one after the other, the filter whose removal costs the least accuracy.

Paper: R. Abbasi-Asl, B. Yu, "Structural Compression of Convolutional Neural Networks with Applications in
Interpretability", Frontiers in Big Data 4, 2021, 704182; arXiv 1705.07356. Classification accuracy reduction:

    CAR(i) = accuracy(network) - accuracy(network without filter i)

The filter with the smallest goes, CAR is computed anew for those that are left, and so on.

Cost: K^2 / 2 evaluations for a layer of K filters, or `shortlist` for each that goes.

Differs from the paper: the algorithm is clear from its abstract; its tables and parameters were not available.
1. Where accuracies tie, as they do when images are few, the smaller increase of the loss decides, then the L1 norm.
2. `shortlist`: only so many filters are tried at each step, those of the smallest L1 norm or, with `suspects=taylor`,
   of the smallest Taylor score; 0 tries all, as the paper.
3. `label`: accuracy on the images of one class alone, the paper's class-wise index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.filters.l1_norm import L1Norm
from gossamer.filters.matrices import Answers, FloatArray, GroupMatrices, lacking
from gossamer.filters.taylor import Taylor


@dataclass(frozen=True)
class Car:
    """Score channels by when the greedy removal comes to them.

    `share` of the channels are removed one by one; those left then share the order of their last reductions.
    """

    share: float = 0.5
    shortlist: int = 0
    label: int | None = None
    suspects: str = "l1-norm"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share of car must be in (0, 1], got {self.share}")
        if self.shortlist < 0:
            raise ValueError(f"shortlist of car must not be negative, got {self.shortlist}; 0 tries every filter")
        if self.suspects not in ("l1-norm", "taylor"):
            raise ValueError(f"suspects of car must be l1-norm or taylor, got {self.suspects!r}")

    @property
    def needs(self) -> str:
        """Answers, and gradients where they make the shortlist."""
        return "asked, changes" if self.suspects == "taylor" else "asked"

    def score(self, group: GroupMatrices) -> FloatArray:
        """Group of K channels -> (K,), higher is kept: 0 for the first to go, 1 for the second, ..."""
        scores = np.empty(group.size)
        left = list(range(group.size))
        for step, (channel, rest) in enumerate(self.removals(group)):
            scores[channel] = step
            left = rest
        scores[left] = group.size - len(left) + np.arange(len(left))
        return scores

    def removals(self, group: GroupMatrices) -> Iterator[tuple[int, list[int]]]:
        """The channels in the order in which they go, each with those that are left, the next to go first."""
        if group.asked is None:
            raise lacking("car", "answers of the network", group)
        norms = L1Norm().score(group)
        suspects = Taylor().score(group) if self.suspects == "taylor" else norms
        keep = np.ones(group.size, np.bool_)
        for _ in range(max(1, round(self.share * group.size))):
            tried = np.flatnonzero(keep)
            if len(tried) == 1:
                return
            weakest_first = tried[np.argsort(suspects[tried], kind="stable")]
            tried = weakest_first[: self.shortlist] if self.shortlist else tried
            answers = {int(i): group.asked(_without(keep, int(i))) for i in tried}
            order = sorted(answers, key=lambda i: (-self._quality(answers[i]), answers[i].loss, norms[i]))
            keep[order[0]] = False
            others = [int(i) for i in weakest_first if keep[i] and int(i) not in answers]
            yield order[0], [*order[1:], *others]

    def _quality(self, answers: Answers) -> float:
        if self.label is None:
            return answers.quality
        if not 0 <= self.label < len(answers.by_class) or np.isnan(answers.by_class[self.label]):
            raise ValueError(
                f"expected images of class {self.label} for label of car, got none; of images whose pixels or objects "
                "have classes there are none, leave it out"
            )
        return float(answers.by_class[self.label])


def class_wise_reductions(group: GroupMatrices) -> FloatArray:
    """CAR of each channel on the images of each class alone, the others whole: (K, classes)."""
    if group.asked is None:
        raise lacking("car", "answers of the network", group)
    whole = np.ones(group.size, np.bool_)
    before = group.asked(whole).by_class
    return np.stack([before - group.asked(_without(whole, i)).by_class for i in range(group.size)])


def _without(keep: NDArray[np.bool_], channel: int) -> NDArray[np.bool_]:
    rest = keep.copy()
    rest[channel] = False
    return rest
