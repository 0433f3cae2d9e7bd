# SPDX-License-Identifier: Apache-2.0
"""learned-thresholds: each layer learns below which threshold its weights are zero, then what is left is trained.

Paper: F. Manessi, A. Rozza, S. Bianco, P. Napoletano, R. Schettini, "Automated Pruning for Deep Neural Network
Compression", ICPR 2018, arXiv 1712.01721.

    prune   weights and thresholds learn together, pulled towards zeros    (`gossamer.tuning.learned_thresholds`)
    train   what is left, zeros fixed

Cost: a training of `--epochs` for each rung.

Differs from the paper: what its abstract does not say is reconstructed, and numbered in the plug's file.
1. A ladder of shares that the pull is steered to; with `pull`, one training at that pull, as in the paper.
2. Channels that no weight makes or reads any more go from the network.
3. The file stores what is left on a fine grid, entropy-coded; the paper counts weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossamer.graph import Layer, Network
from gossamer.recipes.prune_weights import WEIGHT_DECAY, Demand, Pruning, Zeros, asked, climb_weights
from gossamer.search.candidate import Candidate
from gossamer.search.run import Run
from gossamer.tuning import LearnedThresholds as Thresholds
from gossamer.tuning import Plug
from gossamer.tuning.learned_thresholds import FIRST_PULL
from gossamer.tuning.plug import inputs_first


@dataclass(frozen=True)
class LearnedThresholds:
    """`kept`: the share of weights that the pull is steered to; 0 climbs a ladder. `pull`: held, wherever it leads.

    `symmetric`: one threshold a layer, else one on each side of zero. `pruning`: the share of epochs in which
    thresholds learn. `distil`: learn the original's outputs too, which the paper does not.
    """

    kept: float = 0.0
    pull: float = 0.0
    symmetric: bool = True
    pruning: float = 0.7
    distil: bool = False
    weight_decay: float = WEIGHT_DECAY

    def __post_init__(self) -> None:
        if self.kept and self.pull:
            raise ValueError("expected kept or pull of learned-thresholds, got both; leave one out")
        if self.pull < 0:
            raise ValueError(f"pull of learned-thresholds must be positive, or 0 to be steered, got {self.pull}")
        self._pruning()

    def _pruning(self) -> Pruning:
        def plug(run: Run, network: Network, layers: Sequence[Layer], zeros: Zeros) -> Plug:
            return Thresholds(
                [layer.name for layer in layers],
                target=None if self.pull else zeros.target,
                pull=self.pull or FIRST_PULL,
                symmetric=self.symmetric,
                inputs_first=inputs_first(layers),
            )

        return Pruning(
            plug,
            only=Demand(1.0, f"pull {self.pull:.3g}") if self.pull else asked(self.kept),
            share=self.pruning,
            distil=self.distil,
            weight_decay=self.weight_decay,
        )

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        return climb_weights(run, "learned-thresholds", self._pruning())
