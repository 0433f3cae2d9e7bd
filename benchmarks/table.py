# SPDX-License-Identifier: Apache-2.0
"""The results table of README, made from results/ and never by hand.

python -m benchmarks table           writes it between the two marks in README.md
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.claims import CLAIMS
from benchmarks.filing import put_between
from gossamer.report.record import Report, read_reports
from gossamer.report.units import human_bytes, points_up

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: python -m benchmarks table -->", "<!-- end of results -->"
HEAD = (
    "| network, data | minimised | accuracy | proven drop | file | smaller | batch 1 | faster | result |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def results_table() -> str:
    """One row a finished claim, and a line on the machine."""
    rows, machines = [], {}
    for name in CLAIMS:
        path = ROOT / "results" / name / "report.json"
        if path.exists():
            for report in read_reports(path):
                rows.append(_row(name, report))
                machines[_machine(report)] = None
    return HEAD + "".join(rows) + "\n" + "".join(f"{machine}\n" for machine in machines)


def _row(name: str, report: Report) -> str:
    before, after, certificate = report.original, report.compressed, report.certificate
    assert after.bytes.coded is not None
    proven = f"< {points_up(certificate['guaranteed'])}" if certificate["proven"] else "not proven"
    runtime = (report.goal or {}).get("runtime", "onnxruntime")  # the one that was asked for
    old, new = before.latency_ms[runtime].median, after.latency_ms[runtime].median
    cells = [
        f"{report.network}, {report.data}",
        report.minimise,
        f"{100 * before.quality:.2f} → {100 * after.quality:.2f} %",
        proven,
        f"{human_bytes(before.bytes.fp32)} → {human_bytes(after.bytes.coded)}",
        f"{before.bytes.fp32 / after.bytes.coded:.1f}x",
        f"{old:.2f} → {new:.2f} ms ({runtime})",
        f"{old / new:.1f}x",
        f"[{name}](results/{name}/)",
    ]
    return f"| {' | '.join(cells)} |\n"


def _machine(report: Report) -> str:
    known = report.environment
    threads = next(iter(report.compressed.latency_ms.values())).threads
    versions = ", ".join(f"{key} {known[key]}" for key in ("torch", "onnxruntime", "openvino") if known.get(key))
    return (
        f"Accuracy on {report.certificate['n']:,} test images that nothing was chosen on; the drop is excluded at "
        f"{100 * report.certificate['confidence']:g} % confidence; times are medians of interleaved runs on "
        f"{threads} thread of {known.get('cpu', 'an unknown processor')} ({versions}), float32 original against "
        "the delivered file in the same runtime; sizes are whole files against 4 bytes a parameter."
    )


def write_readme() -> None:
    """Put the table into README.md."""
    put_between(ROOT / "README.md", BEGIN, END, results_table())
