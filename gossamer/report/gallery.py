# SPDX-License-Identifier: Apache-2.0
"""The test images on the page, before and after: PNG files beside the report, written into the page itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

from gossamer.report.markup import Html, join, tag, typeset
from gossamer.report.record import Panel, Report, Shown
from gossamer.report.units import percent, signed_points
from gossamer.report.words import measured

PNG = b"\x89PNG\r\n\x1a\n"
MOST_BYTES = 2**19  # of one picture: those that are written have a fifth of it


def read_pictures(report: Report, folder: Path) -> dict[str, bytes]:
    """The PNG files that a report shows, by name, as far as they lie in its folder."""
    found = {}
    for shown in report.shown:
        for panel in shown.panels:
            path = folder / panel.file
            if path.is_file() and path.stat().st_size <= MOST_BYTES and (data := path.read_bytes()).startswith(PNG):
                found[panel.file] = data
    return found


def gallery_section(report: Report, pictures: Mapping[str, bytes]) -> Html | None:
    """Each image in a row of panels, with its quality before and after; nothing where no picture is there."""
    rows = [row for shown in report.shown if (row := _row(report, shown, pictures))]
    if not rows:
        return None
    words = (
        "Images of the test split, which was opened for the certificate before they were drawn: where "
        f"{measured(report.certificate)} fell most, in the middle, and where it rose most."
    )
    legend = tag("ul", *_swatches(report), class_="legend") if report.legend else None
    return join([tag("p", words), *rows, legend])


def _row(report: Report, shown: Shown, pictures: Mapping[str, bytes]) -> Html | None:
    panels = [panel for panel in shown.panels if panel.file in pictures]
    if not panels:
        return None
    which = f"{shown.which[:1].upper()}{shown.which[1:]}"
    change = signed_points(shown.compressed - shown.original)
    numbers = (
        f"{which}: {measured(report.certificate)} {percent(shown.original)} before, {percent(shown.compressed)} after "
        f"({change} points)"
    )
    shots = (_panel(panel, shown, pictures[panel.file]) for panel in panels)
    return tag("figure", tag("figcaption", typeset(numbers)), tag("div", *shots, class_="panels"), class_="shown")


def _panel(panel: Panel, shown: Shown, data: bytes) -> Html:
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    alt = f"{panel.name} of the test image with the {shown.which}"
    return tag("figure", tag("img", src=source, alt=alt), tag("figcaption", panel.name))


def _swatches(report: Report) -> Iterator[Html]:
    for swatch in report.legend:
        yield tag("li", tag("span", class_="swatch", style=f"background:{swatch.colour}"), swatch.name)
