# SPDX-License-Identifier: Apache-2.0
"""Plots put values where they belong, stay within their frame, and survive data with no extent."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.report.axis import Axis, fitted
from gossamer.report.plots import HEIGHT, WIDTH, Point, bars, frontier, interval, lines, scatter

positive = st.floats(1e-3, 1e9)


def _numbers(svg: str, attribute: str) -> list[float]:
    return [float(found) for found in re.findall(rf' {attribute}="(-?[\d.]+)"', svg)]


@given(st.lists(positive, min_size=1, max_size=20), st.booleans(), st.booleans())
def test_an_axis_holds_its_values_and_ticks(values: list[float], zero: bool, log: bool) -> None:
    axis = fitted("x", values, str, zero=zero, log=log)
    assert axis.low < axis.high
    assert all(axis.low <= value <= axis.high for value in values)
    ticks = axis.ticks(5)
    assert 1 <= len(ticks) <= 9
    slack = 1e-9 * (axis.high - axis.low)
    assert all(axis.low - slack <= tick <= axis.high + slack for tick in ticks)
    assert all(a < b for a, b in pairwise(ticks))
    assert all(axis.place(a) <= axis.place(b) for a, b in pairwise(sorted(values)))


def test_a_logarithmic_axis_halves_where_the_ratio_halves() -> None:
    axis = Axis("x", 1, 100, str, log=True)
    assert axis.place(10) == pytest.approx(0.5)
    assert Axis("x", 0, 100, str).place(10) == pytest.approx(0.1)
    assert axis.ticks(6) == [1, 2, 5, 10, 20, 50, 100]
    assert axis.ticks(4) == [1, 3, 10, 30, 100]


def test_the_frontier_is_what_no_other_beats() -> None:
    marks = [Point(x, y, "accepted", "") for x, y in [(3, 90), (1, 80), (2, 79), (2, 85), (4, 90), (5, 95)]]
    assert [(p.x, p.y) for p in frontier(marks)] == [(1, 80), (2, 85), (3, 90), (5, 95)]


def test_marks_are_where_their_values_are() -> None:
    marks = [Point(1, 90, "accepted", "a"), Point(2, 91, "chosen", "b"), Point(3, 89, "rejected", "c")]
    x, y = fitted("cost", [1, 2, 3], str), fitted("quality", [89, 90, 91], str)
    svg = scatter("plot", x, y, marks, [("tolerance", 89.5)])
    (ax, bx), (ay, by) = _numbers(svg, "cx"), _numbers(svg, "cy")
    assert ax < bx  # cheaper is left
    assert ay > by  # better is higher
    assert all(0 < v < WIDTH for v in (ax, bx))
    assert all(0 < v < HEIGHT for v in (ay, by))
    assert svg.index('class="accepted"') < svg.index('class="chosen"')  # the chosen one is drawn on top
    assert "<title>b</title>" in svg
    assert 'class="tolerance"' in svg


def test_a_longer_bar_for_more() -> None:
    y = fitted("channels", [16, 32], str, zero=True)
    svg = bars("bars", "layer", y, [8, 32], [16, 32], ["a", "b"])
    before_a, before_b, after_a, after_b = _numbers(svg, "height")
    assert before_a == pytest.approx(2 * after_a, abs=0.02)
    assert after_b == before_b == pytest.approx(2 * before_a, abs=0.02)


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    x, y = fitted("epoch", [1, 5], str), fitted("loss", [1, 5], str)
    svg = lines("loss", x, y, [(1, 5), (2, 4), (3, None), (4, 2), (5, 1)], lambda at, v: f"{at}: {v}")
    path = re.search(r'<path d="([^"]+)" class="line"', svg)
    assert path
    assert path.group(1).count("M") == 2
    assert svg.count("<circle") == 4


def test_the_interval_ends_before_the_tolerance_only_if_proven() -> None:
    for bound, proven in ((0.0064, True), (0.0133, False)):
        svg = interval("drop", 0.0012, bound, 0.01, proven)
        reach = re.search(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="62" y2="62"', svg)
        tolerance = re.search(r'<line x1="([\d.]+)"[^>]*class="tolerance"', svg)
        assert reach
        assert tolerance
        assert float(reach.group(1)) < float(reach.group(2))
        assert (float(reach.group(2)) < float(tolerance.group(1))) is proven
        assert ("short" in svg) is not proven


def test_no_extent_is_no_error() -> None:
    one = fitted("x", [3.0], str)
    assert "<circle" in scatter("one", one, one, [Point(3, 3, "chosen", "one")])
    assert "<rect" in bars("one", "layer", fitted("y", [0.0], str, zero=True), [0.0], (), ["one"])
    assert "<circle" in interval("none", 0.0, None, 0.0, False)
    assert "<circle" in interval("zero", 0.0, 0.0, 0.0, True)
