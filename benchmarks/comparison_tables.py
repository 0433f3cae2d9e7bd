# SPDX-License-Identifier: Apache-2.0
"""The papers' methods beside each other on equal terms, from the files in results/.

    python -m benchmarks.comparison_tables     docs/structured.md and docs/weight-level.md, tables and pictures

Each claim of a comparison cuts the same network to the same share and trains it for as many epochs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import survivors
from benchmarks.compared_claims import STRUCTURED, WEIGHT_LEVEL, Compared
from benchmarks.filing import put_between
from benchmarks.similarity import FILE as SIMILARITY
from benchmarks.svg import INK, PALE, PAPER, svg_file
from gossamer.files import read_json, write_atomically
from gossamer.report.markup import Html, tag
from gossamer.report.record import Report, read_reports
from gossamer.report.units import human_bytes

ROOT = Path(__file__).resolve().parent.parent
COLOURS = ("#0550ae", "#cf222e")
WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 760.0, 300.0, 24.0, 48.0, 24.0, 56.0
FILE = "model.gossamer"
NORMAL = 1.96  # standard errors of 95 %


@dataclass(frozen=True)
class Comparison:
    """Claims `NAME-SHARE-METHOD`; `left` says what the share is of.

    `network`, of the zoo: the one whose layers are shown, with what each method leaves in them.
    """

    name: str
    shares: tuple[int, int]
    methods: Mapping[str, Compared]
    left: str
    network: str | None = None

    @property
    def page(self) -> Path:
        """Where the tables stand."""
        return ROOT / "docs" / f"{self.name}.md"

    @property
    def picture(self) -> Path:
        """The points of all methods."""
        return ROOT / "docs" / "curves" / f"{self.name}.svg"

    @property
    def by_layer(self) -> Path:
        """What is left of each layer."""
        return ROOT / "docs" / "curves" / f"{self.name}-layers.svg"

    def filed(self) -> list[Row]:
        """Every row that there is, the larger share first, and of each share the best."""
        found = []
        for share in self.shares:
            paths = {name: ROOT / "results" / f"{self.name}-{share}-{name}" / "report.json" for name in self.methods}
            rows = [Row(self, name, share, read_reports(path)[0]) for name, path in paths.items() if path.exists()]
            found += sorted(rows, key=lambda row: row.lost)
        return found

    def text(self, rows: list[Row]) -> str:
        """What stands between the marks."""
        if not rows:
            return "Not measured yet."
        shares = [(share, [row for row in rows if row.share == share]) for share in self.shares]
        pictures = [f"![Points of test accuracy that each method loses or gains](curves/{self.name}.svg)"]
        if self.network:
            pictures.append(f"![What each method leaves of each layer's weights](curves/{self.by_layer.name})")
        return "\n\n".join([*pictures, *(self.section(share, some) for share, some in shares if some)])

    def section(self, share: int, rows: list[Row]) -> str:
        """A heading and a table."""
        costs = list(rows[0].costs)
        head = ["method", *costs, "accuracy", "points", "as right as the original on", "CKA", "dense control", ""]
        lines = [head, ["---", *["---:"] * (len(head) - 2), "---"], *(row.cells for row in rows)]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"## {share} % of the {self.left}\n\n{table}"

    @property
    def marks(self) -> tuple[str, str]:
        """Before and after the tables on the page."""
        return f"<!-- {self.name}: python -m benchmarks.comparison_tables -->", f"<!-- end of {self.name} -->"


COMPARISONS = (
    Comparison("structured", (50, 30), STRUCTURED, "multiply-adds"),
    Comparison("weight-level", (10, 5), WEIGHT_LEVEL, "weights", network="resnet20"),
)


@dataclass(frozen=True)
class Row:
    """A method's outcome at one share; `lost` and `error` in points, the latter half of a 95 % interval."""

    comparison: Comparison
    name: str
    share: int
    report: Report

    @property
    def shows(self) -> str:
        """What the method is."""
        return self.comparison.methods[self.name].shows

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
    def costs(self) -> dict[str, str]:
        """What is left, by the heads of its columns."""
        before, after = self.report.original, self.report.compressed
        parameters = {"parameters": f"{100 * after.parameters / before.parameters:.1f} %"}
        if self.comparison.left == "multiply-adds":
            return {"MACs": f"{100 * after.macs / before.macs:.1f} %", **parameters}
        nonzeros = {"not zero": f"{100 * after.nonzeros / before.parameters:.2f} %"}
        return {**nonzeros, **parameters, "file": human_bytes(after.bytes.coded)}

    @property
    def similarity(self) -> str:
        """CKA with the original, the mean over the layers."""
        path = self.folder / SIMILARITY
        return f"{np.mean(list(read_json(path).values())):.3f}" if path.exists() else ""

    @property
    def folder(self) -> Path:
        """Where the result is filed."""
        return ROOT / "results" / f"{self.comparison.name}-{self.share}-{self.name}"

    @property
    def cells(self) -> list[str]:
        """Of the table."""
        certificate, control = self.report.certificate, self.report.control
        agree = 100 * (1 - (certificate["b"] + certificate["c"]) / certificate["n"])
        return [
            self.shows,
            *self.costs.values(),
            f"{100 * self.report.compressed.quality:.2f} %",
            f"{-self.lost:+.2f} ± {self.error:.2f}",
            f"{agree:.1f} %",
            self.similarity,
            f"{100 * control.quality:.2f} %" if control else "",
            f"[results](../results/{self.comparison.name}-{self.share}-{self.name}/)",
        ]


def plot(every: list[Row]) -> Html:
    """Points lost by each method of a comparison, with their intervals; both shares in one row."""
    comparison = every[0].comparison
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
        parts.append(tag("text", comparison.methods[name].shows, x=LEFT - 12, y=y + 4, text_anchor="end", fill=INK))
        for row in every:
            if row.name == name:
                at, colour = -row.lost, COLOURS[comparison.shares.index(row.share)]
                parts.append(
                    tag("line", x1=x(at - row.error), x2=x(at + row.error), y1=y, y2=y, stroke=colour, stroke_width=1.5)
                )
                words = f"{row.shows}, {row.share} % of the {comparison.left}: {at:+.2f} points"
                parts.append(tag("circle", tag("title", words), cx=x(at), cy=y, r=4.5, fill=colour))
    for points in range(math.ceil(low), math.floor(high) + 1):
        parts.append(
            tag("text", f"{points:+d}" if points else "0", x=x(points), y=height - 36, text_anchor="middle", fill=INK)
        )
    for place, share in enumerate(sorted({row.share for row in every}, reverse=True)):
        left = 12 + 240 * place
        parts.append(tag("circle", cx=left + 5, cy=height - 14, r=4.5, fill=COLOURS[comparison.shares.index(share)]))
        parts.append(tag("text", f"{share} % of the {comparison.left} left", x=left + 16, y=height - 10, fill=INK))
    return svg_file(WIDTH, height, parts)


def pictures(comparison: Comparison, rows: list[Row]) -> dict[Path, Html]:
    """What is drawn of a comparison; nothing as long as nothing is measured."""
    if not rows:
        return {}
    drawn = {comparison.picture: plot(rows)}
    if comparison.network:
        sizes, share = survivors.sizes_of(comparison.network), max(row.share for row in rows)
        shares = {row.shows: survivors.left_in(row.folder / FILE, sizes) for row in rows if row.share == share}
        title = f"What is left of each layer of {comparison.network}, {share} % of the weights in all"
        drawn[comparison.by_layer] = survivors.plot(title, shares)
    return drawn


def main() -> int:
    """Draw what there is."""
    for comparison in COMPARISONS:
        rows = comparison.filed()
        for path, picture in pictures(comparison, rows).items():
            write_atomically(path, f"{picture}\n".encode())
        put_between(comparison.page, *comparison.marks, comparison.text(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
