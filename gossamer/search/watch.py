# SPDX-License-Identifier: Apache-2.0
"""Watch: how a long run shows itself to whoever looks on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Step = Callable[[int, int, str], None]
"""Called with (done, all, a few words)."""


class Watch:
    """Shows nothing; the command line has one that draws progress bars."""

    def say(self, text: str) -> None:
        """A line worth keeping: what was decided, and why."""

    def candidate(self, name: str, measured: Mapping[str, Any]) -> None:
        """A candidate was written and measured."""

    def clock(self, spent: float, hours: float | None) -> None:
        """So many seconds were spent on the run until now, of so many hours at most."""

    @contextmanager
    def bar(self, title: str) -> Iterator[Step]:
        """A bar for a piece of work of known length."""
        yield lambda done, total, words: None
