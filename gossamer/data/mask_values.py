# SPDX-License-Identifier: Apache-2.0
"""What the values of a mask mean: class numbers, or 0 and 255 for two classes.

A mask has one channel (or a palette, whose indices count). Two classes may be written as 0 and 1 or as 0 and 255, in
each mask as it likes; more are 0, 1, 2, ... JPEG changes values by a little, so it can hold two classes only, dark and
light.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gossamer.data.tiles import opened

if TYPE_CHECKING:
    from PIL import Image

WHITE = 255
JPEG = (".jpg", ".jpeg")
NEAR = 64  # how far below 255 the lightest value of a JPEG's white may lie
BINARY = ("background", "foreground")


def class_map(file: Path, classes: int) -> NDArray[np.uint8]:
    """The class of each pixel of a mask, (H, W, 1); raises ValueError where a value is no class."""
    values = _values(file)
    return as_classes(values, classes, str(file))[..., None]


def as_classes(values: NDArray[np.uint8], classes: int, where: str) -> NDArray[np.uint8]:
    """Values as they are stored -> class numbers below `classes`, of the same shape.

    >>> as_classes(np.array([[0, 255]], np.uint8), 2, "mask.png")
    array([[0, 1]], dtype=uint8)
    """
    if classes == 2 and values.max(initial=0) == WHITE and not ((values > 0) & (values < WHITE)).any():
        return (values // WHITE).astype(np.uint8)
    if values.max(initial=0) >= classes:
        meant = " (or 0 and 255)" if classes == 2 else ""
        raise ValueError(
            f"masks of {classes} classes hold 0 to {classes - 1}{meant}, got {int(values.max())} in {where}; "
            "pixels to be ignored are not known here"
        )
    return values


def classes_found(masks: Iterable[Path]) -> tuple[str, ...]:
    """Names of the classes in these masks, every one of which is read: "background" and "foreground", or numbers."""
    binary, highest, where = True, 0, None
    for file in masks:
        there = np.unique(_values(file))
        binary = binary and (set(there.tolist()) <= {0, WHITE} or int(there.max()) <= 1)
        if int(there.max()) > highest:
            highest, where = int(there.max()), file
    if binary:
        return BINARY
    if highest == WHITE:
        raise ValueError(
            f"masks hold 0 and 255, or class numbers, got 255 beside other values, in {where} or another mask; write "
            "classes as 0, 1, 2, ...; pixels to be ignored are not known here"
        )
    return tuple(str(number) for number in range(highest + 1))


def mask_size(file: Path) -> tuple[int, int]:
    """Height and width of a mask, from its head; raises ValueError where it is in colour."""
    with opened(file) as picture:
        _check_mode(picture, file)
        return picture.height, picture.width


def _check_mode(picture: Image.Image, file: Path) -> None:
    if picture.mode not in ("1", "L", "P", "I", "I;16"):
        raise ValueError(
            f"a mask has one channel, the class of each pixel, got mode {picture.mode} in {file}; colours must become "
            "class numbers first"
        )


def _values(file: Path) -> NDArray[np.uint8]:
    """The values of a mask, (H, W)."""
    with opened(file) as picture:
        _check_mode(picture, file)
        values = np.asarray(picture)
    if values.min(initial=0) < 0 or values.max(initial=0) > WHITE:
        raise ValueError(f"a mask holds numbers from 0 to 255, got {values.min()} to {values.max()} in {file}")
    bytes_ = values.astype(np.uint8)
    return _dark_and_light(bytes_, file) if file.suffix.lower() in JPEG else bytes_


def _dark_and_light(values: NDArray[np.uint8], file: Path) -> NDArray[np.uint8]:
    """A JPEG's values -> 0 and 255. A picture of zeros alone stays one; class numbers would be lost in the dark."""
    if 0 < values.max(initial=0) < WHITE - NEAR:
        raise ValueError(
            f"a JPEG mask holds black and white, got values up to {values.max()} in {file}; JPEG changes class "
            "numbers, save masks as PNG"
        )
    return np.where(values >= 128, WHITE, 0).astype(np.uint8)
