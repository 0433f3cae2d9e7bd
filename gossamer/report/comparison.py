# SPDX-License-Identifier: Apache-2.0
"""Original against compressed, row by row: the one table that the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gossamer.report.record import Candidate, Report, Side
from gossamer.report.units import (
    human_bytes,
    human_count,
    human_ms,
    human_ratio,
    percent,
    points,
    points_up,
    signed_points,
)
from gossamer.report.words import fastest, fastest_dense, measured, reference_runtime, runtime_name

ABSENT = "-"


@dataclass(frozen=True)
class Row:
    """One measured thing: its name, the three networks' values as texts, and original over compressed."""

    label: str
    original: str
    compressed: str
    control: str
    change: str
    key: bool = False


def comparison_rows(report: Report) -> list[Row]:
    """All rows, `ABSENT` where something was not measured; `key` marks the one that was to be minimised."""

    def row(label: str, read: Callable[[Side], float | None], show: Callable[[float], str], key: bool = False) -> Row:
        before, after = read(report.original), read(report.compressed)
        control = read(report.control) if report.control else None
        texts = [ABSENT if value is None else show(value) for value in (before, after, control)]
        change = human_ratio(before / after) if before and after else ABSENT
        return Row(label, texts[0], texts[1], texts[2], change, key)

    def share(label: str, read: Callable[[Side], float | None]) -> Row:
        before, after = read(report.original), read(report.compressed)
        change = ABSENT if before is None or after is None else f"{signed_points(after - before)} pt"
        return replace(row(label, read, percent), change=change)

    fp32 = report.original.bytes.fp32
    coded = row("coded", lambda side: side.bytes.coded, human_bytes)
    # the whole coded file is judged against the whole float file, whether or not somebody coded the original
    ratio = human_ratio(fp32 / report.compressed.bytes.coded) if report.compressed.bytes.coded else ABSENT
    return [
        share(f"quality ({measured(report.certificate)}, test split)", lambda side: side.quality),
        *(share(f"{name}, test split", partial(_figure, name)) for name in report.original.figures or {}),
        *_second_test_rows(report, share),
        row("size as fp32", lambda side: side.bytes.fp32, human_bytes),
        row("zip of fp32", lambda side: side.bytes.zip, human_bytes),
        row("what the runtime loads", lambda side: side.bytes.runtime, human_bytes),
        Row(
            "coded file, against fp32",
            human_bytes(fp32),
            coded.compressed,
            coded.control,
            ratio,
            key=report.minimise == "bytes",
        ),
        row("parameters", lambda side: side.parameters, human_count),
        row("of them not zero", lambda side: side.nonzeros, human_count),
        row("multiply-adds", lambda side: side.macs, human_count, key=report.minimise == "macs"),
        *_memory_rows(report, row),
        *_latency_rows(report, row),
        *_starting_rows(report, row),
    ]


def _figure(name: str, side: Side) -> float | None:
    return (side.figures or {}).get(name)


def _second_test_rows(report: Report, share: Callable[..., Row]) -> list[Row]:
    """The same on the second test, where there is one."""
    if report.original.second_test is None:
        return []

    def quality(side: Side) -> float | None:
        return None if side.second_test is None else side.second_test.quality

    def figure(name: str, side: Side) -> float | None:
        return None if side.second_test is None else (side.second_test.figures or {}).get(name)

    return [
        share(f"quality ({measured(report.certificate)}, second test)", quality),
        *(share(f"{name}, second test", partial(figure, name)) for name in report.original.second_test.figures or {}),
    ]


def _memory_rows(report: Report, row: Callable[..., Row]) -> list[Row]:
    """What activations need on a device; older reports do not say."""
    if report.compressed.ram_bytes is None:
        return []
    limited = "ram" in (report.goal or {}).get("fit", {})
    return [row("working memory of activations", lambda side: side.ram_bytes, human_bytes, key=limited)]


def _starting_rows(report: Report, row: Callable[..., Row]) -> list[Row]:
    """From the file to the first answer: a .gossamer has to be decoded first."""
    if report.compressed.first_answer_ms is None:
        return []
    first = row("from the file to the first answer", lambda side: side.first_answer_ms, human_ms)
    rows = [_ranged(first, report, lambda side: side.first_answer_range, human_ms)]
    if report.compressed.peak_memory is not None:
        memory = row("memory of a process that does that", lambda side: side.peak_memory, human_bytes)
        rows.append(_ranged(memory, report, lambda side: side.peak_memory_range, human_bytes))
    return rows


def _ranged(row: Row, report: Report, read: Callable[[Side], Sequence[float]], show: Callable[[float], str]) -> Row:
    """The row with the least and the most beside each median; older reports do not say them."""

    def beside(text: str, side: Side | None) -> str:
        ends = read(side) if side is not None else ()
        return f"{text} ({show(ends[0])} to {show(ends[1])})" if len(ends) == 2 else text

    return replace(
        row,
        original=beside(row.original, report.original),
        compressed=beside(row.compressed, report.compressed),
        control=beside(row.control, report.control),
    )


def _latency_rows(report: Report, row: Callable[..., Row]) -> list[Row]:
    rows = []
    for runtime in dict.fromkeys([*report.original.latency_ms, *report.compressed.latency_ms]):

        def median(side: Side, runtime: str = runtime) -> float | None:
            return side.latency_ms[runtime].median if runtime in side.latency_ms else None

        rows.append(
            row(
                f"batch 1, {runtime_name(runtime)}",
                median,
                human_ms,
                key=report.minimise == "latency" and runtime == reference_runtime(report),
            )
        )
    dense, best = fastest_dense(report), fastest(report)
    if dense and best and best[1] > 0 and (len(rows) > 1 or report.speed):
        where = dense[0] if dense[0] == best[0] else f"{dense[0]} / {best[0]}"
        label = f"fastest of each ({where})"
        rows.append(Row(label, human_ms(dense[1]), human_ms(best[1]), ABSENT, human_ratio(dense[1] / best[1])))
    return rows


def candidate_cells(candidate: Candidate) -> list[str]:
    """Size, multiply-adds, latency, quality and its change as texts."""

    def shown(value: float | None, show: Callable[[float], str]) -> str:
        return ABSENT if value is None else show(value)

    return [
        shown(candidate.bytes, human_bytes),
        shown(candidate.macs, human_count),
        shown(candidate.latency_ms, human_ms),
        shown(candidate.selection_quality, percent),
        shown(None if candidate.selection_drop is None else -candidate.selection_drop, signed_points),
    ]


def test_cell(candidate: Candidate) -> str:
    """What the test split said: why a bolder candidate was not the one delivered."""
    if candidate.test is None:
        return "not opened" if candidate.accepted else ABSENT
    if candidate.test.proven:
        return f"proven, < {points_up(candidate.test.guaranteed)}"
    return f"not proven: drop {points(candidate.test.observed_drop)}, bound {points_up(candidate.test.bound)}"
