# SPDX-License-Identifier: Apache-2.0
"""A watch for the terminal: a table of the candidates so far above the bar of the work at hand, and lines that stay.

Where there is no terminal, candidates are lines too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from gossamer.report.terminal import live_table, plain_text, progress
from gossamer.report.units import human_bytes, human_seconds
from gossamer.search.candidate import Candidate
from gossamer.search.watch import Step, Watch


class TerminalWatch(Watch):
    """Writes to standard error; nothing with `quiet`. `minimise`: what the candidates of a search are compared in."""

    def __init__(self, quiet: bool = False, minimise: str = "bytes", console: Console | None = None) -> None:
        self.quiet, self.minimise = quiet, minimise
        self._found: list[Candidate] = []
        self._left = ""
        self._bars = progress(quiet, console, self._table)

    def _table(self) -> Table | None:
        return live_table(self._found, self.minimise, self._left) if self._found else None

    def say(self, text: str) -> None:
        """One line that stays."""
        if not self.quiet:
            self._bars.console.print(plain_text(text), markup=False, highlight=False, soft_wrap=True)

    def candidate(self, name: str, measured: Mapping[str, Any]) -> None:
        """A row of the table, and without a terminal a line, for each candidate as it is finished."""
        found = Candidate.of(measured)
        self._found.append(found)
        if self._bars.console.is_terminal:
            return
        words = [f"{name}: {human_bytes(found.sizes.coded)} ({found.smaller:.1f}x)"]
        if found.speedup is not None:
            words.append(f"{found.speedup:.2f}x as fast")
        words.append(f"drop {100 * found.verdict.drop:+.2f} points on selection")
        words.append("accepted" if found.verdict.accepted else f"refused: {found.verdict.note}")
        self.say(", ".join(words))

    def clock(self, spent: float, hours: float | None) -> None:
        """What stands below the table."""
        self._left = f"{human_seconds(spent)} spent"
        if hours is not None:
            self._left += f", {human_seconds(max(0.0, 3600 * hours - spent))} left of {hours:g} h"

    @contextmanager
    def bar(self, title: str) -> Iterator[Step]:
        """A bar that goes away when the work is done."""
        with self._bars:
            task = self._bars.add_task(title, total=None, text="")
            try:
                yield lambda done, total, words: self._bars.update(task, completed=done, total=total, text=words)
            finally:
                self._bars.remove_task(task)
