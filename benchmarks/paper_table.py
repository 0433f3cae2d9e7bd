# SPDX-License-Identifier: Apache-2.0
"""The papers' own rows, and beside each what we find, the dense control and uniform rates, from the files in results/.

    python -m benchmarks.paper_table      the table of docs/structured.md

Changes are points of accuracy on our test split, each against the original that was cut; a paper's are against its own.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from benchmarks.claims import CLAIMS
from benchmarks.filing import put_between
from benchmarks.paper_claims import NETWORKS, ROWS, PaperRow
from gossamer.report.record import Report, read_reports

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "structured.md"
BEGIN, END = "<!-- papers: python -m benchmarks.paper_table -->", "<!-- end of papers -->"
HEAD = [
    "method, network",
    "cut, paper",
    "change, paper",
    "cut, ours",
    "ours",
    "dense control",
    "uniform rates",
    "results",
]
NORMAL = 1.96  # standard errors of 95 %


def text(results: Path = ROOT / "results") -> str:
    """What stands between the marks: the table, and the commands of what it lacks."""
    lines = [HEAD, ["---", "---", *["---:"] * (len(HEAD) - 3), "---"]]
    lines += [_cells(name, row, results) for name, row in ROWS.items()]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    names = dict.fromkeys(name for row_name, row in ROWS.items() for name in needed(row_name, row))
    missing = [name for name in names if not (results / name).exists()]
    if not missing:
        return table
    commands = "\n".join(f"python -m benchmarks run {name:<36} # about {CLAIMS[name].hours:g} h" for name in missing)
    hours = sum(CLAIMS[name].hours for name in missing)
    return f"{table}\n\nNot run yet, about {hours:.0f} hours on two cores in all:\n\n```shell\n{commands}\n```"


def needed(name: str, row: PaperRow) -> list[str]:
    """The claims that fill a row, in the order in which they can be run."""
    words = CLAIMS[name].arguments.split()
    weights = Path(words[words.index("--weights") + 1])
    baseline = [weights.parent.name] if weights.parts[0] == "results" else []
    return [*baseline, *([row.control] if row.control else []), name, f"{name}-uniform"]


def _cells(name: str, row: PaperRow, results: Path) -> list[str]:
    ours, uniform = _report(results, name), _report(results, f"{name}-uniform")
    beside = _report(results, row.control or name)
    paper = f"{row.macs_cut:g} % of MACs"
    paper += f", {row.parameters_cut:g} % of parameters" if row.parameters_cut is not None else ""
    return [
        f"{row.method}, {NETWORKS[row.network]}",
        paper,
        row.change,
        _cut(ours) if ours else "not run yet",
        _change(ours) if ours else "",
        _control(beside) if beside else "",
        _change(uniform) if uniform else "",
        f"[results](../results/{name}/)" if ours else "",
    ]


def _report(results: Path, name: str) -> Report | None:
    path = results / name / "report.json"
    return read_reports(path)[0] if path.exists() else None


def _cut(report: Report) -> str:
    before, after = report.original, report.compressed
    macs, parameters = 1 - after.macs / before.macs, 1 - after.parameters / before.parameters
    return f"{100 * macs:.1f} % of MACs, {100 * parameters:.1f} % of parameters"


def _change(report: Report) -> str:
    certificate = report.certificate
    error = NORMAL * math.sqrt(certificate["b"] + certificate["c"]) / float(certificate["n"])
    return f"{-100 * float(certificate['observed_drop']):+.2f} ± {100 * error:.2f}"


def _control(report: Report) -> str:
    return f"{100 * (report.control.quality - report.original.quality):+.2f}" if report.control else ""


def main() -> int:
    """Put the table into the page."""
    put_between(PAGE, BEGIN, END, text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
