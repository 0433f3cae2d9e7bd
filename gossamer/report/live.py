# SPDX-License-Identifier: Apache-2.0
"""A watch for the terminal: lines that stay, and a bar with the time left for the work at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gossamer.report.terminal import plain_text, progress
from gossamer.report.units import human_bytes
from gossamer.search.watch import Step, Watch


class TerminalWatch(Watch):
    """Writes to standard error; nothing with `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bars = progress(quiet)

    def say(self, text: str) -> None:
        """One line that stays."""
        if not self.quiet:
            self._bars.console.print(plain_text(text), markup=False, highlight=False, soft_wrap=True)

    def candidate(self, name: str, measured: Mapping[str, Any]) -> None:
        """One line for each candidate as it is finished."""
        verdict, size = measured["verdict"], measured["sizes"]
        words = [f"{name}: {human_bytes(size['coded'])} ({size['fp32'] / size['coded']:.1f}x)"]
        if measured["speedup"] is not None:
            words.append(f"{measured['speedup']:.2f}x as fast")
        words.append(f"drop {100 * verdict['drop']:+.2f} points on selection")
        words.append("accepted" if verdict["accepted"] else f"refused: {verdict['note']}")
        self.say(", ".join(words))

    @contextmanager
    def bar(self, title: str) -> Iterator[Step]:
        """A bar that goes away when the work is done."""
        with self._bars:
            task = self._bars.add_task(title, total=None, text="")
            try:
                yield lambda done, total, words: self._bars.update(task, completed=done, total=total, text=words)
            finally:
                self._bars.remove_task(task)
