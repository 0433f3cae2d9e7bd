# SPDX-License-Identifier: Apache-2.0
"""The sentences say what was measured, also where it is not what one hoped for."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gossamer.report.comparison import comparison_rows
from gossamer.report.record import Report
from gossamer.report.units import human_bytes, human_seconds, points, points_up
from gossamer.report.words import (
    certificate_sentence,
    fastest_dense,
    headline,
    reference_runtime,
    runtime_name,
)


def test_headline_of_bytes(full: Report) -> None:
    assert headline(full) == (
        "14.2x smaller at -0.12 points; a drop of 1 point or more in accuracy is excluded at 95 % confidence"
    )


def test_headline_of_latency(fast: Report) -> None:
    assert headline(fast) == (
        "1.55x faster in ONNX Runtime and 14.2x smaller at -0.78 points; "
        "a drop of 1 point or more in accuracy is not excluded at 95 % confidence"
    )


def test_headline_of_macs(minimal: Report) -> None:
    assert headline(minimal).startswith("2.13x fewer multiply-adds and 14.2x smaller at +0.04 points; ")


def test_working_memory_has_a_row_where_it_was_recorded_and_leads_where_it_was_limited(full: Report) -> None:
    assert not [row for row in comparison_rows(full) if row.label.startswith("working memory")], "older reports"
    both = replace(
        full,
        original=replace(full.original, ram_bytes=196_608),
        compressed=replace(full.compressed, ram_bytes=49_152),
    )
    assert Report.from_json(both.to_json()) == both
    (row,) = [row for row in comparison_rows(both) if row.label == "working memory of activations"]
    assert (row.original, row.compressed, row.change, row.key) == ("197 kB", "49.2 kB", "4.00x", False)
    assert "memory" not in headline(both)
    limited = replace(both, goal={"fit": {"ram": 50_000}})
    assert headline(limited).startswith("4.00x less working memory and 14.2x smaller at ")
    assert [row.label for row in comparison_rows(limited) if row.key][-1] == "working memory of activations"


def test_worse_is_called_worse(fast: Report) -> None:
    swapped = replace(fast, original=fast.compressed, compressed=fast.original, parts=None)
    assert headline(swapped).startswith("1.55x slower in ONNX Runtime at +0.78 points")
    slow = replace(swapped.compressed, bytes=replace(fast.original.bytes, coded=2 * fast.compressed.bytes.fp32))
    assert "2.00x larger" in headline(replace(swapped, compressed=slow))


def test_the_runtime_that_was_asked_for(fast: Report) -> None:
    assert reference_runtime(fast) == "onnxruntime"
    assert reference_runtime(replace(fast, goal={"runtime": "openvino"})) == "openvino"
    assert reference_runtime(replace(fast, goal={"runtime": "tpu"})) == "onnxruntime"

    def sessions(report: Report) -> Report:
        original, compressed = (
            replace(side, latency_ms={f"{name} f32 x1": t for name, t in side.latency_ms.items()})
            for side in (report.original, report.compressed)
        )
        return replace(report, original=original, compressed=compressed, goal={"runtime": "openvino"})

    assert reference_runtime(sessions(fast)) == "openvino f32 x1"
    assert headline(sessions(fast)).startswith("1.47x faster in OpenVINO and")
    assert runtime_name("openvino f32 x1") == "OpenVINO f32 1 thread"


def test_fastest_dense_float_counts_bf16_but_not_int8(full: Report) -> None:
    assert fastest_dense(full) == ("OpenVINO bf16", 1.12)
    int8 = replace(full.speed[-1], precision="int8", original_ms=0.4)
    assert fastest_dense(replace(full, speed=(int8,))) == ("OpenVINO", 1.31)
    last = comparison_rows(full)[-1]
    assert (last.original, last.compressed, last.change) == ("1.12 ms", "0.894 ms", "1.25x")


def test_certificate_in_one_sentence(full: Report, minimal: Report) -> None:
    assert certificate_sentence(full.certificate) == (
        "Proven: on 5,000 test images a drop of 1 point or more in accuracy is excluded at 95 % confidence "
        "(observed 0.12 points; the drop is below 0.642 points)."
    )
    chosen = {**full.certificate, "guaranteed": 0.01}  # a bolder candidate failed: its own bound holds no longer
    assert certificate_sentence(chosen).endswith("(observed 0.12 points; the drop is below 1 point).")
    assert "not excluded" in certificate_sentence(minimal.certificate)
    assert certificate_sentence(minimal.certificate).endswith("(observed -0.04 points; no bound could be given).")


def test_the_coded_file_is_judged_against_fp32(full: Report) -> None:
    coded = replace(full, original=replace(full.original, bytes=replace(full.original.bytes, coded=900_000)))
    for report in (full, coded):
        row = next(row for row in comparison_rows(report) if row.label.startswith("coded"))
        assert (row.original, row.compressed, row.change, row.key) == ("1.08 MB", "76.4 kB", "14.2x", True)


@given(st.floats(-1, 1, allow_nan=False))
def test_a_bound_never_shrinks_in_print(fraction: float) -> None:
    assert float(points_up(fraction).split()[0]) >= 100 * fraction - 1e-9


@given(st.floats(-1, 1, allow_nan=False))
def test_points_keep_three_digits(fraction: float) -> None:
    assert abs(float(points(fraction).split()[0]) - 100 * fraction) <= 0.0051 * abs(100 * fraction)


@given(st.integers(0, 10**13))
def test_bytes_in_print_are_within_half_a_percent_and_below_a_thousand(count: int) -> None:
    number, unit = human_bytes(count).split()
    assert abs(float(number) * 1000 ** ["B", "kB", "MB", "GB", "TB"].index(unit) - count) <= 0.005 * count
    assert float(number) < 1000 or unit == "TB"


@given(st.floats(0, 10**6))
def test_times_have_no_sixty(seconds: float) -> None:
    assert not human_seconds(seconds).startswith("60 s")
    assert " 60 " not in human_seconds(seconds)
