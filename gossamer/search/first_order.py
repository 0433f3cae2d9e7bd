# SPDX-License-Identifier: Apache-2.0
"""First order: what the loss changes by when a channel goes, by the gradient at the trained weights.

A gate z on a channel, 1 now and 0 when the channel is gone, changes the loss by about -dL/dz. dL/dz is the sum of
gradient times weight over all weights that read the channel, whatever stands between them and its filter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.graph import Group, Network
from gossamer.tuning.gates import reading


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
    for member in reading(group):
        if member.tensor in products:
            total += member.matrix(products).double().sum(dim=1).numpy()
    return total
