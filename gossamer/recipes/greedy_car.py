# SPDX-License-Identifier: Apache-2.0
"""greedy-car: in each layer the filters go whose removal, one after the other, costs the least accuracy.

Paper: R. Abbasi-Asl, B. Yu, Frontiers in Big Data 4, 2021, 704182; arXiv 1705.07356 (`gossamer.filters.car`).

    score   each layer by itself, the others whole
    rate    the same share of every layer, by the budget of multiply-adds
    tune    with labels

Cost: `shortlist` evaluations for each filter that goes; a training of `--epochs` for each rung.

Differs from the paper:
1. Accuracy is asked on images of the selection split; the paper's evaluation set is not known.
2. `shortlist`: at each step only so many filters are tried, of the smallest L1 norm, or of the smallest Taylor score
   (`suspects`); all of them, 0, is the paper, but takes K^2 / 2 evaluations for a layer of K filters.
3. Only layers that no sum ties to others are cut.
4. `label`, the name or number of a class: accuracy on its images alone, the paper's class-wise index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossamer.filters import Car
from gossamer.rates import Uniform
from gossamer.recipes.cut_filters import Cut, climb_cuts
from gossamer.search.candidate import Candidate
from gossamer.search.evidence import untied
from gossamer.search.run import Run


@dataclass(frozen=True)
class GreedyCar:
    """`macs`: the share of multiply-adds that is left; 0 climbs a ladder. `images`: that accuracy is asked on.

    `multiple`: of channels that wide layers keep (`Cut`).
    """

    macs: float = 0.0
    shortlist: int = 16
    images: int = 1000
    tuning: str = "labels"
    suspects: str = "l1-norm"
    label: str = ""
    multiple: int = 1

    def __post_init__(self) -> None:
        self._cut()

    def _cut(self, label: int | None = None) -> Cut:
        car = Car(shortlist=self.shortlist, suspects=self.suspects, label=label)
        return Cut(
            car,
            Uniform(),
            untied,
            tuning=self.tuning,
            macs=self.macs,
            images=self.images,
            multiple=self.multiple,
        )

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        return climb_cuts(run, "greedy-car", self._cut(numbered(self.label, run.task.classes)))


def numbered(label: str, classes: Sequence[str]) -> int | None:
    """The number of a class that is named, or given by its number from 0 on; None where none is.

    >>> numbered("dog", ("cat", "dog")), numbered("0", ("cat", "dog")), numbered("", ("cat", "dog"))
    (1, 0, None)
    """
    if not label:
        return None
    if label in classes:
        return classes.index(label)
    if label.isdecimal() and int(label) < len(classes):
        return int(label)
    some = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
    raise ValueError(f"label of greedy-car must be a class ({some}) or its number below {len(classes)}, got '{label}'")
