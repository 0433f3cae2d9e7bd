# SPDX-License-Identifier: Apache-2.0
"""What a criterion sees of a channel group: plain matrices, one row a channel, and no layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Answers:
    """What a network answers when it is asked: `quality`, a fraction, and the mean `loss`.

    `by_class`, (classes,): the quality on the images of each class, nan where there are none.
    """

    quality: float
    loss: float
    by_class: FloatArray


@dataclass(frozen=True)
class GroupMatrices:
    """A group of K channels that can only be cut together across everything they touch.

    `rows`: weights that produce the channels, each (K, features); `columns`: weights that consume them, each
    (K, features); `scales`: batch-norm weights, each (K,).

    What only some criteria need is None for the others (`needs` of a criterion):

    `changes`, (batches, K): what a batch's loss changes by when the channel goes, to first order ("changes");
    `activity`, (K,): the mean absolute activation ("activity");
    `learned`, (K,): weights that were trained to say how much each channel counts ("learned");
    `asked`: what the network answers with the channels that a bool (K,) keeps ("asked").
    """

    name: str
    size: int
    rows: tuple[FloatArray, ...]
    columns: tuple[FloatArray, ...] = ()
    scales: tuple[FloatArray, ...] = ()
    changes: FloatArray | None = None
    activity: FloatArray | None = None
    learned: FloatArray | None = None
    asked: Callable[[NDArray[np.bool_]], Answers] | None = None


def mean_of_tied(layers: Iterable[FloatArray], size: int) -> FloatArray:
    """Scores (K,) of the same channels in several layers -> their mean, each divided by its layer's mean.

    Without that division the layer with the largest weights would decide. Without any layer every channel gets 1.
    """
    scaled = [scores / (scores.mean() or 1.0) for scores in layers]
    mean: FloatArray = np.mean(scaled, axis=0) if scaled else np.ones(size)
    return mean


def lacking(criterion: str, what: str, group: GroupMatrices) -> ValueError:
    """The error of a criterion that was not given what it needs."""
    return ValueError(f"{criterion} needs {what}, but group '{group.name}' came without; see `needs`")
