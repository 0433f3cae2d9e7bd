# SPDX-License-Identifier: Apache-2.0
"""Images of any size: is a network that was exported with free heights and widths right at another size?

Exporting may take a decision of the forward for good ("no interpolation is needed", at the example's size). So the
traced network is compared with the user's own at another size, and refused where it differs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gossamer.graph.export import first_line, user_line
from gossamer.graph.modes import evaluating

TOLERANCE = 1e-3  # relative, in float32
_OTHER_SIZES = ((32, 64), (64, 0))  # added to height and width, in turn


def check_other_size(model: nn.Module, traced: nn.Module, example: Sequence[Any]) -> None:
    """Raise ValueError unless the traced network computes what `model` does on images of another size."""
    generator = torch.Generator().manual_seed(0)
    with evaluating(model, traced):
        for more in _OTHER_SIZES:
            larger = functools.partial(_larger, more=more, generator=generator)
            inputs = pytree.tree_map_only(Tensor, larger, tuple(example))
            _compare(model, traced, inputs)


def _compare(model: nn.Module, traced: nn.Module, inputs: tuple[Any, ...]) -> None:
    shapes = ", ".join(str(tuple(leaf.shape)) for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor))
    with torch.no_grad():
        try:
            expected = pytree.tree_leaves(model(*inputs))
        except Exception as error:
            raise ValueError(
                f"expected a network that takes images of any size, got {type(error).__name__} on inputs {shapes} at "
                f"{user_line(error)}: {first_line(error)}; leave out any_size"
            ) from error
        try:
            got = pytree.tree_leaves(traced(*inputs))
            same = all(_close(a, b) for a, b in zip(expected, got, strict=True) if isinstance(a, Tensor))
        except Exception:
            same = False
    if not same:
        raise ValueError(
            f"expected a forward that does not decide by the size of images, got another network on inputs {shapes}: "
            "a decision of the example's size was exported; leave out any_size"
        )


def _close(expected: Tensor, got: Tensor) -> bool:
    if expected.shape != got.shape:
        return False
    return float((expected - got).abs().max()) <= TOLERANCE * max(float(expected.abs().max()), 1e-12)


def _larger(leaf: Tensor, more: tuple[int, int], generator: torch.Generator) -> Tensor:
    shape = list(leaf.shape)
    if leaf.dim() == 4:
        shape[2:] = [size + extra for size, extra in zip(shape[2:], more, strict=True)]
    return torch.randn(shape, generator=generator).to(leaf.device, leaf.dtype)
