# SPDX-License-Identifier: Apache-2.0
"""A segmentation network that was opened: the pixels of a tile go in, the scores of its classes come out.

What the network itself says of its input is checked, and one empty tile is run before any image is read: a network of
another kind is refused at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.preprocess import Preprocess
from gossamer.device.stored import Opener, Session, Stored, one_line, read_stored

MOST_CLASSES = 256  # a mask has 8 bits a pixel
SCALED_ALREADY = "Sigmoid"  # a network that ends in it gives probabilities, not logits


@dataclass(frozen=True, eq=False)
class SegmentationNetwork:
    """What gives each pixel a class; `preprocess.size` is the size of its tiles.

    One channel of scores is a question of yes or no (`binary`): classes 0 and 1. Otherwise there is a channel a class.
    `classes` are their names, empty where nobody knows them.
    """

    path: Path
    preprocess: Preprocess
    classes: tuple[str, ...]
    channels: int
    probabilities: bool
    session: Session

    @property
    def binary(self) -> bool:
        return self.channels == 1

    @property
    def count(self) -> int:
        """The number of classes."""
        return max(2, self.channels)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The scores of one tile, uint8 (H, W, C) -> float32 (K, H, W); K is 1 of a binary network."""
        scores: NDArray[np.float32] = _run(self.path, self.session, self.preprocess.apply(pixels[None]))[0]
        if not np.isfinite(scores).all():
            raise ValueError(f"the network {self.path} gives scores that are infinite or no numbers")
        # the picture may have been turned on its way in; its scores turn back
        return scores[:, ::-1, ::-1] if self.preprocess.turned else scores


def open_network(
    path: Path,
    open_session: Opener,
    *,
    tile: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> SegmentationNetwork:
    """The network in a .gossamer or an .onnx file, ready to run; `mean` and `std` are for the latter, in 0..1.

    A fixed size of its input is the size of its tiles; otherwise it is `tile`, then what the file says, then 256.
    """
    stored = read_stored(path, mean, std)
    preprocess = replace(stored.preprocess, size=_tile_size(stored, tile))
    session = stored.open(open_session)
    empty = np.zeros((1, *preprocess.shape), np.float32)
    channels = len(_run(path, session, empty)[0])
    names = _names(path, stored.classes, channels)
    return SegmentationNetwork(
        path, preprocess, names, channels, channels == 1 and stored.signature.last == SCALED_ALREADY, session
    )


def _tile_size(stored: Stored, tile: int | None) -> tuple[int, int]:
    """Height and width of the tiles."""
    fixed, known = stored.sides(), stored.preprocess
    height, width = fixed[0] or tile or known.height, fixed[1] or tile or known.width
    if tile is not None and (height, width) != (tile, tile):
        raise ValueError(
            f"expected no --tile, {stored.path} reads {height}x{width} pixels and nothing else; leave it out"
        )
    return height, width


def _run(path: Path, session: Session, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first output for one image, (1, K, H, W); ValueError unless it is a score for every pixel."""
    height, width = batch.shape[2:]
    try:
        scores = np.asarray(session.run(batch)[0])
    except Exception as error:  # each runtime has exceptions of its own
        raise ValueError(
            f"expected {path} to read tiles of {height}x{width} pixels, but: {one_line(error)}; choose another --tile"
        ) from error
    if scores.ndim != 4 or scores.shape[0] != 1 or scores.shape[2:] != (height, width) or not scores.shape[1]:
        raise ValueError(
            f"expected a segmentation network in {path}, scores (1, classes, {height}, {width}) for an image of this "
            f"size, got an output of {scores.shape}"
        )
    if scores.shape[1] > MOST_CLASSES:
        raise ValueError(f"expected at most {MOST_CLASSES} classes, which a mask can hold, got {scores.shape[1]:,}")
    return scores.astype(np.float32, copy=False)


def _names(path: Path, classes: tuple[str, ...], channels: int) -> tuple[str, ...]:
    """The names of all classes; one name of a binary network is that of class 1."""
    if channels == 1 and len(classes) < 2:
        return ("background", *(classes or ("foreground",)))
    if classes and len(classes) != max(2, channels):
        raise ValueError(f"expected {max(2, channels)} names of classes in {path}, got {len(classes)}")
    return classes
