# SPDX-License-Identifier: Apache-2.0
"""A segmentation network that was opened: the pixels of a tile go in, the scores of its classes come out.

A .gossamer file says how pixels are normalised and what the classes are called; for an .onnx file that is given. What
the network itself says of its input is checked, and one empty tile is run before any image is read: a network of
another kind is refused at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gossamer import container
from gossamer.data.preprocess import Preprocess
from gossamer.device.signature import Signature, read_signature

TILE = 256  # pixels, where neither the network nor its file nor the caller says a size
MOST_CLASSES = 256  # a mask has 8 bits a pixel
SCALED_ALREADY = "Sigmoid"  # a network that ends in it gives probabilities, not logits


class Session(Protocol):
    """A network in a runtime."""

    def run(self, *inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """(N, C, H, W) -> outputs"""
        ...


Opener = Callable[[bytes], Session]


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
    model, known, classes = _read(path, mean, std)
    try:
        signature = read_signature(model)
    except ValueError as error:
        raise ValueError(f"expected an ONNX network that reads one batch of images in {path}, but it {error}") from None
    preprocess = replace(known, size=_tile_size(path, signature, known, tile))
    try:
        session = open_session(model)
    except ValueError:
        raise
    except Exception as error:  # each runtime has exceptions of its own, all of them about this file
        raise ValueError(f"expected a network that the runtime opens in {path}, but: {_one_line(error)}") from error
    empty = np.zeros((1, *preprocess.shape), np.float32)
    channels = len(_run(path, session, empty)[0])
    names = _names(path, classes, channels)
    return SegmentationNetwork(
        path, preprocess, names, channels, channels == 1 and signature.last == SCALED_ALREADY, session
    )


def _read(
    path: Path, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[bytes, Preprocess, tuple[str, ...]]:
    """ONNX bytes, what is known of the preprocessing (of an .onnx file with a size of 0 for unknown), class names."""
    if path.suffix == ".gossamer":
        if mean or std:
            raise ValueError(f"expected --mean and --std for an .onnx file only, {path} holds its own; leave them out")
        payload = container.read(path).payload
        return container.to_onnx(payload), Preprocess.from_json(dict(payload.preprocess)), payload.classes
    if path.suffix != ".onnx":
        raise ValueError(f"expected a network, a .gossamer or an .onnx file, got {path}")
    if not mean or not std:
        raise ValueError(
            f"expected to know how {path} reads pixels, and an .onnx file does not say; give --mean and --std, one "
            "number a channel: 0 0 0 and 1 1 1 where it reads 0..1"
        )
    return path.read_bytes(), Preprocess(tuple(mean), tuple(std), TILE, channels=len(mean)), ()


def _tile_size(path: Path, signature: Signature, known: Preprocess, tile: int | None) -> tuple[int, int]:
    """Height and width of the tiles; ValueError for an input that is no image of these channels."""
    shape = signature.shape
    if signature.dtype != "float32" or len(shape) != 4 or shape[0] not in (None, 1):
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"expected a network that reads single images, float32 (N, C, H, W), in {path}, got {signature.dtype} "
            f"({sizes}); export it with a free batch size"
        )
    if shape[1] not in (None, known.channels):
        raise ValueError(f"expected a network of {known.channels} channels in {path}, got {shape[1]}; check --mean")
    height, width = shape[2] or tile or known.height, shape[3] or tile or known.width
    if tile is not None and (height, width) != (tile, tile):
        raise ValueError(f"expected no --tile, {path} reads {height}x{width} pixels and nothing else; leave it out")
    return height, width


def _run(path: Path, session: Session, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first output for one image, (1, K, H, W); ValueError unless it is a score for every pixel."""
    height, width = batch.shape[2:]
    try:
        scores = np.asarray(session.run(batch)[0])
    except Exception as error:  # each runtime has exceptions of its own
        raise ValueError(
            f"expected {path} to read tiles of {height}x{width} pixels, but: {_one_line(error)}; choose another --tile"
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).removesuffix(".")
