# SPDX-License-Identifier: Apache-2.0
"""A frame: one decoded picture of a source, and how large it is when it is decoded.

Pixels are read as they are stored, as `pictures.py` does. A JPEG of more than 50 million pixels is decoded at a half, a
quarter or an eighth of its sides, which libjpeg does in passing; Pillow refuses, in any format, what has more than 179
million.
"""

from __future__ import annotations

import io
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from gossamer.device.pictures import DEEP, FORMATS

MOST_PIXELS = 50_000_000  # decoded, 150 MB of RGB
SCALES = (1, 2, 4, 8)  # what libjpeg divides the sides by


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, where it is from, and how long it took to decode.

    `size` is the width and the height of the stored picture, of which a large one is held reduced. `stem` begins the
    name of a file that is made of it.
    """

    source: str
    index: int  #: within its source, from 0
    stem: str
    picture: Image.Image
    size: tuple[int, int]
    decode_ms: float


def ms_since(start: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return 1e3 * (time.perf_counter() - start)


def decode(
    file: Path | bytes, what: str, formats: tuple[str, ...] = FORMATS, remedy: str = ""
) -> tuple[Image.Image, tuple[int, int]]:
    """A decoded picture of 8 bits a channel, and its stored width and height.

    ValueError where `what` cannot be read, with a `remedy` of its own or the caller's.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata and of large pictures: both are read
            with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=formats) as picture:
                size = picture.size
                _reduce(picture)
                picture.load()
    except UnidentifiedImageError:
        raise ValueError(f"cannot read {what}: it is no {_either(formats)}; {remedy or 'convert it'}") from None
    except Image.DecompressionBombError:
        raise ValueError(
            f"cannot read {what}: it is larger than Pillow opens, {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; "
            f"{remedy or 'make it smaller'}"
        ) from None
    except Exception as error:  # decoders raise whatever they meet in a damaged file
        raise ValueError(f"cannot read {what}: {error}; {remedy or 'replace or delete it'}") from error
    if picture.mode.startswith(DEEP):
        raise ValueError(
            f"cannot read {what}: it has more than 8 bits a channel ({picture.mode}); {remedy or 'convert it'}"
        )
    picture.info.pop("transparency", None)  # what lies under it is seen; Pillow would warn
    return picture, size


def _reduce(picture: Image.Image) -> None:
    """Have a large JPEG decoded at a fraction of its sides; other formats have nothing of the kind."""
    width, height = picture.size
    scale = next((scale for scale in SCALES if width * height <= MOST_PIXELS * scale**2), SCALES[-1])
    if scale > 1:
        picture.draft(None, (max(1, width // scale), max(1, height // scale)))


def _either(formats: tuple[str, ...]) -> str:
    names = ["WebP" if name == "WEBP" else name for name in formats]
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
