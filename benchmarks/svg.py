# SPDX-License-Identifier: Apache-2.0
"""SVG files that need no style sheet: one frame for all, and the grid of those that have two axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gossamer.report.axis import Axis
from gossamer.report.markup import Html, tag

INK, PALE, PAPER, GREY = "#1f2328", "#d0d7de", "#ffffff", "#57606a"


def svg_file(width: float, height: float, parts: Iterable[Html], font_size: float = 12.0) -> Html:
    """A file of these parts, the first of them its ground."""
    return tag(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        font_family="system-ui, sans-serif",
        font_size=font_size,
    )


@dataclass(frozen=True)
class Plot:
    """A plane with two axes, and its margins."""

    x: Axis
    y: Axis
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    def across(self, value: float) -> float:
        """Where a value of the horizontal axis stands."""
        return self.left + (self.width - self.left - self.right) * self.x.place(value)

    def down(self, value: float) -> float:
        """Where a value of the vertical axis stands."""
        return self.height - self.bottom - (self.height - self.top - self.bottom) * self.y.place(value)

    def line(self, points: Iterable[tuple[float, float]]) -> str:
        """The path from point to point."""
        return " ".join(
            f"{'L' if i else 'M'}{self.across(x):.1f} {self.down(y):.1f}" for i, (x, y) in enumerate(points)
        )

    def grid(self, title: str, above: Callable[[float], str] | None = None) -> list[Html]:
        """Title, lines and numbers; `above`: what is written over each vertical line."""
        floor, right = self.height - self.bottom, self.width - self.right
        parts = [tag("text", f"{title}: {self.y.label}", x=12, y=22, fill=INK, font_weight="600")]
        for tick in self.y.ticks(6):
            at = self.down(tick)
            parts.append(tag("line", x1=self.left, x2=right, y1=at, y2=at, stroke=INK if tick == 0 else PALE))
            parts.append(tag("text", self.y.show(tick), x=self.left - 8, y=at + 4, text_anchor="end", fill=INK))
        for tick in self.x.ticks(8):
            at = self.across(tick)
            parts.append(tag("line", x1=at, x2=at, y1=self.top, y2=floor, stroke=PALE))
            parts.append(tag("text", self.x.show(tick), x=at, y=floor + 18, text_anchor="middle", fill=INK))
            if above:
                parts.append(tag("text", above(tick), x=at, y=self.top - 6, text_anchor="middle", fill=GREY))
        middle = (self.left + right) / 2
        parts.append(tag("text", self.x.label, x=middle, y=self.height - 12, text_anchor="middle", fill=INK))
        return parts
