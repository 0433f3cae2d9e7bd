# SPDX-License-Identifier: Apache-2.0
"""Sensitivity: what the network's outputs lose when one group of channels becomes narrower, the others whole.

    loss_g(k) = mean distance(original, network in which group g keeps its k best channels)

the distance being that of the task's kind, KL in nats where images or pixels have classes.

Channels that go are silenced, not cut: the weights that read them are zero, which is the same. Batch norms use the
statistics of the batch, as re-estimation would give them (EagleEye: B. Li et al., ECCV 2020, arXiv 2007.02491), so a
group is measured in a few passes, at a few counts; between these the loss is interpolated. A loss never falls as
channels go: what noise says otherwise is levelled.

Losses of several groups are added up by who uses them. That holds while they are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.graph import Group, Network

Distance = Callable[[Tensor, Tensor], Tensor]
LEVELS = (0.0, 0.125, 0.25, 0.5, 0.75)  # shares of a group's channels kept; at 1 nothing is lost


@dataclass(frozen=True)
class Sensitivity:
    """The loss of keeping `counts` channels, ascending; the last count is the whole group, and its loss 0."""

    counts: tuple[int, ...]
    losses: tuple[float, ...]

    def loss(self, count: int) -> float:
        """The mean distance, interpolated."""
        return float(np.interp(count, self.counts, self.losses))


def measure_sensitivities(
    network: Network,
    scores: Mapping[str, NDArray[np.floating]],
    batches: Sequence[Tensor],
    distance: Distance,
    *,
    may_end: set[str],
) -> Iterator[tuple[str, Sensitivity]]:
    """One group after the other of those that have `scores` (K,), asked with `batches` of inputs (N, C, H, W).

    `distance`: (outputs, outputs wanted) -> (), a mean over the images. Only groups named in `may_end` are asked what
    they lose with no channel at all. The network is left as it is.
    """
    network = network.copy()
    module = network.module
    groups = [group for group in network.groups if group.name in scores]
    with torch.no_grad():
        module.eval()
        wanted = [module(batch) for batch in batches]
        module.train()
        untouched = mean_distance(distance, network, batches, wanted)
        for group in groups:
            counts = _counts(group, group.name in may_end)
            losses = []
            for count in counts[:-1]:
                with silenced(network, group, group.best(scores[group.name], count)):
                    losses.append(max(0.0, mean_distance(distance, network, batches, wanted) - untouched))
            level = np.maximum.accumulate([0.0, *losses[::-1]])[::-1]
            yield group.name, Sensitivity(tuple(counts), tuple(level.tolist()))


@contextmanager
def silenced(network: Network, group: Group, keep: NDArray[np.bool_]) -> Iterator[None]:
    """The network with the channels that `keep`, bool (K,), leaves out read as zero; its weights are put back after."""
    tensors = network.tensors
    before: dict[str, Tensor] = {}
    for member in group.members:
        if member.role == "column":
            weight = tensors[member.tensor].data
            before.setdefault(member.tensor, weight.clone())
            slots = torch.from_numpy(member.index[~keep].ravel()).to(weight.device)
            (weight.flatten(0, 1) if member.ragged else weight.movedim(member.dim, 0))[slots] = 0
    try:
        yield
    finally:
        for name, weight in before.items():
            tensors[name].data.copy_(weight)


def _counts(group: Group, may_end: bool) -> list[int]:
    """The counts asked about, whole parts each, ascending; the whole group last."""
    step = group.multiple_of
    counts = {step * round(level * group.size / step) for level in LEVELS} | {group.size}
    return sorted(count for count in counts if count or may_end)


def mean_distance(distance: Distance, network: Network, batches: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Of a network's outputs from those `wanted` of each batch, in the mode that it is in; a mean over all images."""
    images = sum(len(batch) for batch in batches)
    pairs = zip(batches, wanted, strict=True)
    with torch.random.fork_rng(devices=[]):  # what the caller draws next is his own
        torch.manual_seed(0)  # dropout draws the same each time
        return sum(len(batch) * float(distance(network.module(batch), good)) for batch, good in pairs) / images
