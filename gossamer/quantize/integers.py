# SPDX-License-Identifier: Apache-2.0
"""Integers of the deployed weights: what the file stores instead of floats.

A deployed weight W' (batch norm folded in) lies on a uniform grid, W' = integer * unit, with one unit a tensor or
one an output channel; or it shares the values of a codebook, W' = centroids[integer], times such a unit where a batch
norm was folded in. Everything that is not a weight is rounded to float16 where that loses less than a part in a
thousand, and kept as it is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.container import Tensor
from gossamer.quantize.codebook import Codebook

FloatArray = NDArray[np.float32]

LARGEST_HALF = 65504.0
SMALLEST_NORMAL_HALF = 6.2e-5
OFF_CODEBOOK = 1e-4  # of the largest weight: farther from its shared value, a weight is not of this codebook


@dataclass(frozen=True, eq=False)
class Shared:
    """The codebook of a deployed weight, and what its values are multiplied by: one factor an output channel."""

    codebook: Codebook
    unit: FloatArray | None = None


def fine_units(weights: Mapping[str, NDArray[np.generic]], coarseness: float) -> dict[str, FloatArray]:
    """One unit a tensor, `coarseness` times its root mean square, for every float tensor of two or more dims."""
    return {
        name: np.array([coarseness * (np.sqrt(np.mean(np.square(value, dtype=np.float64))) or 1.0)], np.float32)
        for name, value in weights.items()
        if value.dtype == np.float32 and value.ndim >= 2
    }


def tensors(
    weights: Mapping[str, NDArray[np.generic]],
    units: Mapping[str, FloatArray],
    shared: Mapping[str, Shared] | None = None,
    *,
    half: bool = True,
) -> tuple[Tensor, ...]:
    """The initializers of a graph as the file stores them: integers where there is a grid or a codebook, else values.

    A unit has shape (1,), or as many dimensions as its tensor, all of size 1 but the output channels'. With `half`,
    other float32 tensors, units and codebooks are rounded to float16 first.
    """
    stored = []
    for name, value in weights.items():
        if name in units:
            unit = unit_to_half(units[name]) if half else units[name]
            integers = np.rint(value.astype(np.float32) / unit).astype(np.int32)
            stored.append(Tensor.grid(name, integers, unit, axis=_axis(unit)))
        elif shared and name in shared:
            stored.append(_with_codebook(name, value.astype(np.float32), shared[name], half))
        else:
            rounded = _to_half(value) if half and value.dtype == np.float32 else value
            stored.append(Tensor.exact(name, rounded))
    return tuple(stored)


def _with_codebook(name: str, value: FloatArray, shared: Shared, half: bool) -> Tensor:
    book, unit = shared.codebook, np.float32(1) if shared.unit is None else shared.unit
    integers = book.integers(value / unit)
    off = np.abs(book.values[integers + book.zero] * unit - value).max(initial=0)
    if off > OFF_CODEBOOK * np.abs(value).max(initial=0):
        raise ValueError(
            f"expected weights of '{name}' on the {len(book.values)} values of its codebook, one is {off:.3g} off"
        )
    centroids = unit_to_half(book.values) if half else book.values
    if shared.unit is None:
        return Tensor.codebook(name, integers, centroids, book.zero)
    along = unit_to_half(shared.unit) if half else shared.unit
    return Tensor.codebook(name, integers, centroids, book.zero, along, _axis(along))


def _axis(unit: FloatArray) -> int:
    return int(np.argmax(unit.shape)) if unit.ndim > 1 else 0


def _to_half(values: NDArray[np.generic]) -> FloatArray:
    """float32 values that float16 can hold: absolute error at most 3e-8 or a part in 2,000; huge ones stay."""
    exact = values.astype(np.float32)
    return exact if np.abs(exact).max(initial=0) > LARGEST_HALF else exact.astype(np.float16).astype(np.float32)


def unit_to_half(unit: FloatArray) -> FloatArray:
    """As `_to_half`, but only where every unit but zero keeps its eleven bits: its relative error is every weight's."""
    smallest = np.abs(unit[unit != 0]).min(initial=np.inf)
    return _to_half(unit) if smallest >= SMALLEST_NORMAL_HALF else unit.astype(np.float32)
