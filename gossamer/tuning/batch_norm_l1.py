# SPDX-License-Identifier: Apache-2.0
"""Batch-norm L1: a penalty on the scales of batch norms, so that channels that matter little are scaled to nothing.

Paper: Z. Liu, J. Li, Z. Shen, G. Huang, S. Yan, C. Zhang, "Learning Efficient Convolutional Networks through Network
Slimming", ICCV 2017, arXiv 1708.06519, section 3. Loss: task + strength sum |gamma|, by its subgradient,

    d / d gamma += strength sign(gamma)

Cost: one addition a scale and step.

Differs from the paper: nothing known; the strength is 1e-4 there for VGG, 1e-5 for ResNet and DenseNet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from gossamer.tuning.plug import Plug


class BatchNormL1(Plug):
    """`names` are the scales that are pressed towards zero."""

    def __init__(self, names: Iterable[str], strength: float = 1e-4) -> None:
        if not strength > 0:
            raise ValueError(f"strength must be positive, got {strength}")
        self.names, self.strength = tuple(dict.fromkeys(names)), strength

    def after_backward(self, weights: Mapping[str, Tensor]) -> None:
        """Add the subgradient; a scale that is zero stays zero as far as the penalty goes."""
        for name in self.names:
            scale = weights[name]
            if scale.grad is not None:
                scale.grad.add_(scale.detach().sign(), alpha=self.strength)
