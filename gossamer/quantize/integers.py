# SPDX-License-Identifier: Apache-2.0
"""Integers of the deployed weights: what the file stores instead of floats.

A deployed weight W' (batch norm folded in) lies on a uniform grid, W' = integer * unit, with one unit a tensor or
one an output channel; or it shares the values of a codebook, W' = centroids[integer], times such a unit where a batch
norm was folded in. What is not a weight (biases, units) keeps its exponent and `mantissa_bits` bits of mantissa, a
relative error of at most 2^-(mantissa_bits + 1). An integer is then chosen for the rounded unit, so that the rounding
of a unit moves no weight by more than half a step.

Five bits, measured on 5,000 images of CIFAR-10 on which ResNet-20 (15x) and ResNet-56 (17x) were not trained, the
integers left as they are: 0.2 and 0.0 % of answers change by the biases, 0.4 and 0.1 % by the units, the accuracy by
0.06 points at most; with four bits 0.6, 0.3, 0.7 and 0.4 %, for another 0.3 % of the file. Biases on a uniform grid
took a tenth fewer bytes at equal changes: not worth a rule of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.container import Tensor
from gossamer.quantize.codebook import Codebook

FloatArray = NDArray[np.float32]

MANTISSA_BITS = 5  # kept of biases and units
CENTROID_BITS = 10  # kept of centroids where they are rounded: few values, and every weight is one of them
OFF_CODEBOOK = 1e-4  # of the largest weight: farther from its shared value, a weight is not of this codebook


@dataclass(frozen=True, eq=False)
class Shared:
    """The codebook of a deployed weight, and what its values are multiplied by: one factor an output channel."""

    codebook: Codebook
    unit: FloatArray | None = None


def fine_unit(weight: FloatArray, coarseness: float, axis: int | None = None) -> FloatArray:
    """`coarseness` times the root mean square of the weights that are not zero: one of the tensor, shape (1,), or one
    of each slice along `axis`, broadcastable to the tensor. Where all are zero it is `coarseness`.

    >>> fine_unit(np.array([[3, 0, -3], [0, 0, 0]], np.float32), 0.1, axis=0).tolist()
    [[0.30000001192092896], [0.10000000149011612]]
    """
    others = None if axis is None else tuple(other for other in range(weight.ndim) if other != axis)
    energy = np.sum(np.square(weight, dtype=np.float64), axis=others, keepdims=axis is not None)
    count = np.count_nonzero(weight, axis=others, keepdims=axis is not None)
    root = np.sqrt(energy / np.maximum(count, 1))
    unit = coarseness * np.where(root > 0, root, 1.0)
    return np.atleast_1d(unit.astype(np.float32))


def tensors(
    weights: Mapping[str, NDArray[np.generic]],
    units: Mapping[str, FloatArray],
    shared: Mapping[str, Shared] | None = None,
    *,
    mantissa_bits: int | None = MANTISSA_BITS,
) -> tuple[Tensor, ...]:
    """The initializers of a graph as the file stores them: integers where there is a grid or a codebook, else values.

    A unit has shape (1,), or as many dimensions as its tensor, all of size 1 but the output channels'. Units and
    float32 tensors that have none are rounded to `mantissa_bits`, centroids to ten; with None all stay as they are.
    """
    stored = []
    for name, value in weights.items():
        if name in units:
            unit = round_mantissa(units[name], mantissa_bits)
            integers = np.rint(value.astype(np.float32) / unit).astype(np.int32)
            stored.append(Tensor.grid(name, integers, unit, axis=_axis(unit)))
        elif shared and name in shared:
            stored.append(_with_codebook(name, value.astype(np.float32), shared[name], mantissa_bits))
        else:
            rounded = round_mantissa(value.astype(np.float32), mantissa_bits) if value.dtype == np.float32 else value
            stored.append(Tensor.exact(name, rounded))
    return tuple(stored)


def _with_codebook(name: str, value: FloatArray, shared: Shared, mantissa_bits: int | None) -> Tensor:
    book, unit = shared.codebook, np.float32(1) if shared.unit is None else shared.unit
    integers = book.integers(value / unit)
    off = np.abs(book.values[integers + book.zero] * unit - value).max(initial=0)
    if off > OFF_CODEBOOK * np.abs(value).max(initial=0):
        raise ValueError(
            f"expected weights of '{name}' on the {len(book.values)} values of its codebook, one is {off:.3g} off"
        )
    centroids = round_mantissa(book.values, None if mantissa_bits is None else CENTROID_BITS)
    if shared.unit is None:
        return Tensor.codebook(name, integers, centroids, book.zero)
    along = round_mantissa(shared.unit, mantissa_bits)
    return Tensor.codebook(name, integers, centroids, book.zero, along, _axis(along))


def _axis(unit: FloatArray) -> int:
    return int(np.argmax(unit.shape)) if unit.ndim > 1 else 0


def round_mantissa(values: FloatArray, bits: int | None) -> FloatArray:
    """The nearest float32 values with `bits` bits of mantissa, halves to even; infinities and NaN stay, as all do
    with None.

    >>> round_mantissa(np.array([1.1, -0.3, 0.0], np.float32), 2).tolist()
    [1.0, -0.3125, 0.0]
    """
    exact = np.ascontiguousarray(values, np.float32).reshape(values.shape)
    if bits is None or not exact.size:
        return exact
    dropped = 23 - bits
    words = exact.view(np.uint32).astype(np.int64)
    low = words & ((1 << dropped) - 1)
    rounded = words - low
    half = 1 << dropped >> 1
    rounded += (1 << dropped) * ((low > half) | ((low == half) & (rounded >> dropped & 1 == 1)))
    within = (rounded & 0x7FFFFFFF) < 0x7F800000  # the largest values would become infinities
    return np.where(within, rounded, words).astype(np.uint32).view(np.float32)
