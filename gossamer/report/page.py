# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page about one run: opens offline, on a phone, in the dark, and in ten years.

No script, no font and no request: the plots are inline SVG, pictures lie inside the page, and a content security policy
forbids the rest. What the report does not hold is left out together with its heading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from gossamer import files
from gossamer.report.comparison import comparison_rows
from gossamer.report.frontier import candidates_section
from gossamer.report.gallery import gallery_section, read_pictures
from gossamer.report.markup import Html, join, tag, typeset
from gossamer.report.proof import certificate_section
from gossamer.report.record import STEADY, Report
from gossamer.report.sections import (
    command_section,
    environment_section,
    history_section,
    layers_section,
    parts_section,
    splits_section,
    times_section,
)
from gossamer.report.style import STYLE
from gossamer.report.tables import Column, bar, table
from gossamer.report.units import human_bytes, human_ms, human_ratio
from gossamer.report.words import cost, gain, promise, runtime_name, unless_by_area

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_ONE_LINE = 24  # letters of the headline that fit beside each other in its large size


def write_page(report: Report, path: Path, folder: Path | None = None) -> None:
    """Write the page, atomically; `folder` is that of the report, where its pictures lie: the page's, if not given."""
    pictures = read_pictures(report, folder or path.parent)
    files.write_atomically(path, page(report, pictures).encode())


def page(report: Report, pictures: Mapping[str, bytes] | None = None) -> str:
    """The whole HTML document; `pictures`: PNG files by the names under which the report shows them."""
    sections: list[tuple[str, Callable[[Report], Html | None]]] = [
        ("Original and compressed", _comparison),
        ("What was tried", candidates_section),
        ("Where the bytes are", parts_section),
        ("Layer by layer", layers_section),
        ("Training", history_section),
        ("Certificate", certificate_section),
        ("Test images", lambda report: gallery_section(report, pictures or {})),
        ("Data", splits_section),
        ("Time spent", times_section),
        ("Environment", environment_section),
        ("To reproduce", command_section),
        ("Notes", _notes),
    ]
    title = f"{report.network} on {report.data}: " + typeset(gain(report))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    body = tag(
        "main",
        _header(report),
        _cards(report),
        *(_section(name, make(report)) for name, make in sections),
        tag(
            "footer",
            "The compressed network's quality, bytes and milliseconds are those of the written file.",
        ),
    )
    state = "proven" if report.certificate["proven"] else "open"
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", body, class_=state), lang="en") + "\n"


def _section(name: str, content: Html | None) -> Html | None:
    if content is None:
        return None
    anchor = re.sub(r"[^a-z]+", "-", name.lower())
    return tag("section", tag("h2", name, id=anchor), tag("div", content), aria_labelledby=anchor)


def _header(report: Report) -> Html:
    what = f"{report.network} on {report.data} · recipe {report.recipe}, minimising {report.minimise}"
    parts = [
        tag("span", typeset(gain(report)), class_="gain long" if len(gain(report)) > _ONE_LINE else "gain"),
        " " + typeset(cost(report)) + "; ",
        tag("span", promise(report.certificate) + unless_by_area(report), class_="verdict"),
    ]
    return tag("header", tag("p", what, class_="eyebrow"), tag("h1", *parts))


def _cards(report: Report) -> Html:
    """The four sizes, each with a bar to scale: what is left of what there was."""
    before, after = report.original.bytes, report.compressed.bytes
    sizes = [
        ("As fp32", before.fp32, after.fp32, ""),
        ("Zip of fp32", before.zip, after.zip, ""),
        ("The runtime loads", before.runtime, after.runtime, ""),
        (
            "Coded file",
            before.fp32,
            after.coded,
            " fp32",
        ),  # coded is always judged against the original as fp32
    ]
    cards = []
    for name, original, compressed, kind in sizes:
        if original is None or compressed is None:
            cards.append(tag("li", tag("span", name, class_="what"), tag("span", "not made", class_="value")))
            continue
        ratio = typeset(human_ratio(original / compressed)) if compressed else None
        cards.append(
            tag(
                "li",
                tag("span", name, class_="what"),
                tag("span", human_bytes(compressed), class_="value"),
                bar(compressed / original if original else 0.0),
                tag(
                    "span",
                    tag("span", ratio, class_="ratio") if ratio else None,
                    f"of {human_bytes(original)}{kind}",
                    class_="from",
                ),
                class_="key" if name == "Coded file" else None,
            )
        )
    return tag("ul", *cards, class_="cards", aria_label="Size of the compressed network in four forms")


def _comparison(report: Report) -> Html:
    rows = comparison_rows(report)
    columns = [Column(""), *(Column(name, number=True) for name in ("original", "compressed", "change"))]
    if report.control:
        columns.append(Column("dense control", number=True))
    cells = [
        [row.label, row.original, row.compressed, row.change, *([row.control] if report.control else [])]
        for row in rows
    ]
    keys = ["key" if row.key else None for row in rows]
    main = table("Original and compressed, measured", columns, cells, keys, stacked=True)
    control = (
        tag(
            "p",
            "The dense control is the original, tuned as long as the compressed network was.",
            class_="aside",
        )
        if report.control
        else None
    )
    return join([main, control, _timings(report), _speed(report)])


def _timings(report: Report) -> Html | None:
    rows = [
        [
            who,
            runtime_name(name),
            human_ms(t.median),
            human_ms(t.p10),
            human_ms(t.p90),
            f"{t.n:,}",
            str(t.threads),
            "" if t.p90 <= STEADY * t.p10 else "not steady",
        ]
        for who, side in (
            ("original", report.original),
            ("compressed", report.compressed),
            ("control", report.control),
        )
        if side is not None
        for name, t in side.latency_ms.items()
    ]
    if not rows:
        return None
    columns = [Column("network"), Column("runtime")]
    columns += [Column(name, number=True) for name in ("median", "p10", "p90", "runs", "threads")]
    columns += [Column("remark", style="note")]
    return tag("details", tag("summary", "How the milliseconds spread"), table("Latency at batch 1", columns, rows))


def _speed(report: Report) -> Html | None:
    if not report.speed:
        return None

    def ms(value: float | None) -> str:
        return "-" if value is None else human_ms(value)

    def ratio(value: float | None) -> str:
        return "-" if value is None else human_ratio(value)

    rows = [
        [
            runtime_name(r.runtime),
            r.precision,
            ratio(r.ratio),
            ratio(r.p10),
            ratio(r.p90),
            ms(r.original_ms),
            ms(r.compressed_ms),
            "" if r.steady else "not steady",
        ]
        for r in report.speed
    ]
    columns = [Column("runtime"), Column("precision")]
    columns += [Column(name, number=True) for name in ("ratio", "p10", "p90", "original", "compressed")]
    columns += [Column("remark", style="note")]
    why = "Timed in turns, so that other load slows both alike; p10 and p90 are those of the ratio."
    if not all(r.steady for r in report.speed):
        why += (
            f" Where the one is more than {STEADY:g} times the other, the row is not steady and its ratio means little."
        )
    return join([tag("p", why, class_="aside"), table("Original and compressed, timed in turns", columns, rows)])


def _notes(report: Report) -> Html | None:
    return tag("ul", *(tag("li", note) for note in report.notes), class_="notes") if report.notes else None
