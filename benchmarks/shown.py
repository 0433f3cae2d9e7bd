# SPDX-License-Identifier: Apache-2.0
"""Cells that tables of several pages share: what was before, what is after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gossamer.report.record import Report, Side, read_reports
from gossamer.report.units import human_bytes, human_count, human_ratio, points_up, signed_points

RESULTS = Path(__file__).resolve().parent.parent / "results"
RUNTIMES = ("onnxruntime", "openvino")
NOTHING = "Not measured yet."


def filed(names: Sequence[str], results: Path = RESULTS) -> dict[str, Report]:
    """The reports of those claims that are finished, by name, in this order."""
    paths = {name: results / name / "report.json" for name in names}
    return {name: read_reports(path)[0] for name, path in paths.items() if path.exists()}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; numbers, all but the first and the last column, to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 2), "---"], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def change(before: float | None, after: float | None) -> str:
    """Two fractions in percent, and the difference in points; empty where one was not measured."""
    if before is None or after is None:
        return ""
    return f"{100 * before:.2f} → {100 * after:.2f} % ({signed_points(after - before)})"


def figure(side: Side | None, name: str) -> float | None:
    """A figure of the test split by its name."""
    return None if side is None else (side.figures or {}).get(name)


def macs(report: Report) -> str:
    """Multiply-adds before and after, and the share that is gone."""
    return _less(report.original.macs, report.compressed.macs)


def parameters(report: Report) -> str:
    """The same of parameters."""
    return _less(report.original.parameters, report.compressed.parameters)


def _less(before: int, after: int) -> str:
    return f"{human_count(before)} → {human_count(after)} ({100 * (after / before - 1):+.1f} %)"


def size(report: Report) -> str:
    """The whole file against 4 bytes a parameter."""
    coded = report.compressed.bytes.coded
    if coded is None:
        return ""
    return (
        f"{human_bytes(report.original.bytes.fp32)} → {human_bytes(coded)} ({report.original.bytes.fp32 / coded:.1f}x)"
    )


def faster(report: Report, runtime: str) -> str:
    """Milliseconds at batch 1 of the float32 original and of the delivered network, timed in turns."""
    before, after = (side.latency_ms.get(runtime) for side in (report.original, report.compressed))
    if before is None or after is None:
        return ""
    return f"{before.median:.2f} → {after.median:.2f} ms ({human_ratio(before.median / after.median)})"


def proven(report: Report) -> str:
    """The bound of the certificate, and which look at these test images it was."""
    certificate = report.certificate
    said = f"drop < {points_up(certificate['guaranteed'])}" if certificate["proven"] else "not proven"
    return f"{said}, look {certificate.get('look', 1)}"


def link(name: str) -> str:
    """To a result, from a page of docs/."""
    return f"[results](../results/{name}/)"
