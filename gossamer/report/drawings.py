# SPDX-License-Identifier: Apache-2.0
"""What a picture in a report is made of: panels of one image, and what their colours mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.data.images import Split
from gossamer.report.record import Swatch
from gossamer.task import Task

Outputs = NDArray[np.float32]

SWATCHES = 12  # classes that a legend names


@dataclass(frozen=True, eq=False)
class Drawing:
    """One panel: what it shows and its pixels, uint8 (H, W, 3); of a `photograph` not every colour matters."""

    name: str
    pixels: NDArray[np.uint8]
    photograph: bool = False


@dataclass(frozen=True, eq=False)
class Drawings:
    """The panels of each image, and what their colours mean."""

    of_images: Sequence[Sequence[Drawing]]
    legend: tuple[Swatch, ...]


Renderer = Callable[[Task, Split, NDArray[np.int64], Outputs, Outputs], Drawings]
"""Task, split, positions (N,) in it, and the outputs (N, ...) of the original and of the compressed network there."""


def in_colour(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (N, H, W, 1 or 3) -> (N, H, W, 3)"""
    return images.repeat(3, axis=3) if images.shape[3] == 1 else images


def as_hex(colour: Sequence[int] | NDArray[np.uint8]) -> str:
    """A colour as pages name it.

    >>> as_hex((213, 94, 0))
    '#d55e00'
    """
    return "#" + "".join(f"{int(part):02x}" for part in colour)
