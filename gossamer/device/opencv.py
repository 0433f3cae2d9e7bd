# SPDX-License-Identifier: Apache-2.0
"""Videos and cameras, by OpenCV: imported only here, and only when one is asked for."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from gossamer.device.frames import Frame, ms_since

#: What OpenCV and its decoders would say by themselves, on standard error; we say it in a sentence.
SILENT = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}
FRAME_COUNT = 7  # CAP_PROP_FRAME_COUNT of OpenCV
SHARE_OF_FRAMES = 0.9  # that must come: of some formats their number is an estimate


def opencv() -> Any:
    """The module; ValueError where it is not installed."""
    for name, level in SILENT.items():
        os.environ.setdefault(name, level)
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise ValueError(
            f"expected OpenCV, which reads videos and cameras, but: {error}; pip install opencv-python-headless, or "
            "give pictures or an http:// stream, which need none"
        ) from error


@dataclass(frozen=True, eq=False)
class Video:
    """The frames of a video file, each `every`th, none dropped."""

    path: Path
    every: int = 1
    endless: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        return str(self.path)

    def frames(self, say: Callable[[str], None]) -> Generator[Frame, None, None]:
        """In their order; what is damaged is said and left out. ValueError where nothing is left."""
        capture = opencv().VideoCapture(str(self.path))
        index, found = 0, 0
        frames = int(capture.get(FRAME_COUNT))
        try:
            start = time.perf_counter()
            while capture.isOpened() and capture.grab():
                if index % self.every == 0:
                    pixels = _retrieved(capture)
                    if pixels is not None:
                        picture = Image.fromarray(pixels[:, :, ::-1])
                        stem = f"{self.path.stem}-{index:06}"
                        yield Frame(self.path.name, index, stem, picture, picture.size, ms_since(start))
                        found += 1
                        start = time.perf_counter()
                    else:
                        say(f"cannot read frame {index:,} of {self.path}: it is damaged; it is left out")
                index += 1
        finally:
            capture.release()
        if index < SHARE_OF_FRAMES * frames:
            say(f"{self.path} ends after {index:,} of its {frames:,} frames; what follows is damaged")
        if not found:
            raise ValueError(f"cannot read the video {self.path}: OpenCV finds no frame in it; convert it to an .mp4")


def read_camera(number: int) -> Iterator[Any]:
    """BGR arrays (H, W, 3) of a camera of this machine, None for a damaged one; ValueError where there is none."""
    capture = opencv().VideoCapture(number)
    try:
        if not capture.isOpened():
            raise ValueError(
                "no camera of this number answers; check that it is plugged in, that no other program holds it and "
                "that you may read it, or give another number"
            )
        while capture.grab():
            yield _retrieved(capture)
    finally:
        capture.release()


def _retrieved(capture: Any) -> Any:
    """The frame that was grabbed, decoded to BGR (H, W, 3); None where it is damaged."""
    try:
        whole, pixels = capture.retrieve()
    except Exception:  # OpenCV's own, about this frame
        return None
    return pixels if whole else None
