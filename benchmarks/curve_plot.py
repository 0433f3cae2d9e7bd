# SPDX-License-Identifier: Apache-2.0
"""A plot of bytes against quality as one SVG file that needs no style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.svg import INK, PALE, PAPER, Plot, svg_file
from gossamer.report.axis import fitted
from gossamer.report.markup import Html, tag
from gossamer.report.units import human_bytes

WIDTH, HEIGHT = 720.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 20.0, 56.0, 52.0
COLOURS = ("#0550ae", "#1a7f37", "#9a6700", "#cf222e", "#8250df", "#57606a")
SHAPES = ("circle", "circle", "circle", "square", "square", "square")
Curve = Sequence[tuple[float, float, str]]


def plot(title: str, whole: float, curves: Mapping[str, Curve]) -> Html:
    """Quality kept (points against the original, upwards) over bytes; `curves` hold (bytes, points lost, words).

    A curve that is empty keeps its colour for another time.
    `whole` is what the original takes in float32: a second scale says how many times smaller.
    """
    every = [point for curve in curves.values() for point in curve]
    x = fitted("bytes of all that is needed to run it", [size for size, *_ in every], human_bytes, log=True)
    y = fitted("points of accuracy against the original", [-drop for _, drop, _ in every], lambda v: f"{v:+.1f}")
    plane = Plot(x, y, WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)
    grid = plane.grid(title, above=lambda size: f"{whole / size:.3g}x")
    parts = [tag("rect", width=WIDTH, height=HEIGHT, fill=PAPER), *grid]
    for (name, curve), colour, shape in zip(curves.items(), COLOURS, SHAPES, strict=True):
        path = plane.line((size, -drop) for size, drop, _ in curve)
        parts.append(tag("path", d=path, fill="none", stroke=colour, stroke_width=1.5))
        parts += [
            _mark(
                shape,
                plane.across(size),
                plane.down(-drop),
                colour,
                f"{name}, {words}: {human_bytes(size)}, {-drop:+.2f} points",
            )
            for size, drop, words in curve
        ]
    parts.append(
        _legend({name: look for (name, curve), *look in zip(curves.items(), COLOURS, SHAPES, strict=True) if curve})
    )
    return svg_file(WIDTH, HEIGHT, parts, font_size=13.0)


def _mark(shape: str, x: float, y: float, colour: str, words: str) -> Html:
    title = tag("title", words)
    if shape == "circle":
        return tag("circle", title, cx=x, cy=y, r=4.0, fill=colour)
    return tag("rect", title, x=x - 3.5, y=y - 3.5, width=7.0, height=7.0, fill=PAPER, stroke=colour, stroke_width=1.5)


def _legend(looks: Mapping[str, Sequence[str]]) -> Html:
    """In the lower right corner, where curves that lose nothing with many bytes leave room."""
    left, top, height = WIDTH - RIGHT - 150, HEIGHT - BOTTOM - 20.0 * len(looks) - 8, 20.0 * len(looks) + 8
    parts = [tag("rect", x=left - 10, y=top - 6, width=158.0, height=height, fill=PAPER, stroke=PALE)]
    for number, (name, (colour, shape)) in enumerate(looks.items()):
        at = top + 8 + 20 * number
        parts += [_mark(shape, left + 4, at, colour, name), tag("text", name, x=left + 18, y=at + 4.5, fill=INK)]
    return tag("g", *parts)
