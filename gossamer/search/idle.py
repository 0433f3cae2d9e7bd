# SPDX-License-Identifier: Apache-2.0
"""Idle channels: those whose filters, or everything that reads them, training has made zero.

They still cost arithmetic, and a bias each in the file. A channel that nothing reads goes exactly. One whose filters
are zero gives the same number everywhere: its bias, through whatever stands behind. Where that is 0 it goes exactly;
else what it adds to the layers that read it goes into their biases, which is exact where they add the same at every
position: linear layers, and convolutions without padding. A padded convolution does not, at the borders of its maps,
nor has every layer a bias; such a channel is busy, unless a batch norm stands behind: that takes the constant over, in
its mean, exactly where the map has no border, and wherever its statistics are estimated again as well as a mean can.

Runtimes like some counts better than others: with 59 of 64 channels ONNX Runtime leaves its blocked layout, and a
ResNet-56 of a fraction of the bytes was slower than whole. So idle channels may stay where the count would be odd;
zeros cost hardly a bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.graph import Group, Layer, Network
from gossamer.graph.groups import Member
from gossamer.graph.walk import Stop, walk
from gossamer.search.latency_table import step_of
from gossamer.search.widths import Keep

IMAGES = 2
SAME = 1e-5  # relative to the constant: pooling adds it up in some order


def keep_busy(network: Network, multiple: int = 1) -> Keep:
    """What to keep, bool (K,), of each group that has idle channels; nothing only where the branch may end.

    In wide groups, as many idle ones stay as make the count a multiple of `multiple`.
    """
    tensors = network.tensors
    silent = {group.name: ~_any(group.rows(tensors), group.size) for group in network.prunable}
    read = {group.name: _any(group.columns(tensors), group.size) for group in network.prunable}
    constant = [group for group in network.prunable if (silent[group.name] & read[group.name]).any()]
    goes = _taken_over(network, constant)
    keep: Keep = {}
    ended: list[str] = []
    for group in network.prunable:
        busy = read[group.name] & ~(silent[group.name] & goes.get(group.name, np.True_))
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


def without_idle(network: Network, keep: Keep) -> Network:
    """`network` cut to what `keep_busy` keeps; what the channels that go added to its readers is in their biases."""
    left = network.copy()
    groups = [group for group in network.prunable if group.name in keep]
    with torch.no_grad():
        for stop, layer, read in _readers(network, groups):
            mask = torch.zeros_like(network.tensors[layer.name])
            for group, member in read:
                _slots(mask, member)[member.index[~keep[group.name]].ravel()] = 1
            form, weight = stop.use.form, network.tensors[layer.name]
            entering = form.inputs(stop.inputs[0]).mean(dim=1)
            if layer.kind == "conv_transpose":  # only where nothing but 0 enters, or a batch norm is behind
                continue
            added = torch.einsum("grc,gc->gr", form.matrices(mask * weight), entering).flatten()
            if stop.use.bias:
                left.tensors[stop.use.bias] += added
            elif layer.norm and _read_once(network, layer.norm.mean):
                left.tensors[layer.norm.mean] -= added
    return left.cut(keep)


def _taken_over(network: Network, groups: Sequence[Group]) -> dict[str, NDArray[np.bool_]]:
    """Of each group the channels, bool (K,), that can go if they give the same whatever the image."""
    found = {group.name: np.ones(group.size, np.bool_) for group in groups}
    seen: set[str] = set()
    for stop, layer, read in _readers(network, groups):
        entering = stop.use.form.inputs(stop.inputs[0])  # (matrices, positions, C)
        low, high = entering.amin(dim=1), entering.amax(dim=1)
        in_the_way = torch.maximum(low.abs(), high.abs()) > 0
        if layer.norm:
            in_the_way[:] = False
        elif _read_once(network, layer.name, stop.use.bias) and layer.kind != "conv_transpose":
            in_the_way &= high - low > SAME * torch.maximum(low.abs(), high.abs())
        seen.add(layer.name)
        matrices = stop.use.form.matrices(network.tensors[layer.name])
        by_weight = stop.use.form.weight(in_the_way[:, None].expand_as(matrices), layer.shape)
        for group, member in read:
            found[group.name] &= ~member.matrix({layer.name: by_weight}).any(dim=1).numpy()
    for group in groups:
        if not {member.tensor for member in group.members if member.role == "column"} <= seen:
            found[group.name][:] = False
    return found


def _readers(network: Network, groups: Sequence[Group]) -> Iterator[tuple[Stop, Layer, list[tuple[Group, Member]]]]:
    """Every use of a layer that reads some of the groups, on images of noise: what it is, and which members it has."""
    if not groups or len(network.example) != 1:
        return
    reading: dict[str, list[tuple[Group, Member]]] = {}
    for group in groups:
        for member in group.members:
            if member.role == "column":
                reading.setdefault(member.tensor, []).append((group, member))
    layers = {layer.name: layer for layer in network.layers}
    (example,) = network.example
    noise = torch.randn(IMAGES, *example.shape[1:], generator=torch.Generator().manual_seed(0)).to(example)
    for stop in walk(network, [noise]):
        if stop.use.layer in reading:
            yield stop, layers[stop.use.layer], reading[stop.use.layer]


def _read_once(network: Network, *names: str | None) -> bool:
    """Whether these tensors are there, and the network reads each in one place."""
    nodes = network.evaluation_graph.find_nodes(op="get_attr")
    return all(sum(len(node.users) for node in nodes if node.target == name) == 1 for name in names)


def _slots(weight: Tensor, member: Member) -> Tensor:
    """The view of a weight of which a member's index counts the slots."""
    return weight.flatten(0, 1) if member.ragged else weight.movedim(member.dim, 0)


def cut_beside(network: Network, keep: Keep, beside: Mapping[str, Tensor]) -> tuple[Network, dict[str, Tensor]]:
    """`network` cut, and tensors that broadcast to its weights cut in the same way."""
    shadow = network.copy()
    with torch.no_grad():
        for name, tensor in beside.items():
            shadow.tensors[name].copy_(tensor.expand_as(shadow.tensors[name]))
    left = shadow.cut(keep).tensors
    cut = {name: _narrowed(left[name].detach(), tensor) for name, tensor in beside.items() if name in left}
    return without_idle(network, keep), cut


def in_original(original: Network, parent: Network, before: Keep, keep: Keep) -> Keep:
    """What is kept of the original's groups when `keep` is cut out of `parent`, of which `before` was kept."""
    rows = {group.name: np.ones(group.size, np.bool_) for group in original.groups}
    rows |= {name: row.copy() for name, row in before.items()}
    for name, channels in original.channels_of(parent).items():
        for (group, place), stays in zip(channels, keep.get(name, np.ones(len(channels), np.bool_)), strict=True):
            rows[group][place] &= stays
    return {name: row for name, row in rows.items() if not row.all()}


def _any(matrices: list[Tensor], size: int) -> NDArray[np.bool_]:
    """Which of `size` channels have anything but zeros in one of some matrices (K, features); all, where there is none.

    What only a batch norm or the sum of a branch reads has no matrix: nothing says that it is idle.
    """
    if not matrices:
        return np.ones(size, np.bool_)
    found: NDArray[np.bool_] = torch.stack([(matrix != 0).any(dim=1) for matrix in matrices]).any(dim=0).cpu().numpy()
    return found


def _narrowed(cut: Tensor, tensor: Tensor) -> Tensor:
    """One slice along each dim in which `tensor` has one."""
    for dim, size in enumerate(tensor.shape):
        if size == 1:
            cut = cut.narrow(dim, 0, 1)
    return cut.clone()
