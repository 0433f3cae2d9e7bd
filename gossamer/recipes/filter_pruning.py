# SPDX-License-Identifier: Apache-2.0
"""filter-pruning: any criterion with any rate and any tuning, for comparisons on equal terms.

    score    each filter by a criterion of `gossamer.filters`
    rate     within a budget of multiply-adds, by a rule of `gossamer.rates`
    tune     with labels, by distillation from the original, or grafted; in one step or several

Its controls: filters `at-random`, `uniform` rates, and `scratch`, the same shape trained from random weights.

Cost: a training of `--epochs` for each rung, and what the criterion costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gossamer import filters, rates
from gossamer.filters import AtRandom, Criterion
from gossamer.graph import Group, Network
from gossamer.near import meant
from gossamer.rates import Global, Rule
from gossamer.recipes.cut_filters import IMAGES, Cut, climb_cuts
from gossamer.search.candidate import Candidate
from gossamer.search.evidence import untied
from gossamer.search.run import Run

#: Criteria whose scores mean the same in all layers; those of others are divided by their layer's mean.
OF_ONE_SIZE = ("batch-norm-scale", "taylor")


@dataclass(frozen=True)
class FilterPruning:
    """`criterion` and `rate`: names of methods. `tied`: cut groups that sums tie together too.

    `macs`: the share of multiply-adds that is left, in `steps` cuts; 0 climbs a ladder. `images`: that are asked about.
    `multiple`: of channels that wide layers keep (`Cut`).
    """

    criterion: str = "l1-norm"
    rate: str = "uniform"
    macs: float = 0.0
    steps: int = 1
    tuning: str = "labels"
    scratch: bool = False
    tied: bool = True
    images: int = IMAGES
    multiple: int = 1

    def __post_init__(self) -> None:
        methods: tuple[Mapping[str, Any], Mapping[str, Any]] = filters.METHODS, rates.METHODS
        criteria = [name for name, method in methods[0].items() if method.needs != "learned"]
        rules = [name for name, rule in methods[1].items() if rule.needs in ("scores", "filters")]
        for what, known in (("criterion", criteria), ("rate", rules)):
            if (got := getattr(self, what)) not in known:
                raise ValueError(
                    f"{what} of filter-pruning must be one of {', '.join(known)}, got '{got}'{meant(got, known)}"
                )
        self._cut()

    def _cut(self, seed: int = 0) -> Cut:
        methods: Mapping[str, Any] = filters.METHODS
        criterion: Criterion = AtRandom(seed) if self.criterion == "at-random" else methods[self.criterion]()
        rule: Rule = Global(scaled=self.criterion not in OF_ONE_SIZE) if self.rate == "global" else _rule(self.rate)
        groups = _prunable if self.tied else untied
        return Cut(
            criterion,
            rule,
            groups,
            tuning=self.tuning,
            macs=self.macs,
            steps=self.steps,
            scratch=self.scratch,
            images=self.images,
            multiple=self.multiple,
        )

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        return climb_cuts(run, "filter-pruning", self._cut(run.settings.seed))


def _rule(name: str) -> Rule:
    rules: Mapping[str, Any] = rates.METHODS
    rule: Rule = rules[name]()
    return rule


def _prunable(network: Network) -> list[Group]:
    return network.prunable
