# SPDX-License-Identifier: Apache-2.0
"""Trained codebook: the shared values of each layer are learned while every weight keeps its place among them.

Paper: S. Han, H. Mao, W. J. Dally, "Deep Compression", ICLR 2016, arXiv 1510.00149, section 3.3.

    W_ij = C_k, k = I_ij, with I fixed
    dL/dC_k = sum_ij dL/dW_ij 1(I_ij = k)

Cost: a look-up and a sum over the weights in each step.

Differs from the paper:
1. Zero, the value of pruned weights, is not trained.
2. Of a tensor, the learning rate is that of single weights divided by the mean number of weights that share a value.
   The paper gives no rate. A sum over n weights is some n times as steep as one weight's gradient, and n differs by
   orders of magnitude between layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossamer.quantize.codebook import Codebook
from gossamer.tuning.plug import Learned, Plug, Weights


class TrainedCodebook(Plug):
    """Weights by name become values of their codebooks; the places are those of `weights` at the start."""

    def __init__(self, codebooks: Mapping[str, Codebook], weights: Mapping[str, Tensor]) -> None:
        self.places: dict[str, Tensor] = {}
        self.values: dict[str, Tensor] = {}
        self.zeros = {name: book.zero for name, book in codebooks.items()}
        for name, book in codebooks.items():
            places = book.integers(weights[name].detach().cpu().numpy()) + book.zero
            self.places[name] = torch.from_numpy(places.astype(np.int64))
            self.values[name] = torch.from_numpy(book.values.copy()).requires_grad_()

    def parameters(self) -> dict[str, Learned]:
        """The values of each codebook, (K,)."""
        learned = {}
        for name, values in self.values.items():
            sharing = int((self.places[name] != self.zeros[name]).sum()) / max(1, len(values) - 1)
            learned[name] = Learned(values, 1 / max(1.0, sharing))
        return learned

    def transform(self, weights: Weights) -> Weights:
        """Each weight replaced by its shared value."""
        return weights | {
            name: Lookup.apply(self.values[name], self._on(name), self.zeros[name]) for name in self.values
        }

    def codebooks(self) -> dict[str, Codebook]:
        """What the values are by now; those that met in training are one."""
        return {name: Codebook(np.unique(values.detach().cpu().numpy())) for name, values in self.values.items()}

    def state(self) -> Weights:
        """The values and the places, by weight name."""
        places = {f"places/{name}": places for name, places in self.places.items()}
        return places | {f"values/{name}": values.detach() for name, values in self.values.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self.places = {name: state[f"places/{name}"] for name in self.places}
        with torch.no_grad():
            for name, values in self.values.items():
                values.copy_(state[f"values/{name}"])

    def _on(self, name: str) -> Tensor:
        """The places of a tensor on the device of its values."""
        self.places[name] = self.places[name].to(self.values[name].device)
        return self.places[name]


class Lookup(torch.autograd.Function):
    """values (K,), places (...) -> values[places]; backward sums over the weights that share a value."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor, zero: int) -> Tensor:
        """The value of each place."""
        ctx.save_for_backward(places)
        ctx.count, ctx.zero = len(values), zero
        return values[places]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """dL/dC_k, (K,); none for zero."""
        (places,) = ctx.saved_tensors
        sums = torch.bincount(places.reshape(-1), gradients[0].reshape(-1), minlength=ctx.count)
        sums[ctx.zero] = 0
        return sums.to(gradients[0].dtype), None, None
