# SPDX-License-Identifier: Apache-2.0
"""Large pictures as tiles of one size, cut out when they are asked for.

Tiles cover the whole picture: along a side they lie as evenly as they can, so that two neighbours share the overlap
asked for, or more. A picture is decoded whole (Pillow knows no other way); the one decoded last is kept, and the first
ones while there is room, so reading tiles in order decodes each picture once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gossamer.data.images import hash_all

if TYPE_CHECKING:
    from PIL import Image

LAST = -1  # the place of the picture decoded last, in the store


@dataclass(frozen=True, eq=False)
class TiledImages:
    """Tiles of pictures in files; `places` says which: (N, 3), the picture's number, top and left of each tile."""

    files: tuple[Path, ...] = field(repr=False)
    decode: Callable[[Path], NDArray[np.uint8]]  #: a file -> (H, W, C)
    places: NDArray[np.int64] = field(repr=False)
    shape: tuple[int, int, int]  #: height, width, channels of a tile
    limit_bytes: int = 0  #: room for decoded pictures, beside the last one
    _kept: dict[int, NDArray[np.uint8]] = field(default_factory=dict, init=False, repr=False)
    _last: dict[int, NDArray[np.uint8]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.places)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(N,) -> (N, H, W, C); each picture is decoded once a call, whatever the order of its tiles."""
        height, width, _ = self.shape
        out = np.empty((len(indices), *self.shape), np.uint8)
        chosen = self.places[indices]
        for position in np.argsort(chosen[:, 0], kind="stable").tolist():
            source, top, left = chosen[position].tolist()
            out[position] = self._picture(source)[top : top + height, left : left + width]
        return out

    @cached_property
    def _hashes(self) -> list[str]:
        return hash_all(self)

    def hashes(self) -> list[str]:
        return self._hashes

    def _picture(self, source: int) -> NDArray[np.uint8]:
        for store in (self._kept, self._last):
            if source in store:
                return store[source]
        picture = self.decode(self.files[source])
        if sum(kept.nbytes for kept in self._kept.values()) + picture.nbytes <= self.limit_bytes:
            self._kept[source] = picture
        else:
            self._last.clear()
            self._last[source] = picture
        return picture


def places_of(sizes: list[tuple[int, int]], tile: tuple[int, int], overlap: int) -> NDArray[np.int64]:
    """The tiles that cover pictures of these heights and widths, row by row: (N, 3), picture, top, left."""
    found = [
        (source, top, left)
        for source, (height, width) in enumerate(sizes)
        for top in starts(height, tile[0], overlap)
        for left in starts(width, tile[1], overlap)
    ]
    return np.array(found, np.int64).reshape(-1, 3)


def starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles start along a side, evenly, from its first pixel to its last.

    >>> starts(5000, 512, 0)
    [0, 499, 997, 1496, 1995, 2493, 2992, 3491, 3989, 4488]
    >>> starts(512, 256, 64)
    [0, 128, 256]
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap of tiles must be in 0..{tile - 1}, less than their {tile} pixels, got {overlap}")
    if side < tile:
        raise ValueError(f"tiles of {tile} pixels do not fit into a side of {side}; ask for smaller tiles")
    count = -(-(side - overlap) // (tile - overlap))
    return [round(float(start)) for start in np.linspace(0, side - tile, count)]


@contextmanager
def opened(file: Path) -> Iterator[Image.Image]:
    """A picture, however large; what cannot be read is named.

    Pillow takes more than 90 million pixels for an attack (a small file that fills the memory), but aerial pictures
    of 10,000 by 10,000 are usual.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(file)
        with picture:
            yield picture
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the image {file}: {error}; replace or delete it") from error
