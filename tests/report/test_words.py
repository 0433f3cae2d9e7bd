# SPDX-License-Identifier: Apache-2.0
"""The sentences say what was measured, also where it is not what one hoped for."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gossamer.report.comparison import comparison_rows
from gossamer.report.record import ClassRow, Report, Side
from gossamer.report.units import human_bytes, human_seconds, points, points_up
from gossamer.report.words import (
    certificate_sentence,
    fastest_dense,
    headline,
    parts_sentences,
    reference_runtime,
    runtime_name,
    worst_sentence,
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


def test_starts_are_shown_with_their_spread(full: Report) -> None:
    def timed(side: Side, ms: float, *ends: float) -> Side:
        memory = tuple(round(1e6 * end) for end in ends)
        return replace(
            side, first_answer_ms=ms, peak_memory=90_000_000, first_answer_range=ends, peak_memory_range=memory
        )

    report = replace(full, original=timed(full.original, 20.0, 18.0, 31.0), compressed=timed(full.compressed, 25.0))
    first, memory = comparison_rows(report)[-2:]
    assert (first.original, first.compressed) == ("20.0 ms (18.0 ms to 31.0 ms)", "25.0 ms")
    assert memory.original.startswith("90.0 MB (18.0 MB to 31.0 MB)")
    assert first.change == "0.80x"


def test_certificate_in_one_sentence(full: Report, minimal: Report) -> None:
    assert certificate_sentence(full) == (
        "Proven: on 5,000 test images a drop of 1 point or more in accuracy is excluded at 95 % confidence "
        "(observed 0.12 points; the drop is below 0.642 points)."
    )
    chosen = {**full.certificate, "guaranteed": 0.01}  # a bolder candidate failed: its own bound holds no longer
    assert certificate_sentence(replace(full, certificate=chosen)).endswith(
        "(observed 0.12 points; the drop is below 1 point)."
    )
    assert "not excluded" in certificate_sentence(minimal)
    assert certificate_sentence(minimal).endswith("(observed -0.04 points; no bound could be given).")


def test_what_is_proven_of_independent_images_only_says_so(masks: Report) -> None:
    """Where whole areas drawn again reach beyond the tolerance, no text says that it is proven and nothing else."""
    beyond = replace(masks, by_area=replace(masks.by_area, upper=0.02001))
    assert certificate_sentence(beyond).startswith(
        "Proven if images were independent; by areas the drop reaches 2.01 points: on 400 test images"
    )
    assert headline(beyond).endswith(
        "is excluded at 95 % confidence, if images were independent; by areas it reaches 2.01 points"
    )
    for upper in (None, 0.02):
        within = replace(masks, by_area=replace(masks.by_area, upper=upper))
        assert certificate_sentence(within).startswith("Proven: on 400")
        assert headline(within).endswith("is excluded at 95 % confidence")
    failed = replace(beyond, certificate={**beyond.certificate, "proven": False})
    assert certificate_sentence(failed).startswith("Not proven: ")


def test_agreement_and_the_parts_that_lost_most(full: Report) -> None:
    groups = (ClassRow("clinic a", 40, 0.9, 0.85), ClassRow("clinic b", 1, 0.9, 0.95))
    assert parts_sentences(replace(full, agreement=0.9712, groups=groups)) == [
        "Both networks give 97.12 % of the test images the same class.",
        "The class that lost most is \u201ccat\u201d: -2.30 points on 500 images.",
        "The group that lost most is \u201cclinic a\u201d: -5.00 points on 40 images.",
    ]
    assert parts_sentences(replace(full, classes=full.classes[:1], groups=())) == []
    assert worst_sentence([replace(groups[1], compressed=0.1), groups[0]], "group").endswith("points on 1 image.")


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
