# SPDX-License-Identifier: Apache-2.0
"""Plots as inline SVG, drawn by hand and coloured by the page's style sheet.

Every plot has one size and scales with its column; every mark carries a `<title>` with its numbers, which
browsers show on hover. The same numbers stand in the page's tables for those who cannot see the plot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gossamer.report.axis import Axis, decimals
from gossamer.report.markup import Html, join, tag, typeset
from gossamer.report.units import points, points_up

WIDTH, HEIGHT = 360.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 12.0, 30.0, 46.0


@dataclass(frozen=True)
class Point:
    """One mark of a scatter plot; `mark` is chosen, accepted, rejected or original."""

    x: float
    y: float
    mark: str
    title: str


def scatter(name: str, x: Axis, y: Axis, marks: Sequence[Point], levels: Sequence[tuple[str, float]] = ()) -> Html:
    """Points with the frontier of the accepted and rejected alike: no other is both cheaper and better.

    `levels` are horizontal lines (class, y).
    """
    on_plot = _Plane(x, y)
    steps = frontier(marks)
    path = "".join(  # along each step, then up
        f"H{on_plot.x(p.x):.1f}V{on_plot.y(p.y):.1f}" if i else f"M{on_plot.x(p.x):.1f} {on_plot.y(p.y):.1f}"
        for i, p in enumerate(steps)
    )
    order = {"rejected": 0, "accepted": 1, "original": 2, "chosen": 3}
    return _svg(
        name,
        on_plot.frame(),
        *(_level(on_plot, style, value) for style, value in levels),
        tag("path", d=path, class_="frontier") if len(steps) > 1 else None,
        *(_mark(on_plot, point) for point in sorted(marks, key=lambda p: order[p.mark])),
    )


def frontier(marks: Sequence[Point]) -> list[Point]:
    """The points that no other beats, from cheap to dear."""
    best: list[Point] = []
    for point in sorted(marks, key=lambda p: (p.x, -p.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return best


def lines(name: str, x: Axis, y: Axis, values: Sequence[tuple[float, float | None]], title: Callable[..., str]) -> Html:
    """One line through (x, y) values, broken where y is None; `title` words one pair."""
    on_plot = _Plane(x, y)
    path, pen_down = "", False
    for at, value in values:
        if value is not None:
            path += f"{'L' if pen_down else 'M'}{on_plot.x(at):.1f} {on_plot.y(value):.1f}"
        pen_down = value is not None
    dots = (
        tag("circle", tag("title", title(at, v)), cx=on_plot.x(at), cy=on_plot.y(v), r=2.5, class_="dot")
        for at, v in values
        if v is not None
    )
    return _svg(name, on_plot.frame(), tag("path", d=path, class_="line"), *dots)


def bars(
    name: str, x_label: str, y: Axis, values: Sequence[float], before: Sequence[float], titles: Sequence[str]
) -> Html:
    """A bar for each value in order, over a pale one for what it was `before` (none if empty)."""
    count = len(values)
    x = Axis(x_label, 0.5, count + 0.5, lambda value: f"{value:.0f}")
    on_plot = _Plane(x, y, ticks=[t for t in x.ticks(6) if t == round(t)])
    pitch = on_plot.x(2) - on_plot.x(1) if count > 1 else 40.0
    width = max(0.8, pitch * (0.72 if count < 60 else 0.86))

    def bar(index: int, value: float, style: str) -> Html:
        top = on_plot.y(value)
        left = on_plot.x(index + 1) - width / 2
        height = max(0.0, HEIGHT - _BOTTOM - top)
        return tag("rect", tag("title", titles[index]), x=left, y=top, width=width, height=height, class_=style)

    return _svg(
        name,
        on_plot.frame(),
        *(bar(i, value, "before") for i, value in enumerate(before)),
        *(bar(i, value, "after") for i, value in enumerate(values)),
    )


def interval(
    name: str, observed: float, bound: float | None, tolerance: float, proven: bool, measure: str = "quality"
) -> Html:
    """The observed drop, the bound that confidence reaches to, and the tolerance (fractions), on one line."""
    height, rule = 136.0, 62.0
    ends = [0.0, observed, tolerance, *([] if bound is None else [bound])]
    air = 0.1 * (max(ends) - min(ends)) or 0.01
    axis = Axis(f"drop in {measure}, points", min(ends) - air, max(ends) + air, str)
    span = WIDTH - 2 * _RIGHT

    def at(value: float) -> float:
        return _RIGHT + span * axis.place(value)

    def words(value: float, y: float, text: str, style: str) -> Html:
        anchor = "start" if axis.place(value) < 0.18 else "end" if axis.place(value) > 0.72 else "middle"
        return tag("text", typeset(text), x=at(value), y=y, text_anchor=anchor, class_=style)

    in_points = Axis(axis.label, 100 * axis.low, 100 * axis.high, str).ticks(6)
    digits = decimals(in_points)
    parts = [
        tag("rect", x=at(tolerance), y=26, width=WIDTH - _RIGHT - at(tolerance), height=72, class_="excluded"),
        tag("line", x1=_RIGHT, x2=WIDTH - _RIGHT, y1=98, y2=98, class_="axis"),
        *(
            tag("text", typeset(f"{tick:.{digits}f}"), x=at(tick / 100), y=114, text_anchor="middle")
            for tick in in_points
        ),
        tag("text", axis.label, x=WIDTH / 2, y=132, text_anchor="middle"),
        tag("line", x1=at(tolerance), x2=at(tolerance), y1=26, y2=98, class_="tolerance"),
        words(tolerance, 16, f"tolerance {points(tolerance)}", "strong"),
    ]
    if bound is not None:
        reach = "reach" if proven else "reach short"
        parts += [
            tag("line", x1=at(observed), x2=at(bound), y1=rule, y2=rule, class_=reach),
            tag("line", x1=at(bound), x2=at(bound), y1=rule - 9, y2=rule + 9, class_=reach),
            words(bound, rule + 22, f"bound {points_up(bound)}", "strong"),
        ]
    parts += [
        tag("circle", cx=at(observed), cy=rule, r=5.5, class_="chosen"),
        words(observed, rule - 14, f"observed {points(observed)}", "strong"),
    ]
    return _svg(name, *parts, height=height)


@dataclass(frozen=True)
class _Plane:
    """Values to places in the drawing."""

    x_axis: Axis
    y_axis: Axis
    ticks: list[float] | None = None

    def x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * self.x_axis.place(value)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * self.y_axis.place(value)

    def frame(self) -> Html:
        """Grid, ticks and labels; the vertical axis is named above itself, where it reads without turning."""
        right, floor = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        parts = [tag("text", self.y_axis.label, x=2, y=14, class_="strong")]
        for tick in self.y_axis.ticks():
            y = self.y(tick)
            parts.append(tag("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="grid"))
            parts.append(tag("text", self.y_axis.show(tick), x=_LEFT - 7, y=y + 4, text_anchor="end"))
        for tick in self.ticks or self.x_axis.ticks(4):
            x = self.x(tick)
            parts.append(tag("line", x1=x, x2=x, y1=floor, y2=floor + 4, class_="axis"))
            parts.append(tag("text", self.x_axis.show(tick), x=x, y=floor + 17, text_anchor="middle"))
        parts.append(tag("line", x1=_LEFT, x2=right, y1=floor, y2=floor, class_="axis"))
        middle = (_LEFT + right) / 2
        parts.append(tag("text", self.x_axis.label, x=middle, y=HEIGHT - 8, text_anchor="middle", class_="strong"))
        return tag("g", *parts)


def _mark(on_plot: _Plane, point: Point) -> Html:
    x, y = on_plot.x(point.x), on_plot.y(point.y)
    title = tag("title", point.title)
    if point.mark == "rejected":
        return tag("path", title, d=f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8", class_="rejected")
    if point.mark == "original":
        return tag("rect", title, x=x - 5, y=y - 5, width=10, height=10, class_="original")
    return tag("circle", title, cx=x, cy=y, r=7 if point.mark == "chosen" else 4.5, class_=point.mark)


def _level(on_plot: _Plane, style: str, value: float) -> Html:
    y = on_plot.y(value)
    return tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_=style)


def _svg(name: str, *parts: Html | None, height: float = HEIGHT) -> Html:
    """The drawing; `name` is its accessible name."""
    return tag("svg", join(parts), viewBox=f"0 0 {WIDTH:.0f} {height:.0f}", role="img", aria_label=name)
