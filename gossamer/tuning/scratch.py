# SPDX-License-Identifier: Apache-2.0
"""From scratch: a network of the same shape that has learned nothing, the control of every inherited weight.

Paper: Z. Liu, M. Sun, T. Zhou, G. Huang, T. Darrell, "Rethinking the Value of Network Pruning", ICLR 2019,
arXiv 1810.05270: the shape that pruning finds, trained from random weights. Initialisation: K. He, X. Zhang, S. Ren,
J. Sun, "Delving Deep into Rectifiers", ICCV 2015, arXiv 1502.01852, fan-out, as torchvision initialises ResNets.
"""

from __future__ import annotations

import torch
from torch import nn

from gossamer.graph import Network

AT_ONE = ("scale", "var")
AT_ZERO = ("bias", "shift", "mean")


def forget(network: Network, seed: int = 0) -> None:
    """Put random weights into convolutions and linear layers, 1 and 0 into their norms and biases, in place."""
    tensors, generator = network.tensors, torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for group in network.groups:
            for member in group.members:
                if member.role in (*AT_ONE, *AT_ZERO):
                    tensors[member.tensor].fill_(1.0 if member.role in AT_ONE else 0.0)
        for layer in network.layers:
            if layer.name in tensors:
                nn.init.kaiming_normal_(tensors[layer.name], mode="fan_out", nonlinearity="relu", generator=generator)
