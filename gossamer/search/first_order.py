# SPDX-License-Identifier: Apache-2.0
"""First order: what the loss changes by when a channel goes, by the gradient at the trained weights.

A gate z on a channel, 1 now and 0 when the channel is gone, changes the loss by about -dL/dz. Behind batch norms
dL/dz is the sum of gradient times weight over their scale and shift; elsewhere over filter and bias.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.graph import Group, Network

GATED = (("scale", "shift"), ("row", "bias"))  # the first of these roles that a group has


def loss_changes(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, NDArray[np.float64]]:
    """For each group that may be cut, (batches, K): dL/dz on each batch of inputs (N, C, H, W) and targets (N,).

    `loss`: outputs and targets -> (). The network, in evaluation form, is left as it is.
    """
    network = network.copy()
    network.module.eval()
    tensors, groups = network.tensors, network.prunable
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for inputs, targets in batches:
        network.module.zero_grad()
        loss(network.module(inputs), targets).backward()  # type: ignore[no-untyped-call]
        products = {
            name: tensor.detach() * tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
            for name, tensor in tensors.items()
            if isinstance(tensor, torch.nn.Parameter)
        }
        for group in groups:
            found[group.name].append(_summed(group, products))
    return {name: np.stack(rows) for name, rows in found.items()}


def _summed(group: Group, products: dict[str, Tensor]) -> NDArray[np.float64]:
    total = np.zeros(group.size)
    for roles in GATED:
        members = [m for m in group.members if m.role in roles and m.tensor in products]
        if any(m.role == roles[0] for m in members):
            for member in members:
                total += member.matrix(products).double().sum(dim=1).numpy()
            break
    return total
