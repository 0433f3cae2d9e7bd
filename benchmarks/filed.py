# SPDX-License-Identifier: Apache-2.0
"""Reports that are filed in results/, and tables of docs/benchmarks.md made from them alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.filing import put_between
from gossamer.report.record import Report, read_reports

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
NOTHING = "Not measured yet."


def report_of(name: str) -> Report | None:
    """What the claim of this name delivered; None where nothing is filed."""
    path = ROOT / "results" / name / "report.json"
    return read_reports(path)[0] if path.exists() else None


def linked(name: str) -> str:
    """The claim's name, leading to its folder."""
    return f"[{name}](../results/{name}/)"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Markdown: the first columns, `words` of them, to the left, the others to the right; without rows a sentence."""
    if not rows:
        return NOTHING
    lines = [heads, [*["---"] * words, *["---:"] * (len(heads) - words)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def marks(module: str) -> tuple[str, str]:
    """Between which the page has the table that `python -m benchmarks.MODULE` writes."""
    return f"<!-- {module}: python -m benchmarks.{module} -->", f"<!-- end of {module} -->"


def put(module: str, text: str) -> None:
    """Write a module's table into the page."""
    put_between(PAGE, *marks(module), text)


def shown(module: str) -> str:
    """What the page has there."""
    begin, end = marks(module)
    return PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()
