# SPDX-License-Identifier: Apache-2.0
"""Plug: how a method takes part in the one training loop.

The loop is in charge; a plug is called at named points, all of which do nothing by default. Transforms are
functional (weights in, weights out), so they work on exported networks, whose modules call no hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gossamer.graph import Layer

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Clock:
    """Where training stands: steps done of all steps, and the same as a fraction in [0, 1]."""

    step: int
    steps: int
    steps_per_epoch: int

    @property
    def fraction(self) -> float:
        """Share of all steps that are done."""
        return self.step / max(1, self.steps)


@dataclass(frozen=True)
class Batch:
    """One training batch as the losses see it: inputs (N, C, H, W), targets (N, ...), and the task's own losses.

    `loss`: (outputs, targets) -> (), a mean over the examples. `imitation`: (outputs, a teacher's outputs, temperature)
    -> (), how far the one are from the other.
    """

    inputs: Tensor
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    imitation: Callable[[Tensor, Tensor, float], Tensor]


class Learned(NamedTuple):
    """A leaf tensor that is trained beside the network, at `rate` times its learning rate and without decay."""

    tensor: Tensor
    rate: float


class Plug:
    """Base of everything that plugs into `tune`; override what the method needs."""

    taught: ClassVar[bool] = False  #: whether its loss compares with a teacher's outputs

    def parameters(self) -> dict[str, Learned]:
        """What the plug learns, by name; in `state` as well. The loop trains these very tensors, in place."""
        return {}

    def leaves(self) -> Iterable[Tensor]:
        """Leaf tensors that the plug itself trains in `after_backward`, by the gradients that it finds there."""
        return ()

    def before_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Called before each step with the raw (untransformed) parameters and buffers."""

    def transform(self, weights: Weights) -> Weights:
        """The weights that the forward pass uses instead of the raw ones; gradients flow to the raw ones."""
        return weights

    def loss(self, outputs: Tensor, teacher_outputs: Tensor | None, batch: Batch) -> Tensor | None:
        """What to train on instead of the task's own loss, a mean over the batch's examples, or None."""
        return None

    def penalty(self) -> Tensor | None:
        """A term to add to whatever is trained on, or None; called after `transform` and `loss`."""
        return None

    def after_backward(self, weights: Mapping[str, Tensor]) -> None:
        """Called when gradients are there, before the optimizer uses them."""

    def after_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Called after the optimizer changed the raw weights."""

    def words(self) -> str:
        """What whoever looks on is told beside the loss, or nothing."""
        return ""

    def state(self) -> Weights:
        """Tensors to be stored with a checkpoint."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""


def learned_by(plugs: Iterable[Plug]) -> dict[str, Learned]:
    """What all plugs learn, under names that tell the plugs apart."""
    return {f"plug{n}/{name}": own for n, plug in enumerate(plugs) for name, own in plug.parameters().items()}


class StraightThrough(torch.autograd.Function):
    """Forward: the replacement. Backward: as if nothing had been replaced (Bengio et al. 2013, 1308.3432).

    A filter replaced by zeros alone gets no gradient: it would come through a batch norm that sees no variance,
    1 / sqrt(eps) times too large.
    """

    @staticmethod
    def forward(ctx: Any, raw: Tensor, replacement: Tensor, inputs_first: int) -> Tensor:
        """Two weights of one shape -> `replacement`; `inputs_first` as in `alive`."""
        ctx.save_for_backward(alive(replacement, inputs_first))
        return replacement.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the replacement, given to `raw`."""
        (living,) = ctx.saved_tensors
        return gradients[0] * living, None, None


def sides_exchanged(weight: Tensor, groups: int) -> Tensor:
    """(inputs, filters / groups, ...) -> (filters, inputs / groups, ...), or back: it is its own inverse.

    >>> sides_exchanged(torch.zeros(6, 4, 3, 3), groups=2).shape
    torch.Size([8, 3, 3, 3])
    """
    apart = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    return apart.transpose(1, 2).flatten(0, 1)


def alive(weight: Tensor, inputs_first: int = 0) -> Tensor:
    """Which filters hold anything but zeros, bool, broadcastable to the weight (filters, ...).

    `inputs_first`: the groups of a transposed convolution (`Layer.inputs_first`), whose weight has its filters second.
    """
    by_filter = sides_exchanged(weight, inputs_first) if inputs_first else weight
    living = by_filter.flatten(1).any(dim=1).reshape(-1, *[1] * (weight.ndim - 1))
    return (
        sides_exchanged(living.expand(-1, by_filter.shape[1], *living.shape[2:]), inputs_first)
        if inputs_first
        else living
    )


def inputs_first(layers: Iterable[Layer]) -> dict[str, int]:
    """The groups of each transposed convolution, by the name of its weight."""
    return {layer.name: layer.inputs_first for layer in layers if layer.inputs_first}


def straight_through(raw: Tensor, replacement: Tensor, inputs_first: int = 0) -> Tensor:
    """`replacement` in the forward pass, with the gradient of the identity towards `raw` (two or more dims)."""
    result: Tensor = StraightThrough.apply(raw, replacement.detach(), inputs_first)
    return result


def zeroed(weights: Mapping[str, Tensor], keep: Mapping[str, Tensor], inputs_first: Mapping[str, int]) -> Weights:
    """The weights that `keep`, bool of their shapes, names: zeros where it is False, gradients everywhere.

    `inputs_first`: of those that have their filters second, as in `alive`.
    """
    return {
        name: straight_through(weights[name], weights[name] * row.to(weights[name].device), inputs_first.get(name, 0))
        for name, row in keep.items()
    }
