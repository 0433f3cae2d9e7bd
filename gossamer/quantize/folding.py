# SPDX-License-Identifier: Apache-2.0
"""Folding: the batch norm behind a convolution as a factor of its weights.

In evaluation y = gamma (W * x - mean) / sqrt(var + eps) + beta, so a deployed convolution has the weights
W' = W gamma / sqrt(var + eps), one factor an output channel. Zeros and grids are chosen on W': that is what the
file stores, and an error of W' is an error of the output whatever the scale of W is.

While a network is tuned, the factors are those of its start. Following them instead is unstable: the batch norm
of a filter whose weights are all zero sees no variance, so its factor, and with it the filter, explodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gossamer.graph import Layer


def fold_factors(layers: Iterable[Layer], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Per weight name the factor that turns the weight into its folded weight, broadcastable to it."""
    return {layer.name: _factor(layer, weights) for layer in layers}


def _factor(layer: Layer, weights: Mapping[str, Tensor]) -> Tensor:
    weight = weights[layer.name]
    shape = [1] * weight.ndim
    if layer.norm is None:
        return torch.ones(shape, device=weight.device)
    norm = layer.norm
    scale = weights[norm.weight] if norm.weight else torch.ones_like(weights[norm.var])
    factor = (scale * torch.rsqrt(weights[norm.var] + norm.eps)).detach().clone()
    factor[factor == 0] = 1.0  # a dead channel: dividing by its factor on the way back must stay possible
    shape[1 if layer.kind == "conv_transpose" else 0] = -1
    return factor.reshape(shape)
