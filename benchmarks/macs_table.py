# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds removed, and what that cost against the original and the dense control, from the files in results/.

    python -m benchmarks.macs_table        writes the table of docs/benchmarks.md

The dense control is the original tuned exactly as long and in the same way: what tuning alone brings is in it.
"""

from __future__ import annotations

import sys

from benchmarks.claims import CLAIMS
from benchmarks.filed import linked, put, report_of, table
from gossamer.report.record import Report
from gossamer.report.units import human_count, percent, points_up

MODULE = "macs_table"
HEADS = (
    "network, data",
    "multiply-adds",
    "removed",
    "accuracy",
    "points lost",
    "against the control",
    "proven drop",
    "result",
)
NAMES = [name for name in CLAIMS if name.endswith("-macs")]


def main() -> int:
    """Put the table into the page."""
    put(MODULE, text())
    return 0


def text() -> str:
    """A row for each filed claim of multiply-adds."""
    return table(HEADS, [row_of(name, report) for name in NAMES if (report := report_of(name))])


def row_of(name: str, report: Report) -> list[str]:
    """What one claim delivered, on the test split."""
    before, after, control = report.original, report.compressed, report.control
    certificate = report.certificate
    return [
        f"{report.network}, {report.data}",
        f"{human_count(before.macs)} → {human_count(after.macs)}",
        f"{100 * (1 - after.macs / before.macs):.1f} %",
        f"{percent(before.quality)} → {percent(after.quality)}",
        f"{100 * (before.quality - after.quality):.2f}",
        "no control" if control is None else f"{100 * (control.quality - after.quality):.2f}",
        f"< {points_up(certificate['guaranteed'])}" if certificate["proven"] else "not proven",
        linked(name),
    ]


if __name__ == "__main__":
    sys.exit(main())
