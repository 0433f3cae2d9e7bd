# SPDX-License-Identifier: Apache-2.0
"""Tensor: one initializer of the graph as the file stores it.

    exact      the values themselves
    grid       float32(integer) * unit
    codebook   centroids[zero + integer], or that times unit

One IEEE multiplication at most, the same bits on every machine.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.container.limits import MOST_DIMS, MOST_NAME_BYTES

DTYPES: dict[str, int] = {
    "float32": 0,
    "float16": 1,
    "int8": 2,
    "uint8": 3,
    "int32": 4,
    "int64": 5,
    "bool": 6,
}


@dataclass(frozen=True, eq=False)
class Tensor:
    """`values` as they are, or `integers` and what they stand for: steps of a `unit`, or places in a codebook.

    `unit` has shape (1,), then `axis` is 0, or (shape[axis],): one step of the grid for each slice along `axis`. A
    codebook is its `centroids`, (K,), that of integer 0 at the place `zero`; with a unit, they are multiplied by it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: NDArray[Any] | None = None
    integers: NDArray[np.int32] | None = None
    unit: NDArray[np.float32] | None = None
    axis: int = 0
    centroids: NDArray[np.float32] | None = None
    zero: int = 0

    @classmethod
    def exact(cls, name: str, values: NDArray[Any]) -> Tensor:
        """A tensor whose values are stored to the bit."""
        if values.dtype.name not in DTYPES:
            raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {values.dtype.name} for tensor '{name}'")
        return cls(name, tuple(values.shape), values.dtype.name, values=np.asarray(values, order="C"))

    @classmethod
    def grid(cls, name: str, integers: NDArray[np.int32], unit: NDArray[np.float32], axis: int = 0) -> Tensor:
        """A float32 tensor on a uniform grid."""
        whole = np.asarray(integers, np.int32, order="C")
        along = _unit(name, whole, unit, axis)
        return cls(name, whole.shape, "float32", integers=whole, unit=along, axis=axis if along.size != 1 else 0)

    @classmethod
    def codebook(
        cls,
        name: str,
        integers: NDArray[np.int32],
        centroids: NDArray[np.float32],
        zero: int = 0,
        unit: NDArray[np.float32] | None = None,
        axis: int = 0,
    ) -> Tensor:
        """A float32 tensor whose weights share some values, (K,); `zero` is the place of integer 0 among them."""
        whole = np.asarray(integers, np.int32, order="C")
        values = np.asarray(centroids, np.float32).reshape(-1)
        if not 0 <= zero < values.size:
            raise ValueError(
                f"expected integer 0 in the codebook of tensor '{name}' (0..{values.size - 1}), got {zero}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"expected finite values for tensor '{name}', got {values[~np.isfinite(values)][0]}")
        if whole.size and not (-zero <= whole.min() and whole.max() < values.size - zero):
            raise ValueError(
                f"expected integers of {-zero}..{values.size - zero - 1} for the codebook of tensor '{name}', "
                f"got {whole.min()}..{whole.max()}"
            )
        along = None if unit is None else _unit(name, whole, unit, axis)
        axis = 0 if along is None or along.size == 1 else axis
        return cls(name, whole.shape, "float32", None, whole, along, axis, values, zero)

    def decoded(self) -> NDArray[Any]:
        """The values that a runtime sees, of `shape` and `dtype`."""
        if self.values is not None:
            return self.values
        assert self.integers is not None
        values = (
            self.integers.astype(np.float32) if self.centroids is None else self.centroids[self.integers + self.zero]
        )
        if self.unit is None:
            return values
        with np.errstate(over="ignore", under="ignore"):  # an infinity or a denormal is what IEEE says it is
            product: NDArray[np.float32] = values * self.unit_along()
        return product

    def unit_along(self) -> NDArray[np.float32]:
        """The unit as it broadcasts to the tensor; ones where there is none."""
        along = [1] * len(self.shape)
        if self.unit is None:
            return np.ones(along, np.float32)
        along[self.axis] = -1
        return self.unit.reshape(along)


def _unit(name: str, integers: NDArray[np.int32], unit: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The unit as float32 (1,) or (shape[axis],); ValueError where it does not fit."""
    unit = np.asarray(unit, np.float32).reshape(-1)
    if not 0 <= axis < integers.ndim or unit.size not in (1, integers.shape[axis]):
        raise ValueError(
            f"expected one unit or one for each slice along axis {axis} of tensor '{name}' {integers.shape}, "
            f"got {unit.size}"
        )
    if not np.isfinite(unit).all():
        raise ValueError(f"expected finite units for tensor '{name}', got {unit[~np.isfinite(unit)][0]}")
    return unit


def decoded_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Memory that a tensor is counted with: at least four bytes an element, as integers are decoded to int32."""
    return math.prod(shape) * max(4, np.dtype(dtype).itemsize)


def problem_of_name(name: str) -> str | None:
    """Why no tensor may have this name, or None."""
    if not name:
        return "is empty"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "holds control characters or half a character"
    length = len(name.encode())
    return f"has {length:,} bytes where at most {MOST_NAME_BYTES:,} are allowed" if length > MOST_NAME_BYTES else None


def problem_of_shape(shape: tuple[int, ...]) -> str | None:
    """Why no tensor may have this shape, or None."""
    return f"has {len(shape)} dimensions where at most {MOST_DIMS} are allowed" if len(shape) > MOST_DIMS else None
