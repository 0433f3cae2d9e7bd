# SPDX-License-Identifier: Apache-2.0
"""layer-entropy: rates from the entropy of each layer, set in one shot; the slim network trained by joint grafting.

Paper: Y. Wei, Y. Chen, Acta Electronica Sinica 50(10), 2022, 2398-2408, doi 10.12263/DZXB.20201372.

    rate    r_l = (H_l / max_j H_j)^g, g by the budget of multiply-adds     (`gossamer.rates.layer_entropy`)
    cut     in each layer the filters of the smallest L1 norm
    train   two copies side by side, grafted after each epoch               (`gossamer.tuning.grafting`)

Cost: a training of `--epochs` for each rung and copy.

Differs from the paper: reconstructed from its abstract; what is read into it is listed in these two files.
1. Filters keep their weights; `scratch` starts from random ones. The abstract does not say which.
2. Only layers that no sum ties to others are cut: the first of each basic block, every convolution of a VGG, of
   MobileNetV2 the hidden widths, and first and last layer where no sum reads them. A hidden width's entropy is that of
   the expansion.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.filters import L1Norm
from gossamer.rates import LayerEntropy as Rates
from gossamer.recipes.cut_filters import Cut, climb_cuts
from gossamer.search.candidate import Candidate
from gossamer.search.evidence import untied
from gossamer.search.run import Run
from gossamer.tuning import Grafting


@dataclass(frozen=True)
class LayerEntropy:
    """`macs`: the share of multiply-adds that is left; 0 climbs a ladder. `joint`: graft by both entropies.

    `tuning` may also be labels or distillation, which are the controls of grafting. `exponent`: g, told instead of a
    budget; 1 is the rule without a parameter. `multiple`: of channels that wide layers keep (`Cut`).
    """

    macs: float = 0.0
    relation: str = "power"
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
        rule = Rates(self.relation, self.floor)
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
        return climb_cuts(run, "layer-entropy", self._cut())
