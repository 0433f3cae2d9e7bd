# SPDX-License-Identifier: Apache-2.0
"""How many times as fast: what was delivered, int8 alone and pruning alone, from the files in results/.

    python -m benchmarks.speed_table       writes the table of docs/benchmarks.md

same runtime    the original in float32 over the network, both in the claim's runtime on its number of threads: of what
                was delivered the median ratio of turns; of others, which the search has timed in turns with the
                original, against the uncut float32 network that it has timed in the same way
fastest float   the original at its fastest over runtimes, precisions and threads over the network: what was delivered
                at its fastest in the claim's runtime, others on the claim's number of threads
"""

from __future__ import annotations

import sys

from benchmarks.claims import CLAIMS
from benchmarks.filed import linked, put, report_of, table
from gossamer.report.record import Candidate, Report, SpeedRow
from gossamer.report.units import human_ms, human_ratio

MODULE = "speed_table"
HEADS = ("network", "runtime", "row", "points lost", "one image", "same runtime", "fastest float", "result")
UNCUT_FLOAT, UNCUT_INT8 = "uncut, float32", "uncut, int8"
UNSTEADY, SCATTER = " \\*", "the ratios of the turns scatter: their 90th percentile is over twice the 10th."
NAMES = [name for name in CLAIMS if name.endswith(("-latency", "-latency-onnxruntime"))]


def main() -> int:
    """Put the table into the page."""
    put(MODULE, text())
    return 0


def text() -> str:
    """The rows of all filed claims of latency, and what is marked in them."""
    rows = [row for name in NAMES if (report := report_of(name)) for row in rows_of(name, report)]
    scatter = any(cell.endswith(UNSTEADY) for row in rows for cell in row)
    return table(HEADS, rows, words=3) + (f"\n\n{UNSTEADY.strip()} {SCATTER}" if scatter else "")


def rows_of(name: str, report: Report) -> list[list[str]]:
    """What was delivered, and the techniques by themselves as far as the search accepted them."""
    runtime = str((report.goal or {})["runtime"])
    fastest = fastest_float(report)
    at, here = _as_asked(report, runtime), [row for row in report.speed if row.runtime == runtime]
    best = min(row.compressed_ms for row in here if row.compressed_ms is not None)
    assert at.ratio is not None
    assert at.original_ms is not None
    assert at.compressed_ms is not None
    delivered = human_ratio(at.ratio) + ("" if at.steady else UNSTEADY)
    lost = _points(float(report.certificate["observed_drop"]))
    cells = [f"delivered: {report.chosen}", lost, human_ms(at.compressed_ms), delivered, human_ratio(fastest / best)]
    rows = [[report.network, runtime, *cells, linked(name)]]
    alone = {"int8 alone": int8_alone(report), "pruning alone": pruning_alone(report)}
    times = {candidate.name: candidate.latency_ms for candidate in report.candidates}
    dense = times.get(UNCUT_FLOAT)
    for row, candidate in alone.items():
        if candidate is not None and candidate.name == report.chosen:
            rows.append([report.network, runtime, f"{row}: what was delivered", *cells[1:], ""])
            continue
        if candidate is None or candidate.latency_ms is None or dense is None:
            rows.append([report.network, runtime, f"{row}: none was accepted and faster", *[""] * 4, ""])
            continue
        ratio = dense / candidate.latency_ms
        lost = "" if candidate.test is None else _points(candidate.test.observed_drop)
        again = at.original_ms / ratio  # its time in the turns that the original was timed in last
        numbers = [lost, human_ms(again), human_ratio(ratio), human_ratio(fastest / again)]
        rows.append([report.network, runtime, f"{row}: {candidate.name}", *numbers, ""])
    return rows


def fastest_float(report: Report) -> float:
    """Milliseconds of the original at its fastest over runtimes, precisions and threads."""
    return min(row.original_ms for row in report.speed if row.original_ms is not None)


def int8_alone(report: Report) -> Candidate | None:
    """The uncut network in int8, trained on its grids or not, if it was accepted."""
    return _fastest([c for c in report.candidates if c.name.startswith(UNCUT_INT8)])


def pruning_alone(report: Report) -> Candidate | None:
    """The fastest network that was cut and stayed in float32, of those accepted."""
    return _fastest([c for c in report.candidates if c.name.endswith(", float32") and c.name != UNCUT_FLOAT])


def _points(drop: float) -> str:
    return f"{100 * drop:.2f}"


def _fastest(candidates: list[Candidate]) -> Candidate | None:
    timed = [c for c in candidates if c.accepted and c.latency_ms is not None]
    return min(timed, key=lambda candidate: candidate.latency_ms or 0.0, default=None)


def _as_asked(report: Report, runtime: str) -> SpeedRow:
    """Float32 in this runtime on as many threads as the claim asks for."""
    return next(row for row in report.speed if (row.runtime, row.precision) == (runtime, "f32"))


if __name__ == "__main__":
    sys.exit(main())
