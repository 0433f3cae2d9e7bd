# SPDX-License-Identifier: Apache-2.0
"""Tiles that cover an image and overlap: where they lie, how their scores blend, and in how little memory.

Along each axis every pixel is covered by one tile or more, and their weights sum to one:

    weight of tile t at pixel i  =  w_t(i) / sum over tiles s of w_s(i)
    w_t(i)  =  sin^2( pi / 2 * min(1, (d - margin) / (tile / 2 - margin)) )

with d the distance of the pixel's middle to the nearer end of the tile that lies inside the image: a raised cosine
without the outermost pixels, a `margin` of a quarter of the overlap, where the network has seen its own padding instead
of the image. At the border of the image padding is all there is, and tiles count fully. A pixel's weight is the product
of both axes.

Weights are whole 256ths. They sum to one exactly, and products with 8-bit values are exact in float32: what is the same
in all tiles comes back as it was, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]

STEPS = 256
NEXT_TO_NOTHING = 1e-3  # of a pixel: inside a margin a tile counts too little for a 256th, but not nothing to divide by


@dataclass(frozen=True)
class Axis:
    """Tiles along one side of an image: `length` pixels, tiles of `tile`, neighbours that share `overlap` or more.

    >>> Axis(length=10, tile=4, overlap=1).starts
    (0, 3, 6)
    """

    length: int
    tile: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.tile:
            raise ValueError(
                f"overlap must be at least 0 and below the tile's {self.tile} pixels, got {self.overlap}; "
                "give a smaller --overlap or a larger --tile"
            )
        if self.length < self.tile:
            raise ValueError(f"length must be at least the tile's {self.tile} pixels, got {self.length}; pad the image")

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first pixel of each tile; as few tiles as do, spread evenly."""
        between = self.length - self.tile
        steps = math.ceil(between / (self.tile - self.overlap))
        return tuple(step * between // steps for step in range(steps + 1)) if steps else (0,)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """For each tile the end of the pixels that no later tile covers."""
        return (*self.starts[1:], self.length)

    @cached_property
    def weights(self) -> Scores:
        """What each tile counts at each of its pixels, (tiles, tile); multiples of 1/256."""
        windows = [self._window(start) for start in self.starts]
        total = np.zeros(self.length)
        for start, window in zip(self.starts, windows, strict=True):
            total[start : start + self.tile] += window
        # the sum so far is rounded, not each part: so the parts sum to one
        so_far, before = np.zeros(self.length), np.zeros(self.length)
        found = np.empty((len(self.starts), self.tile), np.float32)
        for index, (start, window) in enumerate(zip(self.starts, windows, strict=True)):
            here = slice(start, start + self.tile)
            so_far[here] += window
            after = np.rint(STEPS * so_far[here] / total[here])
            found[index] = (after - before[here]) / STEPS
            before[here] = after
        return found

    def _window(self, start: int) -> NDArray[np.float64]:
        """w of the tile that starts there, (tile,)."""
        middles = np.arange(self.tile) + 0.5
        distance = np.full(self.tile, np.inf)
        if start > 0:
            distance = np.minimum(distance, middles)
        if start + self.tile < self.length:
            distance = np.minimum(distance, self.tile - middles)
        margin = self.overlap // 4
        share = np.maximum(distance - margin, NEXT_TO_NOTHING) / (self.tile / 2 - margin)
        return np.asarray(np.sin(np.pi / 2 * np.minimum(share, 1)) ** 2)


@dataclass(frozen=True, eq=False)
class Block:
    """Finished scores (K, h, w) of the pixels from `top` and `left` on."""

    top: int
    left: int
    scores: Scores


def blended(rows: Axis, columns: Axis, scores_at: Callable[[int, int], Scores]) -> Iterator[Block]:
    """The image's scores, block by block: each pixel is in one block, as soon as every tile that covers it was asked.

    `scores_at(top, left)` gives the (K, tile, tile) scores of one tile. Kept are two tiles, and of the band above what
    the next row of tiles shares with it, (K, shared rows, W): never the scores of the whole image.
    """
    above: Scores | None = None
    carried = 0  # rows of `above` that this row of tiles shares with the last
    for row, (top, done) in enumerate(zip(rows.starts, rows.ends, strict=True)):
        height = done - top
        beside: Scores | None = None
        for column, (left, end) in enumerate(zip(columns.starts, columns.ends, strict=True)):
            width = end - left
            tile = scores_at(top, left) * (rows.weights[row][:, None] * columns.weights[column])
            if beside is not None:
                tile[:, :, : beside.shape[2]] += beside
            beside, finished = tile[:, :, width:], tile[:, :, :width]
            if above is None:
                above = np.empty((len(tile), _most_shared(rows), columns.length), np.float32)
            finished[:, :carried] += above[:, :carried, left:end]
            if done < rows.length:
                above[:, : rows.tile - height, left:end] = finished[:, height:]
            yield Block(top, left, finished[:, :height])
        carried = rows.tile - height


def _most_shared(axis: Axis) -> int:
    """The most pixels that two neighbouring tiles have in common."""
    return max((axis.tile - (b - a) for a, b in zip(axis.starts, axis.starts[1:], strict=False)), default=0)
