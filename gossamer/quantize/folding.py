# SPDX-License-Identifier: Apache-2.0
"""Folding: the batch norm behind a convolution as a factor of its weights.

In evaluation y = gamma (W * x - mean) / sqrt(var + eps) + beta, so a deployed convolution has the weights
W' = W gamma / sqrt(var + eps), one factor an output channel. Zeros and grids are chosen on W': that is what the
file stores, and an error of W' is an error of the output whatever the scale of W is.

While a network is tuned, the factors are those of its start. Following them instead is unstable: the batch norm
of a filter whose weights are all zero sees no variance, so its factor, and with it the filter, explodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.graph import Layer, Network


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
    if layer.kind == "conv_transpose" and layer.groups > 1:  # (inputs, outputs of a group, ...): each group has its own
        rows = factor.reshape(layer.groups, -1).repeat_interleave(len(weight) // layer.groups, 0)
        return rows.reshape(*weight.shape[:2], *shape[2:])
    shape[1 if layer.kind == "conv_transpose" else 0] = -1
    return factor.reshape(shape)


def settle(
    network: Network, exported: Mapping[str, NDArray[np.generic]], stored: Mapping[str, NDArray[np.generic]]
) -> None:
    """Give a network, in place, the weights and biases that its file holds, so that it computes what the file does.

    `exported` are the deployed tensors by name, folded and bare; `stored` the same as the file rounded them.
    """
    values = network.tensors
    factors = fold_factors(network.layers, values)
    with torch.no_grad():
        for layer in network.layers:
            if layer.name not in stored:  # a weight that the network computes: it is a constant of the graph
                continue
            weight, factor = values[layer.name], factors[layer.name]
            turned = _turned(exported[layer.name], weight * factor)
            weight.copy_(_like(stored[layer.name].T if turned else stored[layer.name], weight) / factor)
        for bias, name in _biases(network).items():
            if bias in stored:
                values[name] += _like(stored[bias], values[name]) - _like(exported[bias], values[name])


def _turned(exported: NDArray[np.generic], folded: Tensor) -> bool:
    """Whether a weight is deployed transposed: a product of matrices reads (inputs, outputs)."""
    if exported.ndim != 2 or exported.shape != folded.shape[::-1]:
        return False
    here, there = (_like(array, folded) for array in (exported, exported.T))
    square = exported.shape == folded.shape
    return not square or bool((there - folded).abs().sum() < (here - folded).abs().sum())


def settled_names(network: Network) -> set[str]:
    """Names of the deployed tensors that `settle` can give to a network, where the exported graph has them."""
    return {layer.name for layer in network.layers} | _biases(network).keys()


def _biases(network: Network) -> dict[str, str]:
    """The network's own bias for each deployed one: the layer's, or that of a norm which no other layer shares."""
    norms = Counter(layer.norm.mean for layer in network.layers if layer.norm)
    found = {}
    for layer in network.layers:
        bias = layer.name.removesuffix(".weight") + ".bias"
        name = layer.norm.bias if layer.norm else bias
        alone = layer.norm is None or norms[layer.norm.mean] == 1
        if alone and name in network.tensors:
            found[bias] = name
    return found


def _like(array: NDArray[np.generic], tensor: Tensor) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32)).to(tensor)
