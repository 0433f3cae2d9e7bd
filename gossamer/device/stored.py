# SPDX-License-Identifier: Apache-2.0
"""A network as its file holds it: read, checked against what it says of its own input, and opened in a runtime.

A .gossamer file says how pixels are normalised and what the classes are called; for an .onnx file that is given. What
a network must give, scores of pixels or boxes, is another matter: `network.py`, `detector.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gossamer import container
from gossamer.data.preprocess import Preprocess
from gossamer.device.signature import Signature, read_signature

USUAL_SIZE = 256  # pixels a side, where neither the network nor its file nor the caller says a size


class Session(Protocol):
    """A network in a runtime."""

    def run(self, *inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """(N, C, H, W) -> outputs"""
        ...


Opener = Callable[[bytes], Session]


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file holds; of an .onnx file `preprocess.size` is a guess, and `classes` and `plan` are empty."""

    path: Path
    model: bytes
    preprocess: Preprocess
    classes: tuple[str, ...]
    plan: Mapping[str, Any]
    signature: Signature

    def open(self, open_session: Opener) -> Session:
        """The network in a runtime; ValueError, in one line, where the runtime refuses it."""
        try:
            return open_session(self.model)
        except ValueError:
            raise
        except Exception as error:  # each runtime has exceptions of its own, all of them about this file
            raise ValueError(
                f"expected a network that the runtime opens in {self.path}, but: {one_line(error)}"
            ) from error

    def sides(self) -> tuple[int | None, int | None]:
        """Height and width of its input, None where free; ValueError for an input that is no image."""
        shape = self.signature.shape
        if self.signature.dtype != "float32" or len(shape) != 4 or shape[0] not in (None, 1):
            sizes = ", ".join("any" if size is None else str(size) for size in shape)
            raise ValueError(
                f"expected a network that reads single images, float32 (N, C, H, W), in {self.path}, got "
                f"{self.signature.dtype} ({sizes}); export it with a free batch size"
            )
        if shape[1] not in (None, self.preprocess.channels):
            raise ValueError(
                f"expected a network of {self.preprocess.channels} channels in {self.path}, got {shape[1]}; "
                "check --mean"
            )
        return shape[2], shape[3]

    def sized(self) -> Preprocess:
        """How pixels are read, at the size of the network's input; where it is free, at the one that the file says."""
        height, width = self.sides()
        return replace(self.preprocess, size=(height or self.preprocess.height, width or self.preprocess.width))

    def names(self, count: int) -> tuple[str, ...]:
        """A name for each of so many classes, made up where the file has none; ValueError where it has others."""
        if not self.classes:
            return tuple(f"class {index}" for index in range(count))
        if len(self.classes) != count:
            raise ValueError(f"expected {count} names of classes in {self.path}, got {len(self.classes)}")
        return self.classes


def read_stored(path: Path, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> Stored:
    """The network in a .gossamer or an .onnx file; `mean` and `std` are for the latter, in 0..1."""
    if path.suffix == ".gossamer":
        if mean or std:
            raise ValueError(f"expected --mean and --std for an .onnx file only, {path} holds its own; leave them out")
        payload = container.read(path).payload
        model = container.to_onnx(payload)
        known, classes, plan = Preprocess.from_json(dict(payload.preprocess)), payload.classes, payload.plan
    else:
        if path.suffix != ".onnx":
            raise ValueError(f"expected a network, a .gossamer or an .onnx file, got {path}")
        if not mean or not std:
            raise ValueError(
                f"expected to know how {path} reads pixels, and an .onnx file does not say; give --mean and --std, one "
                "number a channel: 0 0 0 and 1 1 1 where it reads 0..1"
            )
        model = path.read_bytes()
        known, classes, plan = Preprocess(tuple(mean), tuple(std), USUAL_SIZE, channels=len(mean)), (), {}
    try:
        signature = read_signature(model)
    except ValueError as error:
        raise ValueError(f"expected an ONNX network that reads one batch of images in {path}, but it {error}") from None
    return Stored(path, model, known, classes, plan, signature)


def first_output(path: Path, session: Session, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a network of whole pictures gives for a batch (N, C, H, W); ValueError where it does not read that size."""
    try:
        return np.asarray(session.run(batch)[0])
    except Exception as error:  # each runtime has exceptions of its own
        raise ValueError(
            f"expected {path} to read pictures of {batch.shape[2]}x{batch.shape[3]} pixels, but: {one_line(error)}"
        ) from error


def one_line(error: Exception) -> str:
    """What a runtime says, on one line and without its full stop."""
    return " ".join(str(error).split()).removesuffix(".")
