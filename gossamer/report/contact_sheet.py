# SPDX-License-Identifier: Apache-2.0
"""The pictures that two networks disagree on, small, on one HTML page: somebody looks at it and fills in the labels.

It opens offline and runs nothing. Each picture has the name that stands in labels.csv and what each network answers.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gossamer.files import write_atomically
from gossamer.report.markup import Html, tag

SIDE = 160  # pixels of the longer side of a picture
MOST = 2000  # pictures on a page, of some 5 kB each
STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem;color-scheme:light dark}"
    "ul{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:1rem;padding:0;list-style:none}"
    "img{max-width:100%;image-rendering:pixelated}li{overflow-wrap:anywhere}.name{font-weight:600}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Disagreement:
    """A picture by its name, what both networks answer, and its label, if it has one."""

    name: str
    original: str
    compressed: str
    label: str = ""


def write_contact_sheet(path: Path, folder: Path, pictures: Sequence[Disagreement]) -> None:
    """One page of these pictures of a folder, those without a label first; atomically."""
    ordered = sorted(pictures, key=lambda picture: bool(picture.label))
    missing = sum(not picture.label for picture in pictures)
    shown = ordered[:MOST]
    words = f"{len(pictures):,} pictures on which the two networks disagree, {missing:,} of them without a label."
    if len(shown) < len(ordered):
        words += f" Shown are {len(shown):,}; label them and run the command again to see others."
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", "Disagreements"),
        tag("style", Html(STYLE)),
    )
    body = tag("body", tag("p", words), tag("ul", *(_entry(picture, folder) for picture in shown)))
    write_atomically(path, ("<!DOCTYPE html>\n" + tag("html", head, body, lang="en") + "\n").encode())


def _entry(picture: Disagreement, folder: Path) -> Html:
    source = f"data:image/png;base64,{base64.b64encode(_small(folder / picture.name)).decode()}"
    answers = f"original: {picture.original}; compressed: {picture.compressed}"
    return tag(
        "li",
        tag("img", src=source, alt=picture.name),
        tag("div", picture.name, class_="name"),
        tag("div", answers),
        tag("div", f"label: {picture.label}") if picture.label else None,
    )


def _small(path: Path) -> bytes:
    """A picture as a small PNG; upright, as cameras note it."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    upright.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    upright.save(out, "png")
    return out.getvalue()
