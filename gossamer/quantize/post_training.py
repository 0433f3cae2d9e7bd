# SPDX-License-Identifier: Apache-2.0
"""A network on integer grids without training: layer after layer, each on what the layers before it now give.

    original   ─ x ─▶ W                     A, B: second_order        integers: rate_distortion
    quantized  ─ y ─▶ W' = W X Y^-1  ─▶ D Q          what Q does to the mean output goes into the norm or the bias

Papers: those of `second_order` and `rate_distortion`; E. Frantar, D. Alistarh, "Optimal Brain Compression", NeurIPS
2022, arXiv 2208.11580, section 5: the target of a layer is what it gave in the original network. With X = mean of
x y^T + ridge and Y = mean of y y^T + ridge, W' = W X Y^-1 is the least-squares fit of W x from y, drawn to W by the
ridge. M. Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction", ICCV 2019,
arXiv 1906.04721, section 4.2: the mean error of each output is taken out.

Differs from the papers:
1. Every quantity is of the deployed weights, batch norms folded in.
2. lambda is given relative to the network: `strength` x variance of its outputs / number of its weights.
3. A matrix of more than MOST_COLUMNS columns is cut into pieces that know nothing of each other (A block diagonal).
4. A layer that is used several times is chosen at its first use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.coding.costs import Costs
from gossamer.graph import Layer, MatrixForm, Network, walk
from gossamer.quantize.folding import fold_factors
from gossamer.quantize.integers import MANTISSA_BITS, round_mantissa
from gossamer.quantize.rate_distortion import Factored, Problem, choose_integers
from gossamer.quantize.second_order import Moments, Sensitivity, moments

MOST_COLUMNS = 4800  # of one matrix of moments: with 4,608 columns (3x3 of 512 channels) it is factored in seconds


@dataclass(frozen=True)
class RateDistortion:
    """How weights are chosen. `damping`: of A and B, relative to their mean diagonals; `ridge`: of X and Y, likewise.

    `correct`: how far W goes towards W', 0 to 1; `passes` of rounding, each with the bits of the one before.
    """

    strength: float
    damping: float = 0.01
    ridge: float = 0.1
    correct: float = 1.0
    passes: int = 3
    per_channel: bool = True

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise ValueError(f"strength must be positive, got {self.strength}")

    def quantize(
        self,
        network: Network,
        layers: Iterable[Layer],
        batches: Sequence[Tensor],
        sensitivity: Sensitivity,
        costs: Costs,
    ) -> tuple[Network, dict[str, NDArray[np.float32]]]:
        """A copy of the network with the weights of `layers` on grids, and the units of these grids.

        `batches` of inputs (N, C, H, W) calibrate, 500 images or so; `costs` asks the coder of the file. A unit is of
        the deployed weight, and broadcasts to it.
        """
        chosen = {layer.name: layer for layer in layers}
        quantized = network.copy()
        quantized.module.eval()
        values = quantized.tensors
        factors = fold_factors(chosen.values(), network.tensors)
        shared = {
            name
            for name, uses in Counter(layer.norm.mean for layer in network.layers if layer.norm).items()
            if uses > 1
        }
        weights = sum(int(np.prod(layer.shape)) for layer in chosen.values())
        strength = self.strength * sensitivity.energy / weights
        units: dict[str, NDArray[np.float32]] = {}
        for first, second in zip(walk(network, batches), walk(quantized, batches), strict=True):
            layer = chosen.get(first.use.layer)
            if layer is None or layer.name in units:
                continue
            norm = layer.norm if layer.norm and layer.norm.mean not in shared else None
            place = values[norm.mean] if norm else values[first.use.bias] if first.use.bias else None
            form = first.use.form
            form = form.in_pieces(form.matrices(values[layer.name]).shape[2], MOST_COLUMNS)
            found = moments(form, first.inputs, second.inputs)
            found = found.about_zero() if place is None else found
            before, weight = values[layer.name].detach().clone(), values[layer.name]
            gradients = sensitivity.gradients[layer.name].repeat_interleave(form.pieces, 0)
            after, units[layer.name] = self._layer(form, before, factors[layer.name], found, gradients, strength, costs)
            with torch.no_grad():
                weight.copy_(after)
                if place is not None:
                    shift = _mean_change(form, before, after, found)
                    place += shift.to(place) if norm else -shift.to(place)
        if missing := sorted(chosen.keys() - units.keys()):
            raise ValueError(
                f"expected layers of the network whose weights are its own tensors, '{missing[0]}' is none"
            )
        return quantized, units

    def _layer(
        self,
        form: MatrixForm,
        weight: Tensor,
        factor: Tensor,
        found: Moments,
        gradients: Tensor,
        strength: float,
        costs: Costs,
    ) -> tuple[Tensor, NDArray[np.float32]]:
        """The weight of one layer on a grid, and the grid's unit."""
        scale = form.matrices(factor.expand(weight.shape).double())[:, :, 0]  # (G, R)
        target = self._target(form.matrices(weight.double()), found) * scale.unsqueeze(2)
        rows = gradients / (scale.unsqueeze(2) * scale.unsqueeze(1))
        problem = Problem(
            target.numpy(),
            [Factored.of(b, self.damping) for b in rows.numpy()],
            [Factored.of(a, self.damping) for a in found.own.numpy()],
        )
        unit = self._unit(form, problem.steps(strength), weight.shape)
        steps = form.matrices(torch.from_numpy(unit).double().expand(weight.shape))[:, :, 0].numpy()

        def bits(integers: NDArray[np.int32]) -> NDArray[np.float32]:
            whole = form.weight(torch.from_numpy(integers), weight.shape).contiguous().numpy()
            return np.stack([form.matrices(torch.from_numpy(part)).numpy() for part in costs(whole)])

        integers = choose_integers(problem, steps, strength, bits, self.passes)
        on_grid = torch.from_numpy(integers * steps[:, :, None]) / scale.unsqueeze(2)
        return form.weight(on_grid, weight.shape).to(weight.dtype), unit

    def _target(self, weights: Tensor, found: Moments) -> Tensor:
        """W + correct (W' - W), (G, R, C)."""
        return weights + self.correct * (found.fit(weights, weights, self.ridge) - weights)

    def _unit(self, form: MatrixForm, steps: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float32]:
        """One unit a tensor or one an output channel, as the file can hold it."""
        if not self.per_channel:
            return round_mantissa(np.array([np.exp(np.log(steps).mean())], np.float32), MANTISSA_BITS).reshape(
                [1] * len(shape)
            )
        whole = torch.from_numpy(np.log(steps)).unsqueeze(2)
        whole = form.weight(whole.expand(-1, -1, form.matrices(torch.empty(tuple(shape))).shape[2]), shape)
        axis = 1 if form.kind == "conv_transpose" else 0
        dims = [dim for dim in range(len(shape)) if dim != axis]
        return round_mantissa(whole.mean(dims, keepdim=True).exp().float().numpy(), MANTISSA_BITS)


def _mean_change(form: MatrixForm, before: Tensor, after: Tensor, found: Moments) -> Tensor:
    """How the mean of each output channel has changed, (channels,)."""
    now = torch.einsum("grc,gc->gr", form.matrices(after.double()), found.own_mean)
    then = torch.einsum("grc,gc->gr", form.matrices(before.double()), found.mean)
    change = (now - then).reshape(form.groups, form.pieces, -1).sum(1)
    if form.kind == "conv_transpose":  # on average an output sees each place of the kernel once in so many strides
        change = change.reshape(form.groups, -1, int(np.prod(form.kernel))).sum(2) / int(np.prod(form.stride))
    return change.reshape(-1)
