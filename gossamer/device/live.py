# SPDX-License-Identifier: Apache-2.0
"""Sources that do not wait: a camera, or a stream over HTTP.

A thread of its own reads, so that frames that come faster than they are looked at are dropped instead of piling up:
what is shown is what is there now. A source that goes away is asked for again, after growing pauses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from gossamer.device.frames import Frame, decode, ms_since
from gossamer.device.latest import Latest

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
WAKE_S, LAST_WORDS_S = 1.0, 2.0

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Live:
    """Frames as they come; `connect` gives what it reads, JPEG bytes or BGR arrays (H, W, 3), None where damaged.

    `connect` says what is wrong by an exception. Where nothing has come yet that is the end: whoever asked has to ask
    for something else. Otherwise it is called again, after each of `pauses_s`.
    """

    name: str
    stem: str
    connect: Callable[[], Iterator[Any]] = field(repr=False)
    every: int = 1
    pauses_s: tuple[float, ...] = PAUSES_S
    endless: bool = field(default=True, init=False)

    def frames(self, say: Say) -> Generator[Frame, None, None]:
        """The newest frame, again and again; ValueError once the source is gone for good."""
        reader = _Reader(self, say)
        thread = threading.Thread(target=reader.run, name=f"reads {self.name}", daemon=True)
        thread.start()
        seen = 0
        try:
            while True:
                found = reader.newest.newer(seen, WAKE_S)
                if found is not None:
                    seen, (index, raw) = found
                    frame = self._frame(index, raw, say)
                    if frame is not None:
                        yield frame
                elif reader.newest.closed:
                    break
        finally:
            reader.stop.set()
            thread.join(LAST_WORDS_S)  # it lets go of the camera; where it hangs it ends with the process
        if reader.end is not None:
            raise reader.end

    def _frame(self, index: int, raw: Any, say: Say) -> Frame | None:
        start = time.perf_counter()
        try:
            if isinstance(raw, bytes):
                picture, size = decode(raw, f"frame {index:,} of {self.name}", ("JPEG",), "it is left out")
            else:
                picture = Image.fromarray(raw[:, :, ::-1])
                size = picture.size
        except ValueError as error:
            say(str(error))
            return None
        return Frame(self.name, index, f"{self.stem}-{index:06}", picture, size, ms_since(start))


class _Reader:
    """What the thread does, and what it leaves for whoever takes the frames."""

    def __init__(self, source: Live, say: Say) -> None:
        self._source, self._say = source, say
        self._index = 0
        self.newest: Latest[tuple[int, Any]] = Latest()
        self.stop = threading.Event()
        self.end: Exception | None = None

    def run(self) -> None:
        """Read until told to stop, or until the source is gone for good."""
        try:
            self._read()
        except Exception as error:  # it is raised where the frames are taken
            self.end = error
        finally:
            self.newest.close()

    def _read(self) -> None:
        tries, name = 0, self._source.name
        while not self.stop.is_set():
            before = self._index
            try:
                for raw in self._source.connect():
                    self._take(raw)
                    if self.stop.is_set():
                        return
                problem = "nothing more came"
            except Exception as error:  # drivers and decoders have exceptions of their own
                problem = _words(error)
            if self._index == 0:
                raise ValueError(f"cannot read {name}: {problem}")
            tries = 0 if self._index > before else tries + 1
            if tries >= len(self._source.pauses_s):
                raise ValueError(f"{name} is gone: {problem}; asked again {tries} times, in vain")
            pause = self._source.pauses_s[tries]
            self._say(f"{name} is gone: {problem}; asking again in {pause:g} s")
            self.stop.wait(pause)

    def _take(self, raw: Any) -> None:
        index = self._index
        self._index += 1
        if raw is None:
            self._say(f"cannot read frame {index:,} of {self._source.name}: it is damaged; it is left out")
        elif index % self._source.every == 0:
            self.newest.put((index, raw))


def _words(error: Exception) -> str:
    """What is wrong, on one line: of an error of the system, which urllib wraps, its own words alone."""
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, OSError) else error
    return " ".join((getattr(cause, "strerror", None) or str(cause)).split())
