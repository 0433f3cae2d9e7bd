# SPDX-License-Identifier: Apache-2.0
"""Detectors of people before and after, from the files in results/.

python -m benchmarks.detection_table     writes the tables into docs/detection.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import shown
from benchmarks.detection_claims import NETWORKS, WAYS
from benchmarks.filing import put_between
from gossamer.report.record import Report

DOCS_PAGE = Path(__file__).resolve().parent.parent / "docs" / "detection.md"
BEGIN, END = "<!-- people: python -m benchmarks.detection_table -->", "<!-- end of people -->"
AP50, AP = "AP at IoU 0.5, VOC", "AP at IoU 0.5 to 0.95, COCO"
HEAD = (
    "",
    "AP50",
    "AP",
    "AP of each image, mean",
    "dense control: AP50, AP",
    "MACs",
    "parameters",
    "file",
    *(f"batch 1, {runtime}" for runtime in shown.RUNTIMES),
    "certificate on the mean",
    "",
)


def claims_of(network: str) -> dict[str, str]:
    """The claims about a network, and the first cells of their rows."""
    return {f"{network}-{name}": way.shows for name, way in WAYS.items() if network in way.networks}


def cells(name: str, first: str, report: Report) -> list[str]:
    """A row."""
    before, after, control = report.original, report.compressed, report.control
    beside = [shown.figure(control, figure) for figure in (AP50, AP)]
    return [
        first,
        *(shown.change(shown.figure(before, of), shown.figure(after, of)) for of in (AP50, AP)),
        shown.change(before.quality, after.quality),
        ", ".join(f"{100 * value:.2f} %" for value in beside if value is not None),
        shown.macs(report),
        shown.parameters(report),
        shown.size(report),
        *(shown.faster(report, runtime) for runtime in shown.RUNTIMES),
        shown.proven(report),
        shown.link(name),
    ]


def text(reports: Mapping[str, Report]) -> str:
    """What stands between the marks."""
    made = []
    for network, (shows, _) in NETWORKS.items():
        claims = claims_of(network)
        rows = [cells(name, first, reports[name]) for name, first in claims.items() if name in reports]
        if rows:
            made.append(f"### {shows}\n\n{shown.table(HEAD, rows)}")
    return "\n\n".join(made) or shown.NOTHING


def filed() -> dict[str, Report]:
    """All reports that there are."""
    return shown.filed([name for network in NETWORKS for name in claims_of(network)])


def main() -> int:
    """Write the page."""
    put_between(DOCS_PAGE, BEGIN, END, text(filed()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
