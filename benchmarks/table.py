# SPDX-License-Identifier: Apache-2.0
"""The results table of README, made from results/ and never by hand.

python -m benchmarks table           writes it between the two marks in README.md
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims import CLAIMS
from benchmarks.filing import put_between
from gossamer.report.record import Report, read_reports
from gossamer.report.units import human_bytes, points_up
from gossamer.report.words import measured

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: python -m benchmarks table -->", "<!-- end of results -->"
DEPENDENT = {"gestures-bytes": "windows of a recording follow each other, so the bound counts too many of them"}
HEAD = (
    "| network, data | minimised | quality | proven drop | file | smaller | batch 1 | faster | minutes | result |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)


def results_table() -> str:
    """One row a finished claim, and what the numbers mean."""
    mine = [name for name, claim in CLAIMS.items() if not claim.compared and claim.page is None]
    paths = {name: ROOT / "results" / name / "report.json" for name in mine}
    found = [(name, report) for name, path in paths.items() if path.exists() for report in read_reports(path)]
    marked = "".join(f" \\* {why}." for name, why in DEPENDENT.items() if paths[name].exists())
    return HEAD + "".join(_row(name, report) for name, report in found) + f"\n{_words([r for _, r in found])}{marked}\n"


def _row(name: str, report: Report) -> str:
    before, after, certificate = report.original, report.compressed, report.certificate
    assert after.bytes.coded is not None
    proven = f"< {points_up(certificate['guaranteed'])}" if certificate["proven"] else "not proven"
    if name in DEPENDENT:
        proven += " \\*"
    runtime = (report.goal or {}).get("runtime", "onnxruntime")  # the one that was asked for
    old, new = before.latency_ms[runtime].median, after.latency_ms[runtime].median
    cells = [
        f"{report.network}, {report.data}",
        report.minimise,
        f"{measured(certificate)} {100 * before.quality:.2f} → {100 * after.quality:.2f} %",
        proven,
        f"{human_bytes(before.bytes.fp32)} → {human_bytes(after.bytes.coded)}",
        f"{before.bytes.fp32 / after.bytes.coded:.1f}x",
        f"{old:.2f} → {new:.2f} ms ({runtime})",
        f"{old / new:.1f}x",
        f"{report.seconds / 60:.0f}",
        f"[{name}](results/{name}/)",
    ]
    return f"| {' | '.join(cells)} |\n"


def _words(reports: Sequence[Report]) -> str:
    """What holds for all rows, with what differs between them put together."""
    images = sorted({report.certificate["n"] for report in reports})
    confidence = {f"{100 * report.certificate['confidence']:g}" for report in reports}
    threads = {str(next(iter(report.compressed.latency_ms.values())).threads) for report in reports}
    cores = {str(report.environment.get("cores", "an unknown number of")) for report in reports}
    processors = sorted({str(report.environment.get("cpu", "an unknown processor")) for report in reports})
    return (
        f"Quality on {_either([f'{n:,}' for n in images])} test images that nothing was chosen on; the drop is "
        f"excluded at {' or '.join(confidence)} % confidence; times are medians of interleaved runs on "
        f"{' or '.join(threads)} thread, float32 original against the delivered file in the same runtime; sizes are "
        "whole files against 4 bytes a parameter; minutes are those of the whole run, on "
        f"{' or '.join(sorted(cores))} cores. Each folder's environment.json names versions and machine "
        f"({', '.join(processors)})."
    )


def _either(words: Sequence[str]) -> str:
    """'a, b or c'."""
    return " or ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), words[-1]])


def write_readme() -> None:
    """Put the table into README.md."""
    put_between(ROOT / "README.md", BEGIN, END, results_table())
