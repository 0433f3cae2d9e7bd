# SPDX-License-Identifier: Apache-2.0
"""A tree of pictures with one folder per class.

    DIR/train/<class>/*.jpg, DIR/val/<class>/*.jpg, DIR/test/<class>/*.jpg, or DIR/<class>/*.jpg

Pictures are decoded by Pillow in threads, resized and centre-cropped to the network's size, and kept as
uint8 while there is room; the rest is decoded again each time. Without test/, val/ is halved by content
hash; class folders directly under DIR are cut 80/10/10. DIR/groups.csv may say which pictures belong together
(`groups.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.groups import arrange_by_group, grouped_files, read_sheet
from gossamer.data.images import Split, content_hash
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits
from gossamer.files import visible_files

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
KEPT_BYTES = 4 << 30
DECODED_AT_ONCE = 256  # pictures in flight while hashing; bounds the memory, feeds every thread

Progress = Callable[[int, int], None]  # pictures done, pictures in all


@dataclass(frozen=True, eq=False)
class FolderImages:
    """Pictures in files, cut to one size, or squeezed to it whole; the first `limit_bytes` are decoded only once."""

    files: tuple[Path, ...] = field(repr=False)
    preprocess: Preprocess
    limit_bytes: int = KEPT_BYTES
    progress: Progress | None = field(default=None, repr=False)
    squeezed: bool = False
    _kept: dict[int, NDArray[np.uint8]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.preprocess.shape
        return height, width, channels

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((len(indices), *self.shape), np.uint8)
        for place, image in enumerate(self._decoded(indices.tolist())):
            out[place] = image
        return out

    @cached_property
    def _hashes(self) -> list[str]:
        found: list[str] = []
        for start in range(0, len(self), DECODED_AT_ONCE):
            chunk = range(start, min(start + DECODED_AT_ONCE, len(self)))
            found += map(content_hash, self._decoded(list(chunk)))
            if self.progress is not None:
                self.progress(len(found), len(self))
        return found

    def hashes(self) -> list[str]:
        return self._hashes

    def _decoded(self, indices: list[int]) -> Iterator[NDArray[np.uint8]]:
        """The images at `indices`, in order; those not kept are decoded in threads (Pillow frees the
        lock)."""
        missing = sorted({index for index in indices if index not in self._kept})
        fresh: dict[int, NDArray[np.uint8]] = {}
        if len(missing) == 1:
            fresh = {missing[0]: self._decode(missing[0])}
        elif missing:
            with ThreadPoolExecutor() as pool:
                fresh = dict(zip(missing, pool.map(self._decode, missing), strict=True))
        room = self.limit_bytes // (self.shape[0] * self.shape[1] * self.shape[2])
        for index, image in fresh.items():
            if len(self._kept) >= room:
                break
            self._kept[index] = image
        for index in indices:
            yield fresh[index] if index in fresh else self._kept[index]

    def _decode(self, index: int) -> NDArray[np.uint8]:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(self.files[index]) as picture:
                return self.preprocess.squeeze(picture) if self.squeezed else self.preprocess.fit(picture)
        except (
            OSError,
            UnidentifiedImageError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            raise ValueError(f"cannot read the image {self.files[index]}: {error}; replace or delete it") from error


def load(
    folder: Path, preprocess: Preprocess, *, limit_bytes: int = KEPT_BYTES, progress: Progress | None = None
) -> Splits:
    """Splits from a tree of pictures; classes are the names of the class folders, sorted."""
    given, classes = parts(folder, preprocess, limit_bytes=limit_bytes, progress=progress)
    return arrange_by_group(given, classes, str(folder))


def parts(
    folder: Path, preprocess: Preprocess, *, limit_bytes: int = KEPT_BYTES, progress: Progress | None = None
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """What a tree of pictures holds, by "train", "val" and "test", or as "all"; and the names of its classes."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; check --data")
    found_in = {SPLITS[sub.name]: sub for sub in folders_in(folder) if sub.name in SPLITS} or {"all": folder}
    classes = tuple(sorted({sub.name for part in found_in.values() for sub in folders_in(part)}))
    if len(classes) < 2:
        raise ValueError(
            f"expected {folder}/train/<class>/*.jpg or {folder}/<class>/*.jpg with at least two classes, "
            f"got {list(classes)}"
        )
    found: dict[str, tuple[list[Path], list[int]]] = {}
    for name, part in found_in.items():
        files: list[Path] = []
        labels: list[int] = []
        for label, of in enumerate(classes):
            pictures = pictures_in(part / of)
            if not pictures and name == "train" and not (part / of).is_dir():
                others = [str(other / of) for other in found_in.values() if (other / of).is_dir()]
                raise ValueError(
                    f"expected images of class '{of}' in {part / of}, got that class only in {', '.join(others)}; "
                    "add images to train on, or delete the class"
                )
            if not pictures and name in ("train", "all"):
                raise ValueError(f"class folder {part / of} has no images; add some or delete the folder")
            files += pictures
            labels += [label] * len(pictures)
        if not files:
            raise ValueError(f"{part} has no images; add some or delete the folder")
        found[name] = files, labels
    total = sum(len(files) for files, _ in found.values())
    of_part = _in_all(progress, total)
    groups = read_sheet(folder)
    given: dict[str, Split] = {}
    for name, (files, labels) in found.items():
        images = FolderImages(tuple(files), preprocess, limit_bytes * len(files) // total, of_part(name))
        given[name] = grouped_files(Split(name, images, np.array(labels, np.int64)), files, folder, groups)
    return given, classes


def _in_all(progress: Progress | None, total: int) -> Callable[[str], Progress | None]:
    """For each part of the data its own progress, that reports the pictures done in all parts together."""
    done: dict[str, int] = {}

    def of_part(name: str) -> Progress | None:
        if progress is None:
            return None

        def report(count: int, _: int) -> None:
            done[name] = count
            progress(sum(done.values()), total)

        return report

    return of_part


def pictures_in(folder: Path) -> list[Path]:
    """All pictures under a folder, sorted, hidden ones left out; none where there is no such folder."""
    return visible_files(folder, folder.rglob("*"), SUFFIXES)


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted, hidden ones left out."""
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith("."))
