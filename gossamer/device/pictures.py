# SPDX-License-Identifier: Apache-2.0
"""The images that are asked for, where their masks go, and the pixels of one tile of a picture.

Pixels are read as they are stored: nothing is resized, and a rotation in the EXIF record is not applied, as in
training. Of a file with several pictures the first is read.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gossamer.files import visible_files

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"}
DEEP = ("I", "F")  # Pillow's modes with more than 8 bits a channel begin so
MASK, OVERLAY = ".png", ".overlay.png"


@dataclass(frozen=True)
class Job:
    """One image, the mask that is to be written, and the overlay where one is wanted."""

    image: Path
    mask: Path
    overlay: Path | None


def images_in(folder: Path) -> tuple[Path, ...]:
    """The images directly in a folder, by name; ValueError where there are none."""
    found = tuple(visible_files(folder, folder.iterdir(), SUFFIXES))
    if not found:
        raise ValueError(
            f"expected images in {folder}, PNG, JPEG, TIFF or WebP, found none; folders in it are not searched"
        )
    return found


def find_jobs(images: Path, out: Path, overlay: bool = False) -> tuple[Job, ...]:
    """One job for an image, or for each image directly in a folder, by name; no two write the same file."""
    if images.is_dir():
        files = images_in(images)
    elif images.exists():
        files = (images,)
    else:
        raise ValueError(f"expected an image or a folder of images, found nothing at {images}; check the path")
    jobs = tuple(
        Job(path, out / f"{path.stem}{MASK}", out / f"{path.stem}{OVERLAY}" if overlay else None) for path in files
    )
    _check_apart(jobs)
    return jobs


def _check_apart(jobs: tuple[Job, ...]) -> None:
    """ValueError where two jobs write one file, or one writes over an image."""
    sources = {job.image.resolve() for job in jobs}
    written: dict[str, Path] = {}  # file names are compared as systems do that ignore case
    for job in jobs:
        for path in (job.mask, job.overlay):
            if path is None:
                continue
            if path.resolve() in sources:
                raise ValueError(
                    f"expected a folder apart from the images, {path} is one of them; choose another --out"
                )
            other = written.setdefault(path.name.casefold(), job.image)
            if other != job.image:
                raise ValueError(
                    f"expected images whose results have names of their own, {other.name} and {job.image.name} would "
                    f"both give {path.name}; rename one"
                )


def read_picture(path: Path) -> Image.Image:
    """A decoded picture of 8 bits a channel; ValueError names a file that is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata and of large pictures: both are read
            with Image.open(path, formats=FORMATS) as picture:
                picture.load()
    except UnidentifiedImageError:
        raise ValueError(f"cannot read the image {path}: it is no PNG, JPEG, TIFF or WebP; convert it") from None
    except Image.DecompressionBombError:
        raise ValueError(f"cannot read the image {path}: Pillow takes no picture so large; cut it into parts") from None
    except Exception as error:  # decoders raise whatever they meet in a damaged file
        raise ValueError(f"cannot read the image {path}: {error}; replace or delete it") from error
    if picture.mode.startswith(DEEP):
        raise ValueError(
            f"cannot read the image {path}: it has more than 8 bits a channel ({picture.mode}); convert it"
        )
    picture.info.pop("transparency", None)  # what lies under it is seen; Pillow would warn with every tile
    return picture


@dataclass(frozen=True, eq=False)
class PaddedPicture:
    """A picture that is at least (height, width): a smaller one is mirrored at its borders, evenly on both sides."""

    picture: Image.Image
    channels: int
    least: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width with the padding."""
        return max(self.picture.height, self.least[0]), max(self.picture.width, self.least[1])

    @property
    def corner(self) -> tuple[int, int]:
        """Where the picture begins in it, row and column."""
        return (self.size[0] - self.picture.height) // 2, (self.size[1] - self.picture.width) // 2

    def window(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """The pixels of a window (height, width, C). Only these are converted, never the whole picture."""
        top, left = top - self.corner[0], left - self.corner[1]
        bottom, right = top + height, left + width
        box = (max(0, left), max(0, top), min(right, self.picture.width), min(bottom, self.picture.height))
        part = self.picture.crop(box).convert("L" if self.channels == 1 else "RGB")
        pixels = np.asarray(part, np.uint8).reshape(part.height, part.width, self.channels)
        beyond = ((box[1] - top, bottom - box[3]), (box[0] - left, right - box[2]), (0, 0))
        return np.pad(pixels, beyond, mode="reflect") if any(map(any, beyond)) else pixels
