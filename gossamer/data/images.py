# SPDX-License-Identifier: Apache-2.0
"""Images with their content hashes, and named splits of them.

Everything that holds images answers three questions, whatever the format they came from: how many, these
ones please (uint8, channels last, all of one size), and what is the content hash of each. The hash covers
the decoded pixels that the network sees, so two files that decode to the same picture are the same example.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gossamer.data.boxes import Boxes

CHUNK = 512  # images hashed at a time, so that hashing a folder never holds more than this many


class Images(Protocol):
    """Where images come from: memory, a folder, or a choice from either."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels of every image."""
        ...

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(N,) -> (N, H, W, C)"""
        ...

    def hashes(self) -> list[str]:
        """One content hash per image, in order; computed once."""
        ...


def content_hash(image: NDArray[np.uint8]) -> str:
    """SHA-256 over shape and pixels of one image (H, W, C), in hex.

    >>> content_hash(np.zeros((2, 2, 1), np.uint8))[:12]
    'e74109626b65'
    """
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def hash_all(images: Images) -> list[str]:
    """The content hash of every image, read in chunks."""
    found: list[str] = []
    for chunk in chunks(len(images), CHUNK):
        found += map(content_hash, images.take(chunk))
    return found


def chunks(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    """0 .. count - 1 in runs of `size`, the last one shorter."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images in memory."""

    pixels: NDArray[np.uint8] = field(repr=False)  # (N, H, W, C)

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[3] not in (1, 3):
            raise ValueError(
                "images must be uint8 (N, H, W, C) with 1 or 3 channels, "
                f"got {self.pixels.dtype} {self.pixels.shape}; scale them to 0..255 and cast"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.pixels.shape[1:]
        return height, width, channels

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.pixels[indices]

    @cached_property
    def _hashes(self) -> list[str]:
        return hash_all(self)

    def hashes(self) -> list[str]:
        return self._hashes


@dataclass(frozen=True, eq=False)
class ChosenImages:
    """Some images of another source, in a given order; nothing is copied."""

    source: Images
    indices: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.source.shape

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.source.take(self.indices[indices])

    def hashes(self) -> list[str]:
        every = self.source.hashes()
        return [every[index] for index in self.indices]


@dataclass(frozen=True, eq=False)
class Split:
    """Images under a name, with one class index per image, or without labels (calibration needs none).

    `masks`, where pixels have classes: an image of one channel for each image, the class of each pixel in it. `areas`:
    a number for each image, (N,); images of one number (an area, a session, a video) are not independent.
    `area_names`: what they are called, by number; without names they are their numbers.
    `boxes`, where objects are looked for: those in each image.
    """

    name: str
    images: Images
    labels: NDArray[np.int64] | None = None
    masks: Images | None = None
    areas: NDArray[np.int64] | None = None
    boxes: Boxes | None = None
    area_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, one, values in (("labels", "label", self.labels), ("areas", "area", self.areas)):
            if values is None:
                continue
            if values.dtype != np.int64 or values.ndim != 1:
                raise ValueError(f"{what} of split '{self.name}' must be int64 (N,), got {values.dtype} {values.shape}")
            if len(values) != len(self.images):
                raise ValueError(
                    f"split '{self.name}' has {len(self.images)} images but {len(values)} {what}; "
                    f"every image needs exactly one {one}"
                )
        if self.masks is not None:
            wanted = (len(self.images), *self.images.shape[:2], 1)
            if (got := (len(self.masks), *self.masks.shape)) != wanted:
                raise ValueError(f"masks of split '{self.name}' must be {wanted} like its images, got {got}")
        if self.boxes is not None and len(self.boxes) != len(self.images):
            raise ValueError(
                f"split '{self.name}' has {len(self.images)} images but boxes of {len(self.boxes)}; an image without "
                "objects has no rows, but is counted"
            )

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def sha256(self) -> str:
        """Names this data whatever its order: a hash over the sorted pairs of content hash and label, mask or boxes."""
        labels = ["-"] * len(self) if self.labels is None else [str(label) for label in self.labels.tolist()]
        if self.masks is not None:
            labels = self.masks.hashes()
        if self.boxes is not None:
            labels = self.boxes.hashes()
        lines = sorted(f"{image} {label}" for image, label in zip(self.images.hashes(), labels, strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def subset(self, indices: NDArray[np.int64], name: str) -> Split:
        """The examples at `indices` (M,), in that order, as a split of their own."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Split(
            name,
            _chosen(self.images, chosen),
            None if self.labels is None else self.labels[chosen],
            None if self.masks is None else _chosen(self.masks, chosen),
            None if self.areas is None else self.areas[chosen],
            None if self.boxes is None else self.boxes.choose(chosen),
            self.area_names,
        )

    def renamed(self, name: str) -> Split:
        """The same examples under another name."""
        return replace(self, name=name)

    def __str__(self) -> str:
        height, width, channels = self.images.shape
        return f"{self.name}: {len(self):,} images {height}x{width}x{channels}"


def _chosen(images: Images, indices: NDArray[np.int64]) -> ChosenImages:
    """Some of the images; one level of indirection, however often a split is split."""
    if isinstance(images, ChosenImages):
        return ChosenImages(images.source, images.indices[indices])
    return ChosenImages(images, indices)
