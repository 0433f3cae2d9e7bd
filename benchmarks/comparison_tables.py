# SPDX-License-Identifier: Apache-2.0
"""The papers' methods beside each other on equal terms, from the files in results/.

    python -m benchmarks.comparison_tables     docs/structured.md and docs/weight-level.md, tables and pictures

Each claim of a comparison cuts the same network to the same share and trains it for as many epochs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import comparison_plots
from benchmarks.comparison_rows import COMPARISONS, Comparison, Row
from benchmarks.filing import put_between
from gossamer.files import write_atomically
from gossamer.report.markup import Html

DOCS = Path(__file__).resolve().parent.parent / "docs"
CURVES = DOCS / "curves"


def page_of(comparison: Comparison) -> Path:
    """Where the tables stand."""
    return DOCS / f"{comparison.name}.md"


def marks_of(comparison: Comparison) -> tuple[str, str]:
    """Before and after the tables on the page."""
    return f"<!-- {comparison.name}: python -m benchmarks.comparison_tables -->", f"<!-- end of {comparison.name} -->"


def text(comparison: Comparison, rows: Sequence[Row]) -> str:
    """What stands between the marks."""
    if not rows:
        return "Not measured yet."
    shown = [f"![{words}](curves/{path.name})" for path, (words, _) in _drawn(comparison, rows).items()]
    shares = [(share, [row for row in rows if row.share == share]) for share in comparison.shares]
    return "\n\n".join([*shown, *(section(comparison, share, some) for share, some in shares if some)])


def section(comparison: Comparison, share: int, rows: Sequence[Row]) -> str:
    """A heading and a table."""
    until = f"epochs until −{comparison.targets[share]:g}"
    costs = list(rows[0].costs)
    head = ["method", *costs, "accuracy", "points", "seeds", "same answers", "CKA", until, "dense control", "results"]
    lines = [head, ["---", *["---:"] * (len(head) - 2), "---"], *(row.cells for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"## {share} % of the {comparison.left}\n\n{table}"


def pictures(comparison: Comparison, rows: Sequence[Row]) -> dict[Path, Html]:
    """What is drawn of a comparison; nothing as long as nothing is measured."""
    return {path: picture for path, (_, picture) in _drawn(comparison, rows).items()} if rows else {}


def _drawn(comparison: Comparison, rows: Sequence[Row]) -> dict[Path, tuple[str, Html]]:
    """Each picture with its words."""
    name = comparison.name
    found = {
        CURVES / f"{name}.svg": ("Points of test accuracy that each method loses or gains", comparison_plots.lost(rows))
    }
    if comparison.network:
        words = f"Test accuracy over the share of the {comparison.left} that is left"
        found[CURVES / f"{name}-remaining.svg"] = (words, comparison_plots.remaining(rows))
        picture = comparison_plots.survivors_by_layer(comparison, rows, comparison.network)
        found[CURVES / f"{name}-layers.svg"] = ("What each method leaves of each layer's weights", picture)
    if (alike := comparison_plots.alike_by_layer(rows)) is not None:
        found[CURVES / f"{name}-alike.svg"] = ("How alike the layers see images", alike)
    return found


def main() -> int:
    """Draw what there is."""
    for comparison in COMPARISONS:
        rows = comparison.filed()
        for path, picture in pictures(comparison, rows).items():
            write_atomically(path, f"{picture}\n".encode())
        put_between(page_of(comparison), *marks_of(comparison), text(comparison, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
