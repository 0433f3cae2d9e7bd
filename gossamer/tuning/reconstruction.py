# SPDX-License-Identifier: Apache-2.0
"""Reconstruction: after a cut, each layer's weights are fitted anew, so that it gives what it gave from what is left.

Paper: Y. He, X. Zhang, J. Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017,
arXiv 1707.06168, section 3.1, equation 1 with the channels given: W' = argmin |W x - W' y|^2, x what entered the layer
before the cut and y what enters it now, layer after layer, so that the error of the earlier ones is made good too.

    W' = (W E[x y^T] + r W0) (E[y y^T] + r)^-1        W0: the weights that the cut left; r: ridge, relative to E[y y^T]

Cost: some hundred images through both networks, without labels; C^3 + R C^2 multiply-adds for a matrix (R, C).

Differs from the paper:
1. A ridge draws W' to W0, so strongly that directions in which little enters keep their weights. Images are few, a few
   hundred without labels, and batch norms behind the layers undo what the fit shrinks.
2. Means go their own way: moments are about the means, and the mean output is set right in the bias, or left to the
   batch norm behind the layer, which is to be estimated anew afterwards.
3. Layers with groups stay as they are: their filters read single channels, which a cut leaves whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gossamer.graph import Network, walk
from gossamer.graph.walk import Stop
from gossamer.quantize.post_training import MOST_COLUMNS
from gossamer.quantize.second_order import moments

RIDGE = 1.0  # ResNet-20, untrained: at half of its MACs 66 % right, with 0.03 58 %, without reconstruction 48 %


def reconstruct(before: Network, after: Network, batches: Sequence[Tensor], ridge: float = RIDGE) -> None:
    """Fit the weights of `after`, a cut of `before`, in place; `batches` of inputs (N, C, H, W)."""
    marks = _marked(before).cut(after.kept).tensors
    values, whole, seen = after.tensors, before.tensors, set[str]()
    normed = {layer.name for layer in after.layers if layer.norm}
    for first, second in _together(before, after, batches):
        use, form, form_before = second.use, second.use.form, first.use.form
        weight = values[use.layer]
        left = form.matrices(weight.detach().double())
        if use.layer in seen or len(left) > 1 or left.shape[2] > MOST_COLUMNS:
            continue
        seen.add(use.layer)
        rows = form.matrices(marks[use.layer].detach())[0, :, 0].long()
        wanted = form_before.matrices(whole[use.layer].detach().double())[:, rows]
        found = moments(form, first.inputs, second.inputs, form_before)
        in_bias = use.bias is not None and form.kind != "conv_transpose"
        fitted = (found if in_bias or use.layer in normed else found.about_zero()).fit(wanted, left, ridge)
        with torch.no_grad():
            weight.copy_(form.weight(fitted, weight.shape))
            if use.bias is not None and in_bias:
                mean = (wanted @ found.mean.unsqueeze(2) - fitted @ found.own_mean.unsqueeze(2)).reshape(-1)
                values[use.bias] += mean.to(values[use.bias])


def _marked(network: Network) -> Network:
    """A copy in which each weight says which row of its layer's matrix it stands in."""
    marked = network.copy()
    with torch.no_grad():
        for stop in walk(network, [network.example[0][:1]]):
            weight = marked.tensors[stop.use.layer]
            matrices = stop.use.form.matrices(weight)
            rows = torch.arange(matrices.shape[1], dtype=weight.dtype).reshape(1, -1, 1).expand_as(matrices)
            weight.copy_(stop.use.form.weight(rows, weight.shape))
    return marked


def _together(before: Network, after: Network, batches: Sequence[Tensor]) -> Iterator[tuple[Stop, Stop]]:
    """Both networks in front of the same layers; those whose branch has ended in `after` are passed by."""
    stops = walk(before, batches)
    for second in walk(after, batches):
        yield next(first for first in stops if first.use.layer == second.use.layer), second
