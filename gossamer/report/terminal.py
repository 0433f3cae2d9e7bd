# SPDX-License-Identifier: Apache-2.0
"""Tables and progress on a terminal; plain lines where there is none, nothing where silence was asked for.

Texts that come from outside (layer names, notes) are shown as they are: no markup, no escape sequences.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from gossamer.measure.environment import Finding
from gossamer.report.comparison import ABSENT, candidate_cells, comparison_rows, test_cell
from gossamer.report.record import Candidate, Report
from gossamer.report.units import human_bytes, human_count, human_ms, human_ratio, human_seconds, percent
from gossamer.report.words import by_area_sentence, certificate_sentence, parts_sentences

if TYPE_CHECKING:
    from gossamer.search.candidate import Candidate as Finished

SECONDS_BETWEEN_LINES = 10.0
IN_LAYERS = ("weights", "units and codebooks")  # parts of the file that the rows of its layers hold
COSTS = ("file", "smaller", "MACs", "memory", "batch 1", "drop, points")  # of candidates while the search goes on
LIVE_ROWS = 12  # the newest
WIDE = 200  # letters of a line where there is no terminal: tables are not squeezed on their way into a file


def plain_text(value: str) -> str:
    """The text on one line with every unprintable character, escape sequences included, replaced.

    >>> plain_text("conv1\\x1b[31m")
    'conv1�[31m'
    """
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value)


def console() -> Console:
    """Standard output: as wide as the terminal, or wide where it is a pipe or a file."""
    out = Console()
    return out if out.is_terminal else Console(width=WIDE)


def comparison_table(report: Report) -> Table:
    """Original against compressed (against the dense control, where there is one), the certificate below."""
    title = f"{report.network} on {report.data}, recipe {report.recipe}, minimising {report.minimise}"
    said = [certificate_sentence(report), by_area_sentence(report), *parts_sentences(report)]
    table = _table(title, caption=" ".join(sentence for sentence in said if sentence))
    columns = ["original", "compressed", *(["control"] if report.control else []), "change"]
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for row in comparison_rows(report):
        cells = [row.original, row.compressed, *([row.control] if report.control else []), row.change]
        table.add_row(*map(_cell, [row.label, *cells]), style="bold" if row.key else None)
    return table


def bytes_table(report: Report) -> Table | None:
    """Where the bytes of the coded file are: each layer, then what is not weights; None where nobody noted it."""
    if not report.layers:
        return None
    whole = report.compressed.bytes.coded or sum(row.bytes for row in report.layers) or 1
    table = _table("where the bytes are", caption=f"{whole:,} bytes in all" if report.compressed.bytes.coded else None)
    table.add_column("layer", overflow="fold", min_width=14)
    for column in ("bytes", "share", "bits per weight", "zeros"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("coder")
    for row in report.layers:
        cells = [row.name, f"{row.bytes:,}", percent(row.bytes / whole), f"{row.bits_per_weight:.2f}"]
        table.add_row(*map(_cell, [*cells, percent(row.sparsity), row.coder]))
    others = {name: size for name, size in (report.parts or {}).items() if name not in IN_LAYERS}
    if report.parts:
        left = whole - sum(row.bytes for row in report.layers) - sum(others.values())
        others = {"other weights": left} | others
    for name, size in others.items():
        if size:
            table.add_row(*map(_cell, [name, f"{size:,}", percent(size / whole), "", "", ""]), style="dim")
    return table


def candidates_table(candidates: Sequence[Candidate], chosen: str | None = None) -> Table:
    """What the search looked at, in the order it looked; the chosen one is bold."""
    table = _table("candidates, judged on the selection split; the test split was opened for those accepted")
    table.add_column("candidate", overflow="fold", min_width=14)
    for column in ("size", "MACs", "batch 1", "quality", "change"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("accepted")
    table.add_column("test", overflow="fold", min_width=10)
    table.add_column("note", overflow="fold", min_width=16)
    for candidate in candidates:
        cells = [
            candidate.name,
            *candidate_cells(candidate),
            "yes" if candidate.accepted else "no",
            test_cell(candidate),
            candidate.note,
        ]
        table.add_row(*map(_cell, cells), style="bold" if candidate.name == chosen else None)
    return table


def live_table(found: Sequence[Finished], minimise: str, left: str) -> Table:
    """The candidates of a search that goes on, newest last; those that no other beats in cost and drop are marked."""
    table = _table("candidates so far, * where none is smaller at no larger drop", caption=left)
    table.add_column("")
    table.add_column("candidate", no_wrap=True)
    for column in COSTS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", overflow="fold", min_width=10)
    best = min((c for c in found if c.verdict.accepted), key=lambda c: c.rank(minimise), default=None)
    for candidate in found[-LIVE_ROWS:]:
        cells = ["*" if _unbeaten(candidate, found, minimise) else "", candidate.name, *_costs(candidate)]
        cells += [f"{100 * candidate.verdict.drop:.2f}"]
        cells += ["accepted" if candidate.verdict.accepted else f"refused: {candidate.verdict.note}"]
        table.add_row(*map(_cell, cells), style="bold" if candidate is best else None)
    return table


def _unbeaten(candidate: Finished, found: Sequence[Finished], minimise: str) -> bool:
    mine = (candidate.cost(minimise), candidate.verdict.drop)
    others = [(other.cost(minimise), other.verdict.drop) for other in found]
    return not any(cost <= mine[0] and drop <= mine[1] and (cost, drop) != mine for cost, drop in others)


def _costs(candidate: Finished) -> list[str]:
    """File, times smaller, multiply-adds, working memory and milliseconds as texts."""
    size = candidate.sizes
    return [
        human_bytes(size.coded),
        human_ratio(candidate.smaller),
        human_count(candidate.macs),
        ABSENT if candidate.ram_bytes is None else human_bytes(candidate.ram_bytes),
        ABSENT if candidate.latency_ms is None else human_ms(candidate.latency_ms),
    ]


def estimate_table(candidates: Sequence[Finished], images: int, limits: bool = False) -> Table:
    """What a network bears without training, judged on so many images; with `limits`, which of them keep these."""
    table = _table(
        f"without training, on {images:,} images of the selection split",
        caption="training goes further: what is lost here is where it starts from",
    )
    table.add_column("")
    for column in COSTS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("fits" if limits else "provable on test", overflow="fold")
    for candidate in candidates:
        verdict = candidate.verdict
        error = 2 * math.sqrt(max(verdict.flips, 1 / images) / images)  # two standard errors
        cells = [
            candidate.name,
            *_costs(candidate),
            f"{100 * verdict.drop:.2f} ± {100 * error:.2f}",
            "yes" if verdict.accepted else f"no: {verdict.note}" if limits else "no",
        ]
        table.add_row(*map(_cell, cells))
    return table


def doctor_table(findings: Sequence[Finding]) -> Table:
    """What this machine has, what is missing, and the line that brings it."""
    table = _table("this machine")
    table.add_column("")
    table.add_column("found", overflow="fold")
    table.add_column("to get more", overflow="fold")
    for finding in findings:
        table.add_row(*map(_cell, [finding.name, finding.value, finding.remedy]), style=None if finding.ok else "bold")
    return table


def progress(
    quiet: bool = False, console: Console | None = None, above: Callable[[], Table | None] = lambda: None
) -> Progress:
    """A rich `Progress`: bar, percentage, time left, and the task's `text` field; a table may stand above the bars.

        with progress() as bar:
            tuning = bar.add_task("tuning", total=36)
            bar.update(tuning, advance=1, text="loss 0.31, quality 91.2 %")

    Written to standard error, so that tables can be piped. Without a terminal it becomes at most one plain
    line in ten seconds; with `quiet` nothing is written.
    """
    console = console or Console(stderr=True)
    if quiet:
        return Progress(disable=True, console=console)
    if not (console.is_terminal or console.is_jupyter) or console.is_dumb_terminal:
        return _PlainLines(console)
    return _UnderATable(
        above,
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        _TimeLeft(),
        _Extra(),
        console=console,
    )


class _UnderATable(Progress):
    """Bars below a table that may change while they are shown."""

    def __init__(self, above: Callable[[], Table | None], *columns: ProgressColumn, console: Console) -> None:
        self._above = above
        super().__init__(*columns, console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The table, then the bars."""
        if (table := self._above()) is not None:
            yield table
        yield from super().get_renderables()


class _TimeLeft(ProgressColumn):
    """Time left while running, time taken when done."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        return Text(_time_of(task), style="progress.remaining")


class _Extra(ProgressColumn):
    """The `text` field of a task."""

    def render(self, task: Task) -> Text:
        return Text(plain_text(str(task.fields.get("text", ""))))


class _PlainLines(Progress):
    """Progress for logs: one line at a time, and seldom."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console=console, disable=True, get_time=clock)
        self._clock = clock
        self._next_line = clock()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._line(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._line(task_id)

    def _line(self, task_id: TaskID) -> None:
        now = self._clock()
        if now < self._next_line or task_id not in self._tasks:
            return
        self._next_line = now + SECONDS_BETWEEN_LINES
        task = self._tasks[task_id]
        count = f"{task.completed:g}/{task.total:g} ({task.percentage:.0f} %)" if task.total else f"{task.completed:g}"
        parts = [task.description, count, _time_of(task), str(task.fields.get("text", ""))]
        line = "  ".join(plain_text(part) for part in parts if part)
        self.console.print(Text(line), soft_wrap=True)


def _time_of(task: Task) -> str:
    if task.finished:
        return f"took {human_seconds(task.finished_time or 0)}"
    return "" if task.time_remaining is None else f"{human_seconds(task.time_remaining)} left"


def _table(title: str, caption: str | None = None) -> Table:
    return Table(
        title=Text(plain_text(title)),
        caption=None if caption is None else Text(plain_text(caption)),
        title_justify="left",
        caption_justify="left",
        header_style="dim",
        box=SIMPLE_HEAD,
    )


def _cell(value: str) -> Text:
    return Text(plain_text(value))
