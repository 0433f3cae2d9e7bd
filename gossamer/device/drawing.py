# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn into a picture, with what is in them and how sure the network is.

Lines and letters grow with the picture. A label stands on its box, or inside it where there is no room above; its
letters are black or white, whichever has the higher contrast with the colour of the class (WCAG 2.2, 1.4.3).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from gossamer.device.masks import ENTRIES, palette
from gossamer.files import write_atomically

Colour = tuple[int, int, int]

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
LINE, LETTERS = 1 / 240, 1 / 32  # of the shorter side of the picture
LEAST_LINE, LEAST_LETTERS = 2, 12  # pixels
MOST_LETTERS = 160
LONGEST_SIDE = 65_500  # of a JPEG
QUALITY = 90


@dataclass(frozen=True)
class Label:
    """One box to be drawn: corners x1, y1, x2, y2 in pixels, the words on it, and the class whose colour it has."""

    box: tuple[float, float, float, float]
    words: str
    kind: int


@cache
def colour_of(kind: int) -> Colour:
    """The colour of a class; black, the background of masks, is no class's.

    >>> colour_of(0)
    (230, 159, 0)
    """
    red, green, blue = (int(part) for part in palette()[1 + kind % (ENTRIES - 1)])
    return red, green, blue


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, from 0 of black to 1 of white (WCAG 2.2).

    >>> luminance((255, 255, 255))
    1.0
    """
    red, green, blue = (part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour)
    return round(0.2126 * red + 0.7152 * green + 0.0722 * blue, 9)


def contrasting(colour: Colour) -> Colour:
    """Black or white: which is read more easily on the colour.

    >>> contrasting((230, 159, 0)), contrasting((0, 0, 120))
    ((0, 0, 0), (255, 255, 255))
    """
    # contrasts are (L + 0.05) / 0.05 of black and 1.05 / (L + 0.05) of white
    return BLACK if (luminance(colour) + 0.05) ** 2 > 1.05 * 0.05 else WHITE


def drawn(picture: Image.Image, labels: Sequence[Label]) -> Image.Image:
    """A copy of the picture, RGB, with the boxes; the first label is drawn last, over the others."""
    copy = picture.convert("RGB")  # a copy, also of what is RGB
    draw = ImageDraw.Draw(copy)
    side = min(copy.size)
    line = max(LEAST_LINE, round(side * LINE))
    font = _font(min(MOST_LETTERS, max(LEAST_LETTERS, round(side * LETTERS))))
    for label in reversed(labels):
        _draw(draw, copy.size, label, line, font)
    return copy


def _draw(draw: ImageDraw.ImageDraw, size: tuple[int, int], label: Label, line: int, font: Any) -> None:
    width, height = size
    colour = colour_of(label.kind)
    left, right = sorted((_inside(label.box[0], width), _inside(label.box[2], width)))
    top, bottom = sorted((_inside(label.box[1], height), _inside(label.box[3], height)))
    draw.rectangle((left, top, right, bottom), outline=colour, width=line)
    if not label.words:
        return
    first, above, last, below = draw.textbbox((0, 0), label.words, font=font)
    _, highest, _, lowest = draw.textbbox((0, 0), "Hg", font=font)  # so all labels are equally high
    above, below = min(above, highest), max(below, lowest)
    wide, high = round(last - first) + 2 * line, round(below - above) + 2 * line
    x = max(0, min(left, width - wide))
    y = top - high + line if top - high + line >= 0 else top
    draw.rectangle((x, y, x + wide - 1, y + high - 1), fill=colour)
    draw.text((x + line - first, y + line - above), label.words, fill=contrasting(colour), font=font)


def _inside(value: float, length: int) -> int:
    return max(0, min(length - 1, round(value)))


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def as_jpeg(picture: Image.Image, quality: int = QUALITY) -> bytes:
    """The bytes of a JPEG file; ValueError for a picture with a side that JPEG cannot have."""
    if max(picture.size) > LONGEST_SIDE:
        raise ValueError(
            f"expected sides of at most {LONGEST_SIDE:,} pixels, which is what a JPEG holds, got "
            f"{picture.width:,} x {picture.height:,}; make the picture smaller"
        )
    data = io.BytesIO()
    picture.convert("RGB").save(data, format="JPEG", quality=quality)
    return data.getvalue()


def write_drawn(path: Path, picture: Image.Image, labels: Sequence[Label]) -> None:
    """The picture with its boxes as a JPEG file, whole or not at all; OSError names the file."""
    data = as_jpeg(drawn(picture, labels))
    try:
        write_atomically(path, data)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which file it has no room for
        raise
