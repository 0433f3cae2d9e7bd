# SPDX-License-Identifier: Apache-2.0
"""The staircase beside brute force on the same grid, and by itself within several drops, from the files in results/.

    python -m benchmarks.staircase_table      the tables of docs/methods/slim-then-sparsify.md, and their plots

A claim leaves grid.json: of each cell that was made whether it kept the promise, what it lost, what is left of the
weights, and the seconds it took; and the walks of the staircase: the cells that each asks about, and what it found. A
sparse cell is made from the slimmed network of its row, which is counted among those asked about.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.filing import put_between
from benchmarks.svg import INK, PAPER, svg_file
from gossamer.files import read_json, write_atomically
from gossamer.report.markup import Html, tag

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "methods" / "slim-then-sparsify.md"
BEGIN, END = "<!-- grids: python -m benchmarks.staircase_table -->", "<!-- end of grids -->"
GRIDS = {"lenet5-brute-force": "LeNet-5 with batch norms on MNIST", "resnet20-brute-force": "ResNet-20 on CIFAR-10"}
WALKED = {
    "vgg16-staircase": "VGG-16 with batch norm on CIFAR-10",
    "vgg19-staircase": "VGG-19 with batch norm on CIFAR-10",
    "resnet56-staircase": "ResNet-56 on CIFAR-10",
    "densenet40-staircase": "DenseNet-40 on CIFAR-10",
}
WIDTH, LEFT, TOP, BOTTOM = 480.0, 56.0, 40.0, 52.0
KEPT, REFUSED, ASKED, FOUND = "#9ec9f5", "#eceff2", "#0550ae", "#cf222e"
ROUNDING = 1e-9  # of fractions of whole answers

Cell = tuple[int, int]


@dataclass(frozen=True)
class Walk:
    """The staircase within a drop, a fraction, or within what the goal accepts (None); its cells, what it found."""

    drop: float | None
    asked: list[Cell]
    found: Cell | None


@dataclass(frozen=True)
class Asked:
    """What a run found out about the cells that it made, and the staircase's walks among them; the goal's own first."""

    slimming: int
    pruning: int
    parameters: int
    quality: float
    penalised_seconds: float
    cells: dict[Cell, dict[str, Any]]
    walks: list[Walk]

    @classmethod
    def of(cls, path: Path) -> Asked:
        """The contents of a grid.json."""
        read = read_json(path)
        return cls(
            read["slimming"],
            read["pruning"],
            read["parameters"],
            read["quality"],
            read["penalised_seconds"] or 0.0,
            {_cell(entry["cell"]): entry for entry in read["cells"]},
            [
                Walk(
                    walk["drop"], [*map(_cell, walk["asked"])], None if walk["found"] is None else _cell(walk["found"])
                )
                for walk in read["walks"]
            ],
        )

    def smallest(self, cells: Iterable[Cell], drop: float | None = None) -> Cell | None:
        """Of those that keep the promise, the one with the fewest weights left, as the search counts them."""

        def keeps(cell: Cell) -> bool:
            entry = self.cells[cell]
            return bool(entry["accepted"]) if drop is None else float(entry["drop"]) <= drop + ROUNDING

        return min(filter(keeps, cells), key=lambda cell: float(self.cells[cell]["left"]), default=None)

    def seconds(self, cells: Iterable[Cell]) -> float:
        """What these cells took."""
        return sum(float(self.cells[cell]["seconds"]) for cell in cells)

    def smaller(self, cell: Cell | None) -> str:
        """How many times fewer weights are left; a dash where there is no such cell."""
        return "-" if cell is None else f"{self.parameters / int(self.cells[cell]['nonzeros']):.1f}x"

    def cut(self, cell: Cell) -> str:
        """Channels and weights cut, two columns."""
        return f"{100 * cell[0] / self.slimming:.0f} % | {100 * cell[1] / self.pruning:.0f} %"


def _cell(pair: list[int]) -> Cell:
    return pair[0], pair[1]


def main() -> int:
    """Draw what there is."""
    for name, title in GRIDS.items():
        path = ROOT / "results" / name / "grid.json"
        if path.exists():
            write_atomically(ROOT / "docs" / "curves" / f"{name}.svg", f"{plot(title, Asked.of(path))}\n".encode())
    put_between(PAGE, BEGIN, END, tables())
    return 0


def tables() -> str:
    """A part for each grid that is filed."""
    parts = []
    for names, part in ((GRIDS, section), (WALKED, walked)):
        for name, title in names.items():
            path = ROOT / "results" / name / "grid.json"
            if path.exists():
                parts.append(part(name, title, Asked.of(path)))
    return "\n\n".join(parts) or "Not measured yet."


def section(name: str, title: str, asked: Asked) -> str:
    """A heading, a table and a picture of a grid all of whose cells were asked about."""
    own = asked.walks[0]
    ways: dict[str, tuple[list[Cell], Cell | None]] = {
        "brute force": (list(asked.cells), asked.smallest(asked.cells)),
        "staircase": (own.asked, own.found),
        "slimming alone": (
            [(s, 0) for s in range(asked.slimming)],
            asked.smallest((s, 0) for s in range(asked.slimming)),
        ),
        "weights alone": ([(0, d) for d in range(asked.pruning)], asked.smallest((0, d) for d in range(asked.pruning))),
    }
    rows = [
        "| | channels cut | weights cut | weights left | smaller | cells | time |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    whole = asked.seconds(asked.cells)
    for way, (cells, best) in ways.items():
        share = f"{len(cells)} | {100 * asked.seconds(cells) / whole:.1f} %"
        if best is None:
            rows.append(f"| {way} | none keeps the promise | | | | {share} |")
            continue
        left = int(asked.cells[best]["nonzeros"])
        rows.append(f"| {way} | {asked.cut(best)} | {left:,} | {asked.smaller(best)} | {share} |")
    table = "\n".join(rows)
    return (
        f"**{title}**, {asked.slimming} x {asked.pruning} cells ([results](../../results/{name}/)):\n\n{table}\n\n"
        f"![Which cells keep the promise, and which the staircase asks about](../curves/{name}.svg)"
    )


def walked(name: str, title: str, asked: Asked) -> str:
    """A heading and a table of what the staircase found within each drop."""
    rows = [
        "| points lost | channels cut | weights cut | weights left | smaller | file | accuracy | cells | seconds | "
        "slimming alone | weights alone |",
        f"|---{'|---:' * 10}|",
    ]
    for walk in asked.walks:
        if walk.drop is None:  # which is what was delivered: see the results
            continue
        cells = f"{len(walk.asked)} | {asked.seconds(walk.asked):,.0f}"
        alone = [asked.smallest((c for c in asked.cells if c[axis] == 0), walk.drop) for axis in (1, 0)]
        others = " | ".join(asked.smaller(cell) for cell in alone)
        points = f"at most {100 * walk.drop:g}"
        if walk.found is None:
            rows.append(f"| {points} | none is as good | | | | | | {cells} | {others} |")
            continue
        entry = asked.cells[walk.found]
        size = f"{entry['nonzeros']:,} | {asked.smaller(walk.found)} | {entry['bytes'] / 1000:,.1f} kB"
        rows.append(
            f"| {points} | {asked.cut(walk.found)} | {size} | {100 * entry['quality']:.2f} % | {cells} | {others} |"
        )
    table = "\n".join(rows)
    return (
        f"**{title}**, {asked.slimming} x {asked.pruning} cells, {asked.parameters:,} parameters, "
        f"{100 * asked.quality:.2f} % ([results](../../results/{name}/)); {len(asked.cells)} cells were made in all, "
        f"after {asked.penalised_seconds:,.0f} s under the penalty:\n\n{table}"
    )


def plot(title: str, asked: Asked) -> Html:
    """The grid: cells that keep the promise, those that the staircase asks about, and the one that it finds."""
    own = asked.walks[0]
    side = (WIDTH - LEFT - 20) / asked.slimming
    height = TOP + side * asked.pruning + BOTTOM
    parts = [
        tag("rect", width=WIDTH, height=height, fill=PAPER),
        tag(
            "text",
            f"{title}: weights cut, upwards, % (of what slimming leaves)",
            x=12,
            y=22,
            fill=INK,
            font_weight="600",
        ),
    ]
    for (slim, pruned), entry in sorted(asked.cells.items()):
        walked, found = (slim, pruned) in own.asked, (slim, pruned) == own.found
        words = f"{int(entry['nonzeros']):,} weights left, {100 * float(entry['drop']):+.2f} points lost"
        parts.append(
            tag(
                "rect",
                tag("title", words),
                x=LEFT + side * slim + 1,
                y=TOP + side * (asked.pruning - 1 - pruned) + 1,
                width=side - 2,
                height=side - 2,
                fill=FOUND if found else KEPT if entry["accepted"] else REFUSED,
                stroke=ASKED if walked else None,
                stroke_width=1.5 if walked else None,
            )
        )
    for tick in range(0, 100, 20):
        x = LEFT + side * (asked.slimming * tick / 100 + 0.5)
        y = TOP + side * (asked.pruning * (1 - tick / 100) - 0.5)
        parts.append(tag("text", f"{tick}", x=x, y=height - BOTTOM + 16, text_anchor="middle", fill=INK))
        parts.append(tag("text", f"{tick}", x=LEFT - 8, y=y + 4, text_anchor="end", fill=INK))
    words = "channels cut, %    (blue: keeps the promise; framed: asked by the staircase; red: what it finds)"
    parts.append(tag("text", words, x=LEFT, y=height - 12, fill=INK, font_size=11.0))
    return svg_file(WIDTH, height, parts)


if __name__ == "__main__":
    sys.exit(main())
