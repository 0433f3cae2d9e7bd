# SPDX-License-Identifier: Apache-2.0
"""A layer as matrix products: what a convolution of any kind does at one position, and what enters it there.

At every position a layer computes, per group, y = W x with W (R, C). A convolution's x is the patch under its kernel;
for a transposed convolution y is the patch that one input position adds to the output, so there the patches are taken
from the output's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class MatrixForm:
    """One use of a layer: kind as in `Layer`, kernel and how it moves, one number for each spatial dim.

    `pieces`: how many matrices of fewer columns stand for each group, one after the other; their outputs add up.
    """

    kind: str
    groups: int = 1
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    pieces: int = 1

    @classmethod
    def of(cls, kind: str, shape: Sequence[int], arguments: dict[str, Any]) -> MatrixForm:
        """The form of a call with these arguments (stride, padding, dilation, groups); `shape` is its weight's."""
        kernel = tuple(shape[2:])
        if kind == "linear":
            return cls(kind)
        stride, dilation = (_each(arguments[name], len(kernel)) for name in ("stride", "dilation"))
        given = arguments["padding"]
        if isinstance(given, str):
            whole = [d * (k - 1) if given == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
            padding = tuple((n // 2, n - n // 2) for n in whole)
        else:
            padding = tuple((n, n) for n in _each(given, len(kernel)))
        return cls(kind, arguments["groups"], kernel, stride, padding, dilation)

    def in_pieces(self, columns: int, most: int) -> MatrixForm:
        """The same with its `columns` in as few equal pieces as have at most `most` each."""
        return replace(self, pieces=next(n for n in range(-(-columns // most), columns + 1) if columns % n == 0))

    def matrices(self, weight: Tensor) -> Tensor:
        """A weight as matrices, (groups x pieces, R, C)."""
        whole = weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        return self._cut(whole.transpose(1, 2) if self.kind == "conv_transpose" else whole)

    def weight(self, matrices: Tensor, shape: Sequence[int]) -> Tensor:
        """Matrices (groups x pieces, R, C) as a weight of `shape`: the inverse of `matrices`."""
        rows = matrices.shape[1]
        whole = matrices.reshape(self.groups, self.pieces, rows, -1).transpose(1, 2).reshape(self.groups, rows, -1)
        return (whole.transpose(1, 2) if self.kind == "conv_transpose" else whole).reshape(tuple(shape))

    def _cut(self, whole: Tensor) -> Tensor:
        """(groups, n, columns) -> (groups x pieces, n, columns / pieces)"""
        groups, count, _ = whole.shape
        cut = whole.reshape(groups, count, self.pieces, -1).transpose(1, 2)
        return cut.reshape(groups * self.pieces, count, -1)

    def positions(self, inputs: Tensor) -> int:
        """At how many places of one example the layer is applied; inputs (N, ...)."""
        if self.kind == "conv":
            return int(_patch_view(inputs[:1], self)[0, 0].flatten(0, len(self.kernel) - 1).shape[0])
        return int((inputs[0] if self.kind == "linear" else inputs[0, 0]).numel()) // (
            inputs.shape[-1] if self.kind == "linear" else 1
        )

    def inputs(self, values: Tensor, at: Tensor | None = None) -> Tensor:
        """What enters the matrices, (groups x pieces, N x positions, C); `at`: positions, the same in every example."""
        return self._cut(self._patches(values, at) if self.kind == "conv" else self._channels(values, at))

    def outputs(self, values: Tensor, at: Tensor | None = None) -> Tensor:
        """What leaves the matrices, or its gradient, (groups, N x positions, R)."""
        return self._patches(values, at) if self.kind == "conv_transpose" else self._channels(values, at)

    def _channels(self, values: Tensor, at: Tensor | None) -> Tensor:
        flat = values.reshape(len(values), -1, values.shape[-1]).transpose(1, 2) if self.kind == "linear" else values
        flat = flat.flatten(2) if flat.ndim > 2 else flat.unsqueeze(2)  # (N, channels, positions)
        flat = flat if at is None else flat[:, :, at]
        count, channels, positions = flat.shape
        grouped = flat.reshape(count, self.groups, channels // self.groups, positions)
        return grouped.permute(1, 0, 3, 2).reshape(self.groups, count * positions, -1)

    def _patches(self, values: Tensor, at: Tensor | None) -> Tensor:
        dims = len(self.kernel)
        view = _patch_view(values, self)  # (N, channels, *positions, *kernel)
        sizes = view.shape[2 : 2 + dims]
        if at is None:
            flat = view.flatten(2, 1 + dims)
        else:
            where: tuple[Any, ...] = (slice(None), slice(None), *torch.unravel_index(at, sizes))
            flat = view[where]
        count, channels, positions = flat.shape[:3]
        grouped = flat.reshape(count, self.groups, channels // self.groups, positions, -1)
        return grouped.permute(1, 0, 3, 2, 4).reshape(self.groups, count * positions, -1)


def _each(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return numbers * dims if len(numbers) == 1 else numbers


def _patch_view(values: Tensor, form: MatrixForm) -> Tensor:
    """(N, channels, *spatial) -> (N, channels, *positions, *kernel), without copying but for the padding."""
    pads = [n for pair in reversed(form.padding) for n in pair]
    view = functional.pad(values, pads) if any(pads) else values
    for dim, (size, stride, dilation) in enumerate(zip(form.kernel, form.stride, form.dilation, strict=True)):
        view = view.unfold(2 + dim, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return view
