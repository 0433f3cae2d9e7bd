# SPDX-License-Identifier: Apache-2.0
"""active-stepwise: prune along a logarithm and repair, epoch after epoch, then train what is left.

Paper: Wang, Xing, Liu, "Active stepwise pruning", International Journal of Computational Science and Engineering 22(4),
2020, 420-430.

    prune, train, repair   in each of the first epochs              (`gossamer.tuning.active_stepwise`)
    train                  a few more, zeros fixed

Three numbers: `kept`, `curvature`, and the epochs.

Cost: a training of `--epochs` for each rung.

Differs from the paper: reconstructed from its abstract.
1. A ladder of shares, where `kept` is not given, each rung from the last accepted one.
2. Channels that no weight makes or reads any more go from the network.
3. The file stores what is left on a fine grid, entropy-coded; the paper counts weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossamer.graph import Layer, Network
from gossamer.recipes.prune_weights import WEIGHT_DECAY, Pruning, Zeros, asked, climb_weights
from gossamer.search.candidate import Candidate
from gossamer.search.run import Run
from gossamer.tuning import ActiveStepwise as Stepwise
from gossamer.tuning import Plug
from gossamer.tuning.plug import inputs_first


@dataclass(frozen=True)
class ActiveStepwise:
    """`kept`: the share of weights that stays; 0 climbs a ladder. `pruning`: the share of epochs that prune and repair.

    `gentle`: the share of the zeros that the first layer and depthwise ones get, where layers have thresholds of their
    own; then more than `kept` stays. `distil`: learn the original's outputs too, which the paper does not. The rest is
    as in `gossamer.tuning.active_stepwise`.
    """

    kept: float = 0.0
    curvature: float = 9.0
    schedule: str = "logarithmic"
    reading: str = "share"
    scope: str = "layer"
    recovery: bool = True
    gentle: float = 1.0
    pruning: float = 0.6
    distil: bool = False
    weight_decay: float = WEIGHT_DECAY

    def __post_init__(self) -> None:
        if not 0 <= self.gentle <= 1:
            raise ValueError(f"gentle of active-stepwise must be a share in [0, 1], got {self.gentle}")
        if self.gentle < 1 and self.scope != "layer":
            raise ValueError("gentle of active-stepwise is for scope=layer; leave one of the two out")
        self._plug([], Zeros(0.5, 0.0))
        self._pruning()

    def _pruning(self) -> Pruning:
        def plug(run: Run, network: Network, layers: Sequence[Layer], zeros: Zeros) -> Plug:
            return self._plug(layers, zeros)

        return Pruning(
            plug, only=asked(self.kept), share=self.pruning, distil=self.distil, weight_decay=self.weight_decay
        )

    def _plug(self, layers: Sequence[Layer], zeros: Zeros) -> Stepwise:
        delicate = [layer.name for n, layer in enumerate(layers) if n == 0 or layer.depthwise]
        return Stepwise(
            [layer.name for layer in layers],
            target=zeros.target,
            start=zeros.start,
            curvature=self.curvature,
            schedule=self.schedule,
            reading=self.reading,
            scope=self.scope,
            recovery=self.recovery,
            gentle=dict.fromkeys(delicate, self.gentle),
            weight_decay=self.weight_decay,
            inputs_first=inputs_first(layers),
        )

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        return climb_weights(run, "active-stepwise", self._pruning())
