# SPDX-License-Identifier: Apache-2.0
"""Labels: a number for every channel slot of a network, and which of them can only go together.

A tensor carries *planes*. A plane is an int64 tensor of labels that broadcasts over the tensor it describes: full
size in the dims along which the labels differ, size 1 elsewhere, so that it never grows with the image. A
convolution's output (1, 64, 56, 56) has one plane of shape (1, 64, 1, 1); its weight (64, 32, 3, 3) has planes
(64, 1, 1, 1) and (1, 32, 1, 1). The planes of one tensor vary in disjoint sets of dims. A dim that no plane varies
along stays whole.

Rules unite labels while they walk the network; `solve` then gives every label its class: the connected component.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor


@dataclass(frozen=True)
class Labelled:
    """A tensor as the rules see it: its shape at batch 1 and its planes.

    `source` names the parameter that it is, or is computed from with no activation involved; "" otherwise.
    """

    shape: tuple[int, ...]
    planes: tuple[Tensor, ...] = ()
    source: str = ""

    def plane(self, dim: int) -> Tensor | None:
        """The plane that varies along `dim`, if there is one."""
        return next((plane for plane in self.planes if plane.shape[dim] > 1), None)

    def with_planes(self, planes: Sequence[Tensor]) -> Labelled:
        return replace(self, planes=tuple(planes))


@dataclass(frozen=True)
class Classes:
    """The solution: `of[label]` is a label's class; per class, why it is pinned or inexact ("" where it is not)."""

    of: NDArray[np.intp]
    pinned: list[str]
    inexact: list[str]

    def __call__(self, labels: Tensor) -> NDArray[np.intp]:
        """The classes of an array of labels, of the same shape."""
        return np.asarray(self.of[labels.numpy()])


class Labels:
    """All labels of a network, and what is known about them so far."""

    def __init__(self) -> None:
        self._count = 0
        self._pairs: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._equal: list[Tensor] = []
        self._pinned: list[tuple[Tensor, str]] = []
        self._inexact: list[tuple[Tensor, str]] = []

    def fresh(self, count: int) -> Tensor:
        """`count` new labels, (count,)."""
        self._count += count
        return torch.arange(self._count - count, self._count)

    def fresh_planes(self, shape: Sequence[int], dims: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        """One plane of new labels for each of `dims` (default: all) that is longer than 1."""
        dims = range(len(shape)) if dims is None else dims
        return tuple(along(self.fresh(shape[dim]), dim, len(shape)) for dim in dims if shape[dim] > 1)

    def unite(self, first: Tensor, second: Tensor) -> None:
        """Unite two arrays of labels element by element, after broadcasting."""
        shape = np.broadcast_shapes(first.shape, second.shape)
        first, second = first.expand(shape), second.expand(shape)
        differ = first != second
        if bool(differ.any()):
            self._pairs.append((first[differ].numpy(), second[differ].numpy()))

    def pin(self, labels: Tensor, reason: str) -> None:
        """These labels must stay; `reason` completes the sentence "cannot be cut: ..."."""
        self._pinned.append((labels, reason))

    def mark_inexact(self, labels: Tensor, reason: str) -> None:
        """Removing one of these labels changes what the others compute."""
        self._inexact.append((labels, reason))

    def equal_counts(self, parts: Tensor) -> None:
        """Of the labels (parts, n), every row must keep equally many; which ones is free."""
        if parts.shape[0] > 1:
            self._equal.append(parts)

    @property
    def equal(self) -> Sequence[Tensor]:
        """All arrays of labels (parts, n) whose rows must keep equally many."""
        return tuple(self._equal)

    def couple(self, plane: Tensor, dims: Sequence[int]) -> Tensor:
        """Unite everything along `dims`; returns the plane, now constant (size 1) there."""
        for dim in dims:
            if plane.shape[dim] > 1:
                first = plane.narrow(dim, 0, 1)
                self.unite(plane, first)
                plane = first
        return plane

    def solve(self) -> Classes:
        """Connected components of all that was united; the first reason given wins."""
        empty = [np.zeros(0, np.int64)]
        rows = np.concatenate([pair[0] for pair in self._pairs] + empty)
        columns = np.concatenate([pair[1] for pair in self._pairs] + empty)
        links = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(self._count, self._count))
        count, of = connected_components(links, directed=False)
        of = of.astype(np.intp)
        return Classes(of, _first_reasons(of, count, self._pinned), _first_reasons(of, count, self._inexact))

    def box(self, planes: Sequence[Tensor]) -> Classes:
        """Couple until the classes of every plane vary along one dim at most; returns the solution.

        Then what is kept of a tensor is an outer product of what is kept per dim: a box. Compaction of a box
        commutes with every reshape, transpose, slice and concatenation between boxes, because the row-major
        sequence of kept elements is the same before and after. This is what makes a cut exact.
        The dim with the most classes stays free: C/2 in a shuffle's (2, C/2), the larger of (heads, d).
        """
        wide = [plane for plane in planes if len(support(plane)) > 1]
        while True:
            classes = self.solve()
            clean = True
            for plane in wide:
                found = torch.from_numpy(classes(plane))
                varying = varying_dims(found)
                if len(varying) > 1:
                    free = max(varying, key=lambda dim: len(np.unique(first_line(found, dim))))
                    self.couple(plane, [dim for dim in varying if dim != free])
                    clean = False
            if clean:
                return classes


def along(labels: Tensor, dim: int, rank: int) -> Tensor:
    """A vector (n,) as a plane of `rank` dims that varies along `dim`."""
    return labels.reshape([-1 if d == dim else 1 for d in range(rank)])


def support(plane: Tensor) -> list[int]:
    """The dims along which a plane varies."""
    return [dim for dim, size in enumerate(plane.shape) if size > 1]


def varying_dims(array: Tensor) -> list[int]:
    """The dims along which the values of `array` differ."""
    return [
        dim
        for dim, size in enumerate(array.shape)
        if size > 1 and array.stride(dim) != 0 and not bool((array == array.narrow(dim, 0, 1)).all())
    ]


def first_line(array: Tensor, dim: int) -> Tensor:
    """The values along `dim` at index 0 of all other dims, (n,)."""
    return array.movedim(dim, -1).reshape(-1, array.shape[dim])[0]


def compact(array: Tensor) -> Tensor:
    """An array of labels of full size as a plane: narrowed to size 1 along every dim in which it is constant."""
    for dim, size in enumerate(array.shape):  # stride 0 first: free, and it makes the comparisons small
        if size > 1 and array.stride(dim) == 0:
            array = array.narrow(dim, 0, 1)
    varying = varying_dims(array)
    for dim, size in enumerate(array.shape):
        if size > 1 and dim not in varying:
            array = array.narrow(dim, 0, 1)
    return array


def _first_reasons(of: NDArray[np.intp], count: int, marks: list[tuple[Tensor, str]]) -> list[str]:
    reasons = [""] * count
    for labels, reason in reversed(marks):
        for index in np.unique(of[labels.numpy()]).tolist():
            reasons[index] = reason
    return reasons
