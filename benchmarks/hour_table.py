# SPDX-License-Identifier: Apache-2.0
"""An hour and a tolerance: `auto` beside the fixed recipes, from the files in results/.

    python -m benchmarks.hour_table        writes the table of docs/benchmarks.md

An evaluation is a network that was written to a file and asked about the selection split. Those of `auto` are counted
up to the first that is smaller than what slim-then-sparsify delivers, too.
"""

from __future__ import annotations

import sys

from benchmarks.filed import NOTHING, linked, put, report_of, table
from benchmarks.hour_claims import HOURS, NETWORKS, RECIPES
from gossamer.report.record import Report
from gossamer.report.units import human_bytes, human_ratio, human_seconds, percent, points_up

MODULE = "hour_table"
HEADS = ("recipe", "file", "smaller", "accuracy", "proven drop", "evaluations", "time", "result")
TITLES = {name: title for name, (title, _) in NETWORKS.items()} | {"mobilenetv2": "MobileNetV2"}


def main() -> int:
    """Put the tables into the page."""
    put(MODULE, text())
    return 0


def text() -> str:
    """A table for each network of which an hour is filed, the smallest file first."""
    parts = []
    for network, title in TITLES.items():
        found = {recipe: report for recipe in RECIPES if (report := _filed(network, recipe))}
        if not found:
            continue
        rows = [
            row_of(network, recipe, report) for recipe, report in sorted(found.items(), key=lambda one: size(one[1]))
        ]
        parts.append(f"**{title}**, {human_bytes(next(iter(found.values())).original.bytes.fp32)} in float32:")
        parts.append(table(HEADS, rows))
        if "auto" in found and "slim-then-sparsify" in found:
            parts.append(halved(found["auto"], found["slim-then-sparsify"]))
    return "\n\n".join(parts) or NOTHING


def row_of(network: str, recipe: str, report: Report) -> list[str]:
    """What a recipe delivered after its hour."""
    certificate = report.certificate
    return [
        recipe,
        human_bytes(size(report)),
        human_ratio(report.original.bytes.fp32 / size(report)),
        f"{percent(report.original.quality)} → {percent(report.compressed.quality)}",
        f"< {points_up(certificate['guaranteed'])}" if certificate["proven"] else "not proven",
        str(len(report.candidates)),
        human_seconds(report.seconds),
        linked(f"hour-{network}-{recipe}"),
    ]


def halved(auto: Report, staircase: Report) -> str:
    """A sentence: after how many evaluations `auto` had a smaller file than the staircase after all of its own."""
    other, whole = size(staircase), len(staircase.candidates)
    accepted = [(n, c.bytes) for n, c in enumerate(auto.candidates, 1) if c.accepted and c.bytes is not None]
    first = next((n for n, found in accepted if found < other), None)
    if first is None:
        return f"`auto` found no smaller file than slim-then-sparsify with its {whole} evaluations."
    return f"`auto` had a smaller file after {first} evaluations than slim-then-sparsify after {whole}."


def size(report: Report) -> int:
    """Bytes of the delivered file."""
    assert report.compressed.bytes.coded is not None
    return report.compressed.bytes.coded


def _filed(network: str, recipe: str) -> Report | None:
    name = f"hour-{network}-{recipe}"
    return report_of(name) if name in HOURS else None


if __name__ == "__main__":
    sys.exit(main())
