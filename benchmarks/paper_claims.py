# SPDX-License-Identifier: Apache-2.0
"""Claims of the papers' own rows: their networks at their shares of multiply-adds, on CIFAR-10.

    papers-METHOD-NETWORK            the paper's method, and where no other claim has it the dense control
    papers-METHOD-NETWORK-uniform    as many multiply-adds by uniform rates and the L1 norm, tuned in the same way

The tolerance is wide: what the share costs is the outcome, whatever it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cifar10 import EPOCH_HOURS, baseline, trained_here
from benchmarks.claim import MOBILENETV2, RESNET56, VGG16, Claim

EPOCHS = 15
_SHAPED = "--tolerance 20 --minimise macs "
_BEGINS = {
    "resnet56": RESNET56.replace("--tolerance 1 ", _SHAPED),
    "resnet110": trained_here("resnet110", "resnet110-baseline") + _SHAPED,
    "mobilenetv2": MOBILENETV2 + _SHAPED,
    "vgg16_bn": VGG16 + _SHAPED,
}
NETWORKS = {"resnet56": "ResNet-56", "resnet110": "ResNet-110", "mobilenetv2": "MobileNetV2", "vgg16_bn": "VGG-16"}


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper. `macs_cut`, `parameters_cut` in percent and `change` in points are the paper's.

    `control`: the claim whose dense network was tuned as long in the same way; empty for this row's own.
    """

    method: str
    network: str
    recipe: str
    macs_cut: float
    change: str
    parameters_cut: float | None = None
    grafted: bool = False
    control: str = ""

    @property
    def left(self) -> float:
        """The share of multiply-adds that is left."""
        return round(1 - self.macs_cut / 100, 3)

    def claims(self, name: str) -> dict[str, Claim]:
        """The method, and uniform rates with the same tuning."""
        copies, tuning = (2, ",tuning=grafting") if self.grafted else (1, "")
        hours = copies * EPOCHS * EPOCH_HOURS[self.network]
        begins = f"{_BEGINS[self.network]}--epochs {EPOCHS} "
        shows = f"{NETWORKS[self.network]} with {100 * self.left:.1f} % of its multiply-adds, as in the paper"
        beside = "" if self.control else " --control"
        option = f"{',' if ':' in self.recipe else ':'}macs={self.left}"
        return {
            name: Claim(
                f"{shows}: {self.method}",
                f"{begins}--recipe {self.recipe}{option}{beside}",
                round(hours * (2 if beside else 1), 1),
                compared=True,
            ),
            f"{name}-uniform": Claim(
                f"{shows}: uniform rates, tuned as {self.method}",
                f"{begins}--recipe filter-pruning:tied=false{tuning},macs={self.left}",
                round(hours, 1),
                compared=True,
            ),
        }


#: In the order of what they decide.
ROWS = {
    "papers-entropy-resnet56": PaperRow(
        "layer entropy",
        "resnet56",
        "layer-entropy:joint=true",
        36.2,
        "+1.00",
        grafted=True,
        control="structured-50-l1-grafted",
    ),
    "papers-slimming-vgg16": PaperRow(
        "network slimming", "vgg16_bn", "network-slimming:penalty=1e-4", 51.0, "+0.14", parameters_cut=88.5
    ),
    "papers-entropy-mobilenetv2": PaperRow(
        "layer entropy", "mobilenetv2", "layer-entropy:joint=true", 55.2, "+1.29", grafted=True
    ),
    "papers-richness-mobilenetv2": PaperRow(
        "information richness",
        "mobilenetv2",
        "information-richness:joint=true",
        53.9,
        "+1.56",
        parameters_cut=58.4,
        grafted=True,
        control="papers-entropy-mobilenetv2",
    ),
    "papers-entropy-resnet110": PaperRow(
        "layer entropy", "resnet110", "layer-entropy:joint=true", 52.4, "+1.42", grafted=True
    ),
    "papers-adversarial-resnet110": PaperRow(
        "adversarial selection", "resnet110", "adversarial-selection", 56.9, "+0.49", parameters_cut=59.2
    ),
}
PAPERS: dict[str, Claim] = {"resnet110-baseline": baseline("resnet110", "ResNet-110", 30, "channels_last bfloat16")} | {
    name: claim for row_name, row in ROWS.items() for name, claim in row.claims(row_name).items()
}
