# SPDX-License-Identifier: Apache-2.0
"""What the papers claim of zeroing weights, beside what we find, from the files in results/.

    python -m benchmarks.weight_level_tables     two tables of docs/weight-level.md

The first has the ratios of active stepwise pruning, the second learned thresholds beside pruning by magnitude.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.claims import CLAIMS
from benchmarks.filing import put_between
from benchmarks.weight_level_claims import BARS, LADDERS
from gossamer.report.record import Report, read_reports
from gossamer.report.units import human_bytes

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
PAGE = ROOT / "docs" / "weight-level.md"
BARS_MARKS = "<!-- bars: python -m benchmarks.weight_level_tables -->", "<!-- end of bars -->"
LADDERS_MARKS = "<!-- ladders: python -m benchmarks.weight_level_tables -->", "<!-- end of ladders -->"
BARS_HEAD = [
    "network",
    "parameters",
    "bar",
    "fewer, ours",
    "original",
    "pruned",
    "dense control",
    "points against it",
    "file",
    "smaller",
    "",
]
LADDERS_HEAD = ["method", "weights left", "of all", "accuracy", "epochs of training", "hours", ""]


def bars(results: Path = RESULTS) -> str:
    """Two rows a network, as far as they are filed, and the commands of the others."""
    rows = []
    for name, bar in BARS.items():
        control = _report(results, f"{name}-twice")
        for claim in (f"{name}-twice", name):
            if report := _report(results, claim):
                rows.append(_bar(bar.shows, bar.ratio, report, control, claim))
    needed = [name for bar in BARS for name in (_baseline(bar), f"{bar}-twice", bar)]
    return _shown(BARS_HEAD, rows, needed, results)


def _bar(shows: str, ratio: float, report: Report, control: Report | None, claim: str) -> list[str]:
    before, after = report.original, report.compressed
    dense = control.control.quality if control and control.control else None
    coded = after.bytes.coded or before.bytes.fp32
    return [
        shows,
        f"{before.parameters:,} → {after.nonzeros:,}",
        f"{ratio:g}x",
        f"{before.parameters / after.nonzeros:.1f}x",
        f"{100 * before.quality:.2f} %",
        f"{100 * after.quality:.2f} %",
        "" if dense is None else f"{100 * dense:.2f} %",
        "" if dense is None else f"{100 * (after.quality - dense):+.2f}",
        human_bytes(coded),
        f"{before.bytes.fp32 / coded:.1f}x",
        f"[results](../results/{claim}/)",
    ]


def ladders(results: Path = RESULTS) -> str:
    """Both ladders, what the first saves of the second, and the commands of those that are not filed."""
    found = {name: report for name in LADDERS if (report := _report(results, name))}
    rows = [
        [
            LADDERS[name][0],
            f"{report.compressed.nonzeros:,}",
            f"{100 * report.compressed.nonzeros / report.original.parameters:.2f} %",
            f"{100 * report.original.quality:.2f} → {100 * report.compressed.quality:.2f} %",
            f"{len(report.history)}",
            f"{report.seconds / 3600:.1f}",
            f"[results](../results/{name}/)",
        ]
        for name, report in found.items()
    ]
    text = _shown(LADDERS_HEAD, rows, list(LADDERS), results)
    if len(found) < len(LADDERS):
        return text
    ours, theirs = (found[name] for name in LADDERS)
    fewer = 100 * (1 - ours.compressed.nonzeros / theirs.compressed.nonzeros)
    hours = 100 * (1 - ours.seconds / theirs.seconds)
    return (
        f"{text}\n\nLearned thresholds leave {_less(fewer, 'fewer weights', 'more weights')}, in {_less(hours)} time."
    )


def _less(percent: float, less: str = "less", more: str = "more") -> str:
    return f"{abs(percent):.0f} % {less if percent >= 0 else more}"


def _baseline(bar: str) -> str:
    words = CLAIMS[bar].arguments.split()
    return Path(words[words.index("--weights") + 1]).parent.name


def _report(results: Path, name: str) -> Report | None:
    path = results / name / "report.json"
    return read_reports(path)[0] if path.exists() else None


def _shown(head: list[str], rows: list[list[str]], needed: list[str], results: Path) -> str:
    """A table, if it has rows, and the commands of what is not filed."""
    lines = [head, ["---", *["---:"] * (len(head) - 2), "---"], *rows]
    table = ["\n".join(f"| {' | '.join(cells)} |" for cells in lines)] if rows else []
    if missing := [name for name in needed if not (results / name).exists()]:
        commands = "\n".join(
            f"python -m benchmarks run {name:<28} # about {CLAIMS[name].hours:g} h" for name in missing
        )
        hours = sum(CLAIMS[name].hours for name in missing)
        table.append(f"Not run yet, about {hours:.0f} hours on two cores in all:\n\n```shell\n{commands}\n```")
    return "\n\n".join(table)


def main() -> int:
    """Put the tables into the page."""
    put_between(PAGE, *BARS_MARKS, bars())
    put_between(PAGE, *LADDERS_MARKS, ladders())
    return 0


if __name__ == "__main__":
    sys.exit(main())
