# SPDX-License-Identifier: Apache-2.0
"""network-slimming: train under a penalty on the scales of batch norms, cut what they scale to nothing, tune.

Paper: Z. Liu, J. Li, Z. Shen, G. Huang, S. Yan, C. Zhang, "Learning Efficient Convolutional Networks through Network
Slimming", ICCV 2017, arXiv 1708.06519.

    train   loss + penalty sum |gamma|                              (`gossamer.tuning.batch_norm_l1`)
    cut     one threshold over all |gamma|                          (`gossamer.rates.global_threshold`)
    tune    with labels; again from the start, on the result, for several passes

Cost: a training of `--epochs` for each rung, the part under the penalty within it.

Differs from the paper:
1. The trained network goes on under the penalty for `penalised` of a rung's epochs; the paper trains from nothing.
2. Each rung of the ladder is a pass of the paper's multi-pass scheme, and is judged on the selection split.
3. No layer falls below 5 % of its channels; the paper leaves at least half in each pass.
4. Only channels that no sum ties to other layers are cut, as the paper cuts ResNets, without its channel selection.
5. The penalty is on the scales of these channels alone; the paper's is on all scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gossamer.filters import BatchNormScale
from gossamer.graph import Group, Network
from gossamer.rates import Global
from gossamer.recipes.cut_filters import Cut, climb_cuts
from gossamer.search.candidate import Candidate
from gossamer.search.evidence import untied
from gossamer.search.pace import measure_pace
from gossamer.search.run import Run
from gossamer.tuning import BatchNormL1

FLOOR = 0.05  # of the channels of a group, so that no layer is emptied


@dataclass(frozen=True)
class NetworkSlimming:
    """`channels` or `macs`: the share that is left; with neither, a ladder of multiply-adds. `passes`: cuts on the way.

    `penalty`: 1e-4 for VGG, 1e-5 for ResNet and DenseNet in the paper, which trains for 160 epochs. `multiple`: of
    channels that wide layers keep (`Cut`).
    """

    channels: float = 0.0
    macs: float = 0.0
    passes: int = 1
    penalty: float = 1e-4
    penalised: float = 0.5
    tuning: str = "labels"
    multiple: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.penalised < 1:
            raise ValueError(f"penalised of network-slimming must be a share of the epochs, got {self.penalised}")
        if self.channels and self.macs:
            raise ValueError("expected channels or macs of network-slimming, got both; leave one out")
        BatchNormL1((), self.penalty)
        self._cut()

    def _cut(self) -> Cut:
        return Cut(
            BatchNormScale(),
            Global(floor=FLOOR),
            slimmable,
            tuning=self.tuning,
            macs=self.macs,
            channels=self.channels,
            steps=self.passes,
            prepare=self._prepare,
            multiple=self.multiple,
        )

    def _prepare(self, run: Run, network: Network, epochs: int, folder: Path, phase: str) -> int:
        """Train under the penalty, in place; returns for how many epochs."""
        penalised = min(epochs - 1, max(1, round(self.penalised * epochs)))
        if penalised < 1:
            run.note(f"{folder.name}: too few epochs for a training under the penalty beside the one after the cut")
            return 0
        scales = [member.tensor for group in slimmable(network) for member in group.members if member.role == "scale"]
        plugs = (BatchNormL1(scales, self.penalty),)
        numerics, words = measure_pace(run).numerics, "under the penalty"
        run.tune(network.module, plugs, numerics, penalised, folder, words, phase, preparing=True)
        return penalised

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        slimmable(run.network)
        return climb_cuts(run, "network-slimming", self._cut())


def slimmable(network: Network) -> list[Group]:
    """The groups that a batch norm scales and that no sum ties to other layers."""
    tensors = network.module.state_dict()
    groups = [group for group in untied(network) if group.scales(tensors)]
    if not groups:
        raise ValueError(
            "expected batch norms behind layers whose channels can be cut, as network slimming needs them, found none; "
            "take another recipe"
        )
    return groups
