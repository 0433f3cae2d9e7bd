# SPDX-License-Identifier: Apache-2.0
"""information-richness: rates from entropy and size of each layer's weights, outliers drawn in; then joint grafting.

Source: Y. Wei, thesis, Jiangnan University, chapter 4: constraints on abnormal information richness.

    rate    r_l = (R_l / max_j R_j)^g, g by the budget of multiply-adds     (`gossamer.rates.information_richness`)
    cut     in each layer the filters of the smallest L1 norm
    train   two copies side by side, grafted after each epoch               (`gossamer.tuning.grafting`)

Cost: a training of `--epochs` for each rung and copy.

Differs from the source: reconstructed from the thesis's abstract; what is read into it is listed in these two files.
1. Filters keep their weights; `scratch` starts from random ones.
2. Only layers that no sum ties to others are cut.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.filters import L1Norm
from gossamer.rates import InformationRichness as Rates
from gossamer.recipes.cut_filters import Cut, climb_cuts
from gossamer.search.candidate import Candidate
from gossamer.search.evidence import untied
from gossamer.search.run import Run
from gossamer.tuning import Grafting


@dataclass(frozen=True)
class InformationRichness:
    """`macs`: the share of multiply-adds that is left; 0 climbs a ladder. The others are options of its parts.

    `exponent`: g, told instead of a budget; 1 is the rule without a parameter. `multiple`: of channels
    that wide layers keep (`Cut`).
    """

    macs: float = 0.0
    balance: float = 0.5
    fusion: str = "sum"
    outliers: str = "clip"
    floor: float = 0.1
    tuning: str = "grafting"
    joint: bool = True
    copies: int = 2
    scratch: bool = False
    exponent: float = 0.0
    multiple: int = 1

    def __post_init__(self) -> None:
        self._cut()

    def _cut(self) -> Cut:
        grafting = Grafting(joint=self.joint, copies=self.copies)
        rule = Rates(self.balance, self.fusion, self.outliers, self.floor)
        return Cut(
            L1Norm(),
            rule,
            untied,
            tuning=self.tuning,
            macs=self.macs,
            exponent=self.exponent,
            scratch=self.scratch,
            grafting=grafting,
            multiple=self.multiple,
        )

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        return climb_cuts(run, "information-richness", self._cut())
