# SPDX-License-Identifier: Apache-2.0
"""The papers' structured methods beside each other on equal terms, from the files in results/.

    python -m benchmarks.structured_table     the tables of docs/structured.md, and their picture

Each claim cuts the same network to the same share of its multiply-adds and tunes it for as many epochs.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claims import STRUCTURED
from benchmarks.filing import put_between
from gossamer.files import write_atomically
from gossamer.report.markup import Html, tag
from gossamer.report.record import Report, read_reports

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURE = ROOT / "docs" / "structured.md", ROOT / "docs" / "curves" / "structured.svg"
BEGIN, END = "<!-- structured: python -m benchmarks.structured_table -->", "<!-- end of structured -->"
SHARES = (50, 30)
INK, PALE, PAPER, COLOURS = "#1f2328", "#d0d7de", "#ffffff", {50: "#0550ae", 30: "#cf222e"}
WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 760.0, 300.0, 24.0, 48.0, 24.0, 56.0
NORMAL = 1.96  # standard errors of 95 %


@dataclass(frozen=True)
class Row:
    """A method's outcome at one share; `lost` and `error` in points, the latter half of a 95 % interval."""

    name: str
    share: int
    report: Report

    @property
    def shows(self) -> str:
        """What the method is."""
        return STRUCTURED[self.name][0]

    @property
    def lost(self) -> float:
        """Points of test accuracy against the original."""
        return 100 * float(self.report.certificate["observed_drop"])

    @property
    def error(self) -> float:
        """Of `lost`: images on which the two differ are what it hangs on."""
        certificate = self.report.certificate
        return 100 * NORMAL * math.sqrt(certificate["b"] + certificate["c"]) / certificate["n"]

    @property
    def cells(self) -> list[str]:
        """Of the table."""
        before, after, certificate = self.report.original, self.report.compressed, self.report.certificate
        agree = 100 * (1 - (certificate["b"] + certificate["c"]) / certificate["n"])
        control = self.report.control
        return [
            self.shows,
            f"{100 * after.macs / before.macs:.1f} %",
            f"{100 * after.parameters / before.parameters:.1f} %",
            f"{100 * after.quality:.2f} %",
            f"{-self.lost:+.2f} ± {self.error:.2f}",
            f"{agree:.1f} %",
            f"{100 * control.quality:.2f} %" if control else "",
            f"[results](../results/structured-{self.share}-{self.name}/)",
        ]


def rows_of(share: int) -> list[Row]:
    """What is filed of one share, the best first."""
    paths = {name: ROOT / "results" / f"structured-{share}-{name}" / "report.json" for name in STRUCTURED}
    found = [Row(name, share, read_reports(path)[0]) for name, path in paths.items() if path.exists()]
    return sorted(found, key=lambda row: row.lost)


def section(share: int, rows: list[Row]) -> str:
    """A heading and a table."""
    head = ["method", "MACs", "parameters", "accuracy", "points", "as right as the original on", "dense control", ""]
    lines = [head, ["---", *["---:"] * 6, "---"], *(row.cells for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"## {share} % of the multiply-adds\n\n{table}"


def plot(every: list[Row]) -> Html:
    """Points lost by each method, with their intervals; both shares in one row."""
    names = list(dict.fromkeys(row.name for row in every))
    low = min(-0.5, *(-row.lost - row.error for row in every))
    high = max(0.5, *(-row.lost + row.error for row in every))
    height = TOP + ROW * len(names) + BOTTOM

    def x(points: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (points - low) / (high - low)

    parts = [
        tag("rect", width=WIDTH, height=height, fill=PAPER),
        tag("text", "Points of test accuracy against the original", x=12, y=24, fill=INK, font_weight="600"),
        tag("line", x1=x(0), x2=x(0), y1=TOP - 8, y2=height - BOTTOM, stroke=INK),
    ]
    for place, name in enumerate(names):
        y = TOP + ROW * (place + 0.5)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y + ROW / 2, y2=y + ROW / 2, stroke=PALE))
        parts.append(tag("text", STRUCTURED[name][0], x=LEFT - 12, y=y + 4, text_anchor="end", fill=INK))
        for row in every:
            if row.name == name:
                at, colour = -row.lost, COLOURS[row.share]
                parts.append(
                    tag("line", x1=x(at - row.error), x2=x(at + row.error), y1=y, y2=y, stroke=colour, stroke_width=1.5)
                )
                words = f"{row.shows}, {row.share} % of the multiply-adds: {at:+.2f} points"
                parts.append(tag("circle", tag("title", words), cx=x(at), cy=y, r=4.5, fill=colour))
    for points in range(math.ceil(low), math.floor(high) + 1):
        parts.append(
            tag("text", f"{points:+d}" if points else "0", x=x(points), y=height - 36, text_anchor="middle", fill=INK)
        )
    for place, share in enumerate(sorted({row.share for row in every}, reverse=True)):
        left = 12 + 240 * place
        parts.append(tag("circle", cx=left + 5, cy=height - 14, r=4.5, fill=COLOURS[share]))
        parts.append(tag("text", f"{share} % of the multiply-adds left", x=left + 16, y=height - 10, fill=INK))
    return tag(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        font_family="system-ui, sans-serif",
        font_size=12.0,
    )


def filed() -> list[Row]:
    """Every row that there is, the larger share first."""
    return [row for share in SHARES for row in rows_of(share)]


def page(rows: list[Row]) -> str:
    """What stands between the marks."""
    if not rows:
        return "Not measured yet."
    shares = [(share, [row for row in rows if row.share == share]) for share in SHARES]
    picture = "![Points of test accuracy that each method loses or gains](curves/structured.svg)"
    return "\n\n".join([picture, *(section(share, some) for share, some in shares if some)])


def main() -> int:
    """Draw what there is."""
    rows = filed()
    if rows:
        write_atomically(PICTURE, f"{plot(rows)}\n".encode())
    put_between(PAGE, BEGIN, END, page(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
