# SPDX-License-Identifier: Apache-2.0
"""The staircase beside brute force on the same grid, from the files in results/.

    python -m benchmarks.staircase_table      the table of docs/methods/slim-then-sparsify.md, and its plots

A claim that asks about every cell (`brute_force=true`) leaves grid.json: of each cell whether it kept the promise, what
is left of the weights, and the seconds it took; and which cells the staircase asks about. A sparse cell is made from
the slimmed network of its row, which is counted among those asked about.
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
WIDTH, LEFT, TOP, BOTTOM = 480.0, 56.0, 40.0, 52.0
KEPT, REFUSED, ASKED, FOUND = "#9ec9f5", "#eceff2", "#0550ae", "#cf222e"

Cell = tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """What brute force found out about all cells, and the cells of the staircase among them."""

    slimming: int
    pruning: int
    cells: dict[Cell, dict[str, Any]]
    staircase: list[Cell]
    found: Cell | None

    @classmethod
    def of(cls, path: Path) -> Asked:
        """The contents of a grid.json."""
        read = read_json(path)
        return cls(
            read["slimming"],
            read["pruning"],
            {(entry["cell"][0], entry["cell"][1]): entry for entry in read["cells"]},
            [(cell[0], cell[1]) for cell in read["asked"]],
            None if read["found"] is None else (read["found"][0], read["found"][1]),
        )

    def smallest(self, cells: Iterable[Cell]) -> Cell | None:
        """Of those that keep the promise, the one with the fewest weights left, as the search counts them."""
        kept = [cell for cell in cells if self.cells[cell]["accepted"]]
        return min(kept, key=lambda cell: float(self.cells[cell]["left"]), default=None)

    def seconds(self, cells: Iterable[Cell]) -> float:
        """What these cells took."""
        return sum(float(self.cells[cell]["seconds"]) for cell in cells)


def main() -> int:
    """Draw what there is."""
    parts = []
    for name, title in GRIDS.items():
        path = ROOT / "results" / name / "grid.json"
        if path.exists():
            asked = Asked.of(path)
            write_atomically(ROOT / "docs" / "curves" / f"{name}.svg", f"{plot(title, asked)}\n".encode())
            parts.append(section(name, title, asked))
    put_between(PAGE, BEGIN, END, "\n\n".join(parts) or "Not measured yet.")
    return 0


def section(name: str, title: str, asked: Asked) -> str:
    """A heading, a table and a picture."""
    dense = int(asked.cells[0, 0]["nonzeros"])
    ways: dict[str, tuple[list[Cell], Cell | None]] = {
        "brute force": (list(asked.cells), asked.smallest(asked.cells)),
        "staircase": (asked.staircase, asked.found),
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
        cut = f"{100 * best[0] / asked.slimming:.0f} % | {100 * best[1] / asked.pruning:.0f} %"
        rows.append(f"| {way} | {cut} | {left:,} | {dense / left:.1f}x | {share} |")
    table = "\n".join(rows)
    return (
        f"**{title}**, {asked.slimming} x {asked.pruning} cells ([results](../../results/{name}/)):\n\n{table}\n\n"
        f"![Which cells keep the promise, and which the staircase asks about](../curves/{name}.svg)"
    )


def plot(title: str, asked: Asked) -> Html:
    """The grid: cells that keep the promise, those that the staircase asks about, and the one that it finds."""
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
        walked, found = (slim, pruned) in asked.staircase, (slim, pruned) == asked.found
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
