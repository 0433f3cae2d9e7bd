# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: an image, a folder of images, a video, a camera or a stream over HTTP.

    for frame in open_source("photos/").frames(say=print):
        ...

`say` hears, in a sentence each, what could not be read and was left out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from gossamer.device.frames import Frame, decode, ms_since
from gossamer.device.live import Live, Say
from gossamer.device.motion_jpeg import read_stream, shown
from gossamer.device.opencv import Video, opencv, read_camera
from gossamer.device.pictures import images_in

VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".mjpeg", ".mjpg"}
CAMERA = re.compile(r"camera(?::(\d{1,4}))?")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Source(Protocol):
    """What gives frames; an `endless` one goes on until nobody asks."""

    @property
    def name(self) -> str: ...

    @property
    def endless(self) -> bool: ...

    def frames(self, say: Say) -> Generator[Frame, None, None]:
        """One after the other; closing the iterator lets go of the source."""
        ...


@dataclass(frozen=True, eq=False)
class Pictures:
    """Image files, one frame each."""

    name: str
    paths: tuple[Path, ...]
    endless: bool = field(default=False, init=False)

    def frames(self, say: Say) -> Generator[Frame, None, None]:
        """In their order; one that cannot be read is said and left out."""
        for path in self.paths:
            start = time.perf_counter()
            try:
                picture, size = decode(path, f"the image {path}")
            except ValueError as error:
                say(str(error))
                continue
            yield Frame(path.name, 0, path.stem, picture, size, ms_since(start))

    def check_apart(self, places: Callable[[str], Path]) -> None:
        """ValueError where two of them would be drawn into one file, or one over an image; a place is of a stem."""
        sources = {path.resolve() for path in self.paths}
        drawn: dict[str, Path] = {}  # names are compared as systems do that ignore case
        for path in self.paths:
            place = places(path.stem)
            if place.resolve() in sources:
                raise ValueError(
                    f"expected a folder apart from the images, {place} is one of them; choose another --out"
                )
            other = drawn.setdefault(place.name.casefold(), path)
            if other != path:
                raise ValueError(
                    f"expected images whose pictures have names of their own, {other.name} and {path.name} would both "
                    f"give {place.name}; rename one"
                )


def open_source(text: str, every: int = 1) -> Source:
    """The source that a path, `camera:N` or an address means; of its frames each `every`th is given.

    ValueError where there is nothing of the kind. Cameras and streams are asked only when frames are.
    """
    if camera := CAMERA.fullmatch(text):
        number = int(camera[1] or 0)
        opencv()  # refuses at once
        return Live(f"camera:{number}", f"camera{number}", partial(read_camera, number), every)
    if ADDRESS.match(text):
        return _stream(text, every)
    path = Path(text)
    if path.is_dir():
        return Pictures(text, images_in(path)[::every])
    if not path.exists():
        raise ValueError(
            f"expected an image, a folder, a video, camera:0 or http://..., found nothing at {text}; check the path"
        )
    if path.suffix.lower() in VIDEOS:
        opencv()
        return Video(path, every)
    return Pictures(text, (path,))


def _stream(url: str, every: int) -> Live:
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected the address of a stream, http://HOST/... or https://HOST/..., got {shown(url)}")
    return Live(shown(url), "stream", partial(read_stream, url), every)
