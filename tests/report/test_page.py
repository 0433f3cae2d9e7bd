# SPDX-License-Identifier: Apache-2.0
"""The page: well-formed, self-contained, escaped, complete, and without headings over nothing."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gossamer.report.markup import Html, join, tag
from gossamer.report.page import page, write_page
from gossamer.report.record import Report

REPORTS = ["full", "fast", "minimal", "hostile", "masks"]
VOID = {"meta", "link", "img"}
PNG = b"\x89PNG\r\n\x1a\n"
SECTIONS = {
    "candidates": "What was tried",
    "parts": "Where the bytes are",
    "layers": "Layer by layer",
    "history": "Training",
    "splits": "Data",
    "notes": "Notes",
}


class Parsed(HTMLParser):
    """Elements with attributes, the text of each h2, and all text; refuses tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.text = ""
        self.cells: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h2":
            self.headings.append("")
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "h2" in self.open:
            self.headings[-1] += data
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


@pytest.fixture(params=REPORTS)
def html(request: pytest.FixtureRequest) -> str:
    report = request.getfixturevalue(request.param)
    return page(report, {panel.file: PNG for shown in report.shown for panel in shown.panels})


def test_it_nests(html: str) -> None:
    assert html.startswith("<!DOCTYPE html>\n<html lang=")
    Parsed(html)


def test_it_asks_for_nothing_from_elsewhere(html: str) -> None:
    parsed = Parsed(html)
    names = {name for name, _ in parsed.elements}
    assert not names & {
        "script",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "video",
        "audio",
        "use",
        "image",
    }
    for name, attributes in parsed.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), f"{name} {key}"
            if name == "img" and key == "src":
                assert re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/]+=*", value or "")
            elif key in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value == "data:,", f"{name} {key}={value}"
            assert key == "content" or "http" not in (value or "").replace("&", ""), f"{name} {key}={value}"
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import|@font-face|expression|//", style.group(1))
    policy = [a["content"] for n, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_it_can_be_heard(html: str) -> None:
    parsed = Parsed(html)
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for name, attributes in parsed.elements:
        if name == "img":
            assert attributes.get("alt")
        if name == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        if name == "section":
            assert attributes["aria-labelledby"] in ids
        if name == "table":
            assert attributes["aria-label"]
    assert [name for name, _ in parsed.elements].count("h1") == 1
    assert ("html", {"lang": "en"}) in parsed.elements


def test_it_fits_a_phone_and_the_dark(html: str) -> None:
    assert 'content="width=device-width, initial-scale=1"' in html
    assert "@media (prefers-color-scheme: dark)" in html
    parsed = Parsed(html)
    scrolling = [a for n, a in parsed.elements if n == "div" and "scroll" in (a.get("class") or "")]
    assert len(scrolling) == [name for name, _ in parsed.elements].count("table")


def test_hostile_names_are_text(hostile: Report, hostile_text: str) -> None:
    html = page(hostile)
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    shown = hostile_text.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd")
    parsed = Parsed(html)
    assert parsed.cells.count(shown) >= 4 * len(hostile.layers)  # name, kind, coder and note of each
    for place in (f"{shown} on {shown}", f"batch 1, {shown}"):
        assert place in parsed.text


def test_the_numbers_are_there(full: Report) -> None:
    parsed = Parsed(page(full))
    headline = "14.2\u00d7 smaller at \u22120.12\u00a0points; "
    headline += "a drop of 1 point or more in accuracy is excluded at 95 % confidence"
    assert headline in parsed.text
    for cell in [
        "91.64\u00a0%",
        "91.52\u00a0%",
        "91.81\u00a0%",
        "\u22120.12 pt",
        "1.08\u00a0MB",
        "76.4\u00a0kB",
        "14.2\u00d7",
    ]:
        assert cell in parsed.cells, cell
    for cell in [
        "1.87\u00a0ms",
        "0.894\u00a0ms",
        "1.55\u00d7",
        "1.25\u00d7",
        "270 k",
        "98.2 k",
        "19.2 M",
        "400",
    ]:
        assert cell in parsed.cells, cell
    for cell in ["101", "95", "5,000", "0.642\u00a0points", "0.0021", "4d" * 32, "5 min 41 s", "9 min 46 s"]:
        assert cell in parsed.cells, cell
    for cell in ["layer2.0.conv2.weight", "32 \u2192 27", "cut 49 %", "AMD EPYC 9554", "16.8 GB"]:
        assert cell in parsed.cells, cell
    for text in [
        full.command,
        full.notes[1],
        "b\u00a0=\u00a0101",
        "c\u00a0=\u00a095",
        "at most 5 times in a hundred",
    ]:
        assert text in parsed.text, text


def test_every_candidate_is_drawn_or_counted(full: Report) -> None:
    html = page(full)
    assert html.count("1 below 88.2\u00a0% not drawn") == 3  # in each of the three plots
    drawn = re.findall(r"<title>(cut \d+ %): ", html)
    assert len(drawn) == 3 * 12
    assert html.count('class="chosen"><title>') == 3
    assert html.count('class="original"><title>') == 3


def test_what_is_not_proven_says_so(fast: Report, full: Report) -> None:
    assert '<body class="open">' in page(fast)
    assert "Not proven" in page(fast)
    assert "do not exclude it" in page(fast)
    assert '<body class="proven">' in page(full)
    assert "Not proven" not in page(full)


def test_the_class_that_lost_most_is_named(full: Report, minimal: Report) -> None:
    text = Parsed(page(full)).text.replace("\u00a0", " ")
    assert "The class that lost most is \u201ccat\u201d: \u22122.30 points on 500 images" in text
    assert "3.92 % of the test images changed between right and wrong" in text
    assert "The class that lost most" not in Parsed(page(minimal)).text


def test_an_approximate_method_is_called_so(minimal: Report, full: Report) -> None:
    assert "its confidence is not guaranteed" in page(minimal)
    assert "its confidence is not guaranteed" not in page(full)


def test_headings_stand_over_something(full: Report, minimal: Report) -> None:
    assert Parsed(page(full)).headings == [
        "Original and compressed",
        "What was tried",
        "Where the bytes are",
        "Layer by layer",
        "Training",
        "Certificate",
        "Data",
        "Time spent",
        "Environment",
        "To reproduce",
        "Notes",
    ]
    parsed = Parsed(page(minimal))
    assert parsed.headings == ["Original and compressed", "Certificate", "Time spent", "To reproduce"]
    assert "12 s in all." in parsed.text
    assert "not made" in parsed.text


@pytest.mark.parametrize("part", list(SECTIONS))
def test_a_missing_part_takes_its_heading_along(part: str, full: Report) -> None:
    gone: dict[str, Any] = {part: None if part in ("splits", "parts") else (), "chosen": None}
    without = replace(full, **gone)
    expected = [name for name in Parsed(page(full)).headings if name != SECTIONS[part]]
    assert Parsed(page(without)).headings == expected


def test_what_is_measured_is_named_wherever_quality_is_shown(masks: Report, full: Report) -> None:
    parsed = Parsed(page(masks))
    text = parsed.text.replace("\u00a0", " ")
    assert "a drop of 2 points or more in Dice is excluded at 95 % confidence" in text
    assert "The observed change in Dice is \u22120.43 points." in text
    assert "Dice on the selection split, %" in text
    assert {"quality (Dice, test split)", "quality of an image", "Dice"} <= set(parsed.cells)
    assert "IoU on the selection split" not in text
    assert "accuracy on the selection split, %" in Parsed(page(full)).text


def test_figures_of_all_pixels_stand_below_the_mean_of_the_images(masks: Report) -> None:
    cells = [cell.replace("\u00a0", " ") for cell in Parsed(page(masks)).cells]
    at = cells.index("IoU of all pixels, test split")
    assert cells[at : at + 5] == ["IoU of all pixels, test split", "77.12 %", "76.33 %", "\u22120.79 pt", "77.12 %"]
    assert cells.index("quality (Dice, test split)") < at < cells.index("size as fp32")


def test_areas_stand_beside_the_certificate_and_are_called_approximate(masks: Report, full: Report) -> None:
    text = Parsed(page(masks)).text.replace("\u00a0", " ")
    assert (
        "By area, approximate: drop between \u22120.12 and 0.98 points, 95 % of 10,000 resamples of 40 areas. "
        "Here areas are taken for independent, not images; it is no part of the proof."
    ) in text
    assert "By area" not in page(full)


def test_pictures_that_are_there_lie_inside_the_page(masks: Report, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for shown in masks.shown[:2]:
        for panel in shown.panels:
            (tmp_path / panel.file).write_bytes(PNG + panel.file.encode())
    (tmp_path / masks.shown[1].panels[0].file).write_bytes(b"something else")
    (tmp_path / masks.shown[1].panels[1].file).write_bytes(PNG + bytes(2**19))
    write_page(masks, tmp_path / "report.html")
    parsed = Parsed((tmp_path / "report.html").read_text())
    images = [attributes for name, attributes in parsed.elements if name == "img"]
    assert len(images) == 5 + 3
    source = base64.b64decode((images[0]["src"] or "").removeprefix("data:image/png;base64,"))
    assert source == PNG + b"pictures/largest-drop-image.png"
    assert images[0]["alt"] == "image of the test image with the largest drop"
    text = parsed.text.replace("\u00a0", " ")
    assert "Largest drop: Dice 81.20 % before, 34.50 % after (\u221246.70 points)" in text
    assert "Largest gain" not in text
    assert "Test images" in parsed.headings
    write_page(masks, tmp_path / "elsewhere" / "page.html", tmp_path)
    assert (tmp_path / "elsewhere" / "page.html").read_text() == (tmp_path / "report.html").read_text()
    assert "Test images" not in Parsed(page(masks)).headings, "without its pictures there is no heading"


def test_columns_with_nothing_in_them_are_left_out(full: Report) -> None:
    assert {"batch 1", "note", "change"} <= set(Parsed(page(full)).cells)
    bare = tuple(replace(c, latency_ms=None, selection_drop=None, note="") for c in full.candidates)
    layers = tuple(replace(row, note="") for row in full.layers)
    html = page(replace(full, candidates=bare, layers=layers, control=None, classes=()))
    cells = Parsed(html).cells
    assert not {"batch 1", "note", "dense control"} & set(cells)
    assert cells.count("change") == 1  # that of original and compressed
    assert "quality of the original" not in html  # without drops nobody knows it on this split


def test_training_that_was_not_measured_has_no_heading(full: Report) -> None:
    empty = tuple(replace(epoch, loss=None, quality=None) for epoch in full.history)
    assert "Training" not in Parsed(page(replace(full, history=empty))).headings
    assert "Training" not in Parsed(page(replace(full, history=full.history[:1]))).headings
    stopped = (*full.history[:3], replace(full.history[3], loss=None, quality=None))
    assert "Training" in Parsed(page(replace(full, history=stopped))).headings


def test_written_whole(full: Report, tmp_path: Path) -> None:
    write_page(full, tmp_path / "runs" / "report.html")
    assert (tmp_path / "runs" / "report.html").read_text(encoding="utf-8") == page(full)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["report.html"]


def test_markup_escapes_what_is_not_markup() -> None:
    assert tag("a", '"<&', title='"<&') == '<a title="&quot;&lt;&amp;">&quot;&lt;&amp;</a>'
    assert tag("b", tag("i", "x"), None, "y") == "<b><i>x</i>y</b>"
    assert join(["<", Html("<i></i>")]) == "&lt;<i></i>"
    assert tag("meta", name="a", content="b") == '<meta name="a" content="b">'
    assert tag("p", "a\u00a0b\nc\x00\u200e") == "<p>a\u00a0b\nc\ufffd\ufffd</p>"


def test_a_ratio_that_spreads_too_far_is_marked(full):
    spread = [replace(row, p10=0.5, p90=4.8) for row in full.speed[:1]]
    assert not spread[0].steady
    html = page(replace(full, speed=(*spread, *full.speed[1:])))
    assert html.count(">not steady<") == 1
    assert "its ratio means little" in html
    assert ">not steady<" not in page(full)


def test_milliseconds_that_spread_too_far_are_marked(full):
    first, *others = full.original.latency_ms.items()
    unsteady = {first[0]: replace(first[1], p10=1.0, p90=2.1), **dict(others)}
    html = page(replace(full, original=replace(full.original, latency_ms=unsteady)))
    assert html.count(">not steady<") == 1


def test_the_table_of_change_shows_all_of_it_on_a_phone(full):
    html = page(full)
    assert (
        '<div class="scroll stacked" tabindex="0" role="region" aria-label="Original and compressed, measured">' in html
    )
    assert ".stacked tbody th { flex: 0 0 100%;" in html
    at = html.index("Original and compressed, timed in turns")
    assert re.findall(r'<th scope="col"[^>]*>(\w+)</th>', html[at:])[:3] == ["runtime", "precision", "ratio"]


def test_costs_that_are_all_equal_are_not_drawn(full):
    same = tuple(replace(candidate, macs=1_000) for candidate in full.candidates)
    assert "Quality against multiply-adds" in page(full)
    assert "Quality against multiply-adds" not in page(replace(full, candidates=same))


def test_the_parts_of_the_file_are_shown_with_their_shares(full: Report) -> None:
    cells = Parsed(page(full)).cells
    for name, size in (full.parts or {}).items():
        assert (name in cells) == bool(size)
    at = cells.index("graph")
    assert cells[at : at + 3] == ["graph", "640\N{NO-BREAK SPACE}B", "0.84\N{NO-BREAK SPACE}%"]


@pytest.mark.parametrize("times", [{"tune": 3.0}, None])
def test_what_was_trained_and_asked_stands_beside_the_time(full, times):
    report = replace(full, times=times, epochs_trained=1, evaluations=1234)
    text = Parsed(page(report)).text
    assert ": 1 epoch trained, 1,234 evaluations" in text
    assert "epoch trained" not in Parsed(page(replace(report, evaluations=None))).text
