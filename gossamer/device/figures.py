# SPDX-License-Identifier: Apache-2.0
"""How fast it goes, where the time is spent, and how many of each class there were. Of times the newest are kept."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

KEPT = 1000  # frames whose times count in a median
RECENT = 30  # frames over which the speed of now is taken


@dataclass(frozen=True)
class Times:
    """Milliseconds of one frame.

    `decode` is from the stored picture to what the network reads, `boxes` from its output to boxes without doubles.
    """

    decode: float
    network: float
    boxes: float


class Figures:
    """What is known after each frame."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._ends: deque[float] = deque([self._start], maxlen=RECENT + 1)
        self._times: deque[Times] = deque(maxlen=KEPT)
        self.frames = 0
        self.total: Counter[str] = Counter()  #: boxes of all frames, by class
        self.newest: Counter[str] = Counter()  #: of the newest frame

    def add(self, times: Times, classes: Iterable[str]) -> None:
        """A frame is done, with these boxes."""
        self.frames += 1
        self._times.append(times)
        self._ends.append(self._clock())
        self.newest = Counter(classes)
        self.total += self.newest

    @property
    def per_second(self) -> float:
        """Frames a second since the start, all that happens between them included."""
        return _rate(self.frames, self._ends[-1] - self._start)

    @property
    def per_second_now(self) -> float:
        """Frames a second over the newest thirty."""
        return _rate(len(self._ends) - 1, self._ends[-1] - self._ends[0])

    def medians(self) -> Times:
        """The median of each time over the newest thousand frames; zeros where there is none."""
        return Times(
            *(
                statistics.median([getattr(times, part.name) for times in self._times] or [0.0])
                for part in fields(Times)
            )
        )


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def counted(counts: Counter[str], most: int = 8) -> str:
    """Classes with their numbers, the most frequent first.

    >>> counted(Counter(car=2, person=11))
    '11 person, 2 car'
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{number:,} {name}" for name, number in ordered[:most])
    return f"{text}, ..." if len(ordered) > most else text or "nothing"
