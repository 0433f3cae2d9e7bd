# SPDX-License-Identifier: Apache-2.0
"""What the search tried, drawn: quality against bytes, milliseconds and multiply-adds."""

from __future__ import annotations

from gossamer.report.axis import fitted
from gossamer.report.comparison import candidate_cells, test_cell
from gossamer.report.markup import Html, join, tag, typeset
from gossamer.report.plots import Point, scatter
from gossamer.report.record import Report
from gossamer.report.sections import LONG_TABLE
from gossamer.report.tables import Column, table
from gossamer.report.units import human_bytes, human_count, human_ms, percent, trimmed
from gossamer.report.words import measured, reference_runtime

# How far below the original a plot reaches: a candidate at chance level would press all others into one line.
_TOLERANCES_SHOWN = 3.5


def candidates_section(report: Report) -> Html | None:
    """Quality against bytes, milliseconds and multiply-adds, and the table behind the plots."""
    if not report.candidates:
        return None
    plots = [plot for what in ("bytes", "latency", "macs") if (plot := _candidate_plot(report, what))]
    rows = [
        [c.name, *candidate_cells(c), "yes" if c.accepted else "no", test_cell(c), c.note] for c in report.candidates
    ]
    columns = [Column("candidate", style="name")]
    columns += [Column(name, number=True) for name in ("size", "multiply-adds", "batch 1", "quality", "change")]
    columns += [Column("accepted"), Column("test", style="test"), Column("note", style="note")]
    styles = ["chosen" if c.name == report.chosen else None for c in report.candidates]
    tall = len(rows) > LONG_TABLE
    return join(
        [
            tag(
                "p",
                "Every candidate was judged on the selection split. Then those accepted met the test split, from the "
                "most careful to the boldest, until the first that was not proven.",
            ),
            tag("div", *plots, class_="plots") if plots else None,
            _legend(report) if plots else None,
            table("Candidates", columns, rows, styles, tall=tall),
        ]
    )


def _candidate_plot(report: Report, what: str) -> Html | None:
    words, show = {
        "bytes": ("file size", human_bytes),
        "latency": ("latency at batch 1", human_ms),
        "macs": ("multiply-adds", human_count),
    }[what]
    found: list[Point] = []
    drops = []
    for c in report.candidates:
        cost = {"bytes": c.bytes, "latency": c.latency_ms, "macs": c.macs}[what]
        if cost is None or c.selection_quality is None or cost <= 0:
            continue
        mark = "chosen" if c.name == report.chosen else "accepted" if c.accepted else "rejected"
        title = f"{c.name}: " + typeset(f"{percent(c.selection_quality)}, {show(cost)}")
        found.append(Point(float(cost), 100 * c.selection_quality, mark, title))
        if c.selection_drop is not None:
            drops.append(100 * (c.selection_quality + c.selection_drop))
    if not found or (len(found) > 1 and len({point.x for point in found}) == 1):
        return None  # one column of points says nothing about the cost
    tolerance = 100 * report.certificate["tolerance"]
    before = max(drops, default=max(p.y for p in found))  # quality of the original on the selection split
    floor = before - _TOLERANCES_SHOWN * tolerance
    shown = [p for p in found if p.y >= floor] or found
    left_out = len(found) - len(shown)
    levels: list[tuple[str, float]] = []
    if drops:
        levels = [("reference", before), ("tolerance", before - tolerance)]
        if size := _original_cost(report, what):
            shown.append(Point(size, before, "original", f"original: {before:.2f} %, {show(size)}"))
    x = fitted(words, [p.x for p in shown], lambda value: trimmed(show(value)), log=True)
    heights = [p.y for p in shown] + [level for _, level in levels]
    y = fitted(f"{measured(report.certificate)} on the selection split, %", heights, lambda value: f"{value:.4g}")
    return tag(
        "figure",
        scatter(f"Quality against {words}", x, y, shown, levels),
        tag("figcaption", typeset(f"{left_out} below {floor:.1f} % not drawn")) if left_out else None,
    )


def _original_cost(report: Report, what: str) -> float | None:
    runtime = reference_runtime(report)
    if what == "latency":
        return report.original.latency_ms[runtime].median if runtime else None
    return float(report.original.bytes.fp32 if what == "bytes" else report.original.macs)


def _legend(report: Report) -> Html:
    def symbol(*marks: Html) -> Html:
        return tag("svg", *marks, viewBox="0 0 22 14", aria_hidden="true")

    def line(style: str) -> Html:
        return symbol(tag("line", x1=0, x2=22, y1=7, y2=7, class_=style))

    entries = [
        (symbol(tag("circle", cx=11, cy=7, r=6, class_="chosen")), "chosen") if report.chosen else None,
        (symbol(tag("circle", cx=11, cy=7, r=4.5, class_="accepted")), "accepted"),
        (symbol(tag("path", d="M7 3l8 8m0 -8l-8 8", class_="rejected")), "rejected"),
        (line("frontier"), "frontier"),
    ]
    if any(c.selection_quality is not None and c.selection_drop is not None for c in report.candidates):
        entries += [
            (symbol(tag("rect", x=6, y=2, width=10, height=10, class_="original")), "original"),
            (line("reference"), "quality of the original"),
            (line("tolerance"), "tolerance below it"),
        ]
    return tag("ul", *(tag("li", entry[0], entry[1]) for entry in entries if entry), class_="legend")
