# SPDX-License-Identifier: Apache-2.0
"""Idle channels: those whose filters, or everything that reads them, training has made zero.

They still cost arithmetic, and a bias each in the file. A channel that nothing reads goes exactly; one whose filters
are zero gives the same number everywhere, and only at the borders of maps is that not what the next batch norm's mean
takes over once it is estimated again.

Runtimes like some counts better than others: with 59 of 64 channels ONNX Runtime leaves its blocked layout, and a
ResNet-56 of a fraction of the bytes was slower than whole. So idle channels may stay where the count would be odd;
zeros cost hardly a bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.graph import Network
from gossamer.search.latency_table import step_of
from gossamer.search.widths import Keep


def keep_busy(network: Network, multiple: int = 1) -> Keep:
    """What to keep, bool (K,), of each group that has idle channels; nothing only where the branch may end.

    In wide groups, as many idle ones stay as make the count a multiple of `multiple`.
    """
    tensors = network.tensors
    keep: Keep = {}
    ended: list[str] = []
    for group in network.prunable:
        busy = _any(group.rows(tensors)) & _any(group.columns(tensors))
        most = int(np.bincount(group.part, busy).max())  # each part keeps equally many
        if most == 0 and network.can_end(*ended, group.name):
            ended.append(group.name)
        most = most or int(group.name not in ended)
        step = step_of(group, multiple)
        count = min(group.size, step * math.ceil(most * group.multiple_of / step))
        row = group.best(busy.astype(np.float64), count)
        if not row.all():
            keep[group.name] = row
    return keep


def cut_beside(network: Network, keep: Keep, beside: Mapping[str, Tensor]) -> tuple[Network, dict[str, Tensor]]:
    """`network` cut, and tensors that broadcast to its weights cut in the same way."""
    shadow = network.copy()
    with torch.no_grad():
        for name, tensor in beside.items():
            shadow.tensors[name].copy_(tensor.expand_as(shadow.tensors[name]))
    left = shadow.cut(keep).tensors
    cut = {name: _narrowed(left[name].detach(), tensor) for name, tensor in beside.items() if name in left}
    return network.cut(keep), cut


def in_original(original: Network, parent: Network, before: Keep, keep: Keep) -> Keep:
    """What is kept of the original's groups when `keep` is cut out of `parent`, of which `before` was kept."""
    rows = {group.name: np.ones(group.size, np.bool_) for group in original.groups}
    rows |= {name: row.copy() for name, row in before.items()}
    for name, channels in original.channels_of(parent).items():
        for (group, place), stays in zip(channels, keep.get(name, np.ones(len(channels), np.bool_)), strict=True):
            rows[group][place] &= stays
    return {name: row for name, row in rows.items() if not row.all()}


def _any(matrices: list[Tensor]) -> NDArray[np.bool_]:
    """Which channels have anything but zeros in one of some matrices (K, features)."""
    found: NDArray[np.bool_] = torch.stack([(matrix != 0).any(dim=1) for matrix in matrices]).any(dim=0).cpu().numpy()
    return found


def _narrowed(cut: Tensor, tensor: Tensor) -> Tensor:
    """One slice along each dim in which `tensor` has one."""
    for dim, size in enumerate(tensor.shape):
        if size == 1:
            cut = cut.narrow(dim, 0, 1)
    return cut.clone()
