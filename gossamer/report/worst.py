# SPDX-License-Identifier: Apache-2.0
"""Parts of the test split by themselves: what each class and each group lost, and where the networks agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.data.groups import groups_of
from gossamer.data.images import Split
from gossamer.report.record import ClassRow

MOST_GROUPS = 100  # kept in a record: those that lost most


def by_class(split: Split, classes: Sequence[str], original: ArrayLike, compressed: ArrayLike) -> list[ClassRow]:
    """What each class of the split lost, from the quality of each image, (N,) both; nothing without labels."""
    if split.labels is None:
        return []
    return _rows([classes[label] for label in split.labels.tolist()], original, compressed, classes)


def by_group(split: Split, original: ArrayLike, compressed: ArrayLike) -> list[ClassRow]:
    """The same of its groups, those that lost most first; nothing where they are not known, or all are one image."""
    groups = groups_of(split)
    if groups is None or len(set(groups)) in (1, len(groups)):
        return []
    return sorted(_rows(groups, original, compressed, sorted(set(groups))), key=lambda row: -row.drop)[:MOST_GROUPS]


def agreement(original: NDArray[np.int64] | None, compressed: NDArray[np.int64] | None) -> float | None:
    """The share of images that both networks give one class, (N,) both; None where an image has no class."""
    if original is None or compressed is None:
        return None
    return float(np.mean((original == compressed) & (original >= 0)))


def _rows(parts: Sequence[str], original: ArrayLike, compressed: ArrayLike, names: Sequence[str]) -> list[ClassRow]:
    """A row for each of the names that is there."""
    there, of = np.unique(np.array(parts, dtype=np.str_), return_inverse=True)
    images = np.bincount(of)
    before, after = (np.bincount(of, np.asarray(quality, float)) / images for quality in (original, compressed))
    rows = {
        name: ClassRow(name, int(n), float(was), float(now))
        for name, n, was, now in zip(there.tolist(), images, before, after, strict=True)
    }
    return [rows[name] for name in names if name in rows]
