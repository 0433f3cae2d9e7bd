# SPDX-License-Identifier: Apache-2.0
"""Claims of the comparisons: each method cuts the same network to the same share and trains it for as many epochs.

NAME-SHARE-METHOD            the first seed; SHARE is what is left, in percent
NAME-SHARE-METHOD-seedN      another seed: other orders of images, and other filters at random
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cifar10 import EPOCH_HOURS
from benchmarks.claim import RESNET20, RESNET56, Claim

EPOCHS, ASKED = 15, 1000  # epochs, and images of the selection split that are asked after each of them
RESNET56_MACS = 125_485_696


@dataclass(frozen=True)
class Compared:
    """A method of a comparison: what it is, its recipe without the share, how many networks it trains at a time.

    `controlled`: the dense network is tuned as long beside the larger share. `fitted`: the share is a limit of `--fit`.
    """

    shows: str
    recipe: str
    copies: int = 1
    controlled: bool = False
    fitted: bool = False


#: Structured methods on equal terms.
_UNTIED = "filter-pruning:tied=false"
STRUCTURED = {
    "l1-uniform": Compared("L1 norm, the same share of every layer", _UNTIED, controlled=True),
    "random-uniform": Compared("filters at random", f"{_UNTIED},criterion=at-random"),
    "scratch": Compared("the same widths, trained from random weights", f"{_UNTIED},scratch=true"),
    "l2-uniform": Compared("L2 norm", f"{_UNTIED},criterion=l2-norm"),
    "median-uniform": Compared("geometric median", f"{_UNTIED},criterion=geometric-median"),
    "taylor-uniform": Compared("Taylor, the same share", f"{_UNTIED},criterion=taylor"),
    "taylor-global": Compared("Taylor, one threshold", f"{_UNTIED},criterion=taylor,rate=global"),
    "l1-three-steps": Compared("L1 norm, in three cuts", f"{_UNTIED},steps=3"),
    "l1-distilled": Compared("L1 norm, learning from the original", f"{_UNTIED},tuning=distillation", controlled=True),
    "l1-grafted": Compared("L1 norm, grafted", f"{_UNTIED},tuning=grafting", 2, controlled=True),
    "slimming": Compared("network slimming", "network-slimming:penalty=1e-4"),
    "car": Compared("greedy CAR, a shortlist of 8", "greedy-car:shortlist=8,images=512"),
    "entropy": Compared("layer entropy, grafted", "layer-entropy:joint=true", 2),
    "richness": Compared("information richness, grafted", "information-richness:joint=true", 2),
    "importance": Compared("importance weights", "importance-weights"),
    "adversarial": Compared("adversarial selection", "adversarial-selection"),
    "auto": Compared("auto, learning from the original", "auto", fitted=True),
}
#: Methods of zeroing weights on equal terms.
WEIGHT_LEVEL = {
    "stepwise": Compared("active stepwise pruning", "active-stepwise", controlled=True),
    "no-recovery": Compared("the same, nothing comes back", "active-stepwise:recovery=false"),
    "linear": Compared("the same, linear schedule", "active-stepwise:schedule=linear"),
    "cubic": Compared("the same, cubic schedule", "active-stepwise:schedule=cubic"),
    "thresholds": Compared("the same, thresholds along the logarithm", "active-stepwise:reading=threshold"),
    "one-threshold": Compared("the same, one threshold for all layers", "active-stepwise:scope=scaled"),
    "learned": Compared("learned thresholds", "learned-thresholds"),
    "learned-two-sides": Compared("learned thresholds, one on each side", "learned-thresholds:symmetric=false"),
    "surgery": Compared("dynamic network surgery", "weight-pruning:way=surgery"),
    "gradual": Compared("gradual, cubic, one threshold", "weight-pruning:way=gradual"),
    "one-shot": Compared("magnitude, at once", "weight-pruning:scope=layer"),
    "one-shot-scaled": Compared("magnitude, at once, one threshold", "weight-pruning"),
    "second-order": Compared("second order, at once", "weight-pruning:method=second-order"),
    "untrained": Compared("second order, untrained", "weight-pruning:method=second-order,way=untrained", 0),
}


@dataclass(frozen=True)
class Terms:
    """What is the same for all methods of a comparison; `minimise` and `option` say in words and recipe what is left.

    `seeds`: how often each method is trained.
    """

    begins: str
    of: str
    minimise: str
    option: str
    epoch_hours: float
    seeds: int

    def claim(self, method: Compared, left: int, seed: int) -> Claim:
        """One job; dense controls stand beside the larger share of the first seed only."""
        control = method.controlled and left in (50, 10) and seed == 0
        if method.fitted:
            words = self.begins.replace("--tolerance 1 ", "") + f"--fit macs={left * RESNET56_MACS // 100} "
            recipe = method.recipe
        else:
            words = self.begins.replace("--tolerance 1 ", "--tolerance 20 ") + f"--minimise {self.minimise} "
            recipe = f"{method.recipe}{',' if ':' in method.recipe else ':'}{self.option}={left / 100}"
        return Claim(
            f"{self.of.format(left)}: {method.shows}" + (f", seed {seed}" if seed else ""),
            f"{words}--epochs {EPOCHS} --epoch-quality {ASKED} --recipe {recipe}"
            + (f" --seed {seed}" if seed else "")
            + (" --control" if control else ""),
            round((2 if control else 1) * method.copies * EPOCHS * self.epoch_hours, 1),
            compared=True,
        )


#: By the name of the comparison, with its shares and methods.
TERMS = {
    "structured": Terms(
        RESNET56, "ResNet-56 with {} % of its multiply-adds", "macs", "macs", EPOCH_HOURS["resnet56"], seeds=2
    ),
    "weight-level": Terms(
        RESNET20, "ResNet-20 with {} % of its weights", "bytes", "kept", EPOCH_HOURS["resnet20"], seeds=3
    ),
}
SHARES: dict[str, tuple[int, int]] = {"structured": (50, 30), "weight-level": (10, 5)}
METHODS = {"structured": STRUCTURED, "weight-level": WEIGHT_LEVEL}


def name_of(comparison: str, share: int, method: str, seed: int = 0) -> str:
    """The claim of a method at a share."""
    return f"{comparison}-{share}-{method}" + (f"-seed{seed}" if seed else "")


def _claims() -> dict[str, Claim]:
    """First seeds first."""
    most = max(terms.seeds for terms in TERMS.values())
    return {
        name_of(comparison, share, name, seed): terms.claim(METHODS[comparison][name], share, seed)
        for seed in range(most)
        for comparison, terms in TERMS.items()
        if seed < terms.seeds
        for share in SHARES[comparison]
        for name in METHODS[comparison]
    }


COMPARED: dict[str, Claim] = _claims()
