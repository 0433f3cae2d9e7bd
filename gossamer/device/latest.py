# SPDX-License-Identifier: Apache-2.0
"""The newest of something, between threads: who puts never waits, who takes gets the newest and misses the others.

It holds one value, however slow its readers are.
"""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """A place for one value; each new one takes it.

    >>> latest = Latest()
    >>> latest.put("a")
    >>> latest.put("b")
    >>> latest.newer(than=0, within_s=0)
    (2, 'b')
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._value: T | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, value: T) -> None:
        """Replace the value; who waits for one wakes up."""
        with self._changed:
            self._count += 1
            self._value = value
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing comes any more; who waits wakes up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def newer(self, than: int, within_s: float) -> tuple[int, T] | None:
        """The newest value and its number, counted from 1, where that is above `than`; otherwise wait for one.

        None where none came in time, or where none will come.
        """
        deadline = time.monotonic() + within_s
        with self._changed:
            while self._count <= than and not self._closed:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    break
            value = self._value
            return (self._count, value) if self._count > than and value is not None else None
