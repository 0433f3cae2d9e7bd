# SPDX-License-Identifier: Apache-2.0
"""The sections of the page; each gives None where the report holds nothing for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gossamer.report.axis import Axis, fitted
from gossamer.report.markup import Html, join, tag
from gossamer.report.plots import bars, lines
from gossamer.report.record import LayerRow, Report
from gossamer.report.tables import Column, bar, table
from gossamer.report.units import (
    human_bytes,
    human_count,
    human_seconds,
    percent,
    trimmed,
)
from gossamer.report.words import measured

LONG_TABLE = 14  # rows; a longer table scrolls within itself


def layers_section(report: Report) -> Html | None:
    """Channels, bits and bytes of every layer: the profile in plots, the numbers in a table."""
    rows = report.layers
    if not rows:
        return None
    names = [f"{row.name}: {_channels(row)}" for row in rows]
    total = report.compressed.bytes.coded or sum(row.bytes for row in rows) or 1
    before, after = (
        [shape[0] if shape else 0 for shape in shapes]
        for shapes in zip(*[(r.shape_before, r.shape_after) for r in rows], strict=True)
    )
    bits = [row.bits_per_weight for row in rows]
    size = [float(row.bytes) for row in rows]
    order = "layer, from input to output"
    profile = [
        bars(
            "Channels of each layer, before and after",
            order,
            fitted("channels", before, human_count, zero=True),
            after,
            before,
            names,
        ),
        bars(
            "Bits per weight of each layer",
            order,
            fitted("bits per weight", bits, lambda v: f"{v:g}", zero=True),
            bits,
            (),
            [f"{r.name}: {r.bits_per_weight:.2f} bits" for r in rows],
        ),
        bars(
            "Bytes of each layer",
            order,
            fitted("coded size", size, lambda value: trimmed(human_bytes(value)), zero=True),
            size,
            (),
            [f"{r.name}: {human_bytes(r.bytes)}, {percent(r.bytes / total)}" for r in rows],
        ),
    ]
    legend = tag(
        "ul",
        tag("li", tag("span", class_="swatch before"), "channels before"),
        tag("li", tag("span", class_="swatch after"), "after"),
        class_="legend",
    )
    largest = max(row.bytes for row in rows) or 1
    cells = [
        [
            row.name,
            row.kind,
            _channels(row),
            percent(row.sparsity),
            f"{row.bits_per_weight:.2f}",
            join([human_bytes(row.bytes), bar(row.bytes / largest)]),
            percent(row.bytes / total),
            row.coder,
            row.note,
        ]
        for row in rows
    ]
    columns = [
        Column("layer", style="name"),
        Column("kind"),
        Column("channels", number=True),
        Column("zeros", number=True),
        Column("bits per weight", number=True),
        Column("bytes", number=True),
        Column("share of file", number=True),
        Column("coder"),
        Column("note", style="note"),
    ]
    plots = tag("div", *(tag("figure", plot) for plot in profile), class_="plots")
    return join([plots, legend, table("Layers", columns, cells, tall=len(rows) > LONG_TABLE)])


def parts_section(report: Report) -> Html | None:
    """What the bytes of the coded file are for."""
    if not report.parts:
        return None
    total = sum(report.parts.values()) or 1
    rows: list[list[str | Html]] = [
        [name, human_bytes(size), percent(size / total), bar(size / total)]
        for name, size in report.parts.items()
        if size
    ]
    rows.append(["the whole file", human_bytes(total), "", ""])
    columns = [
        Column("part"),
        Column("bytes", number=True),
        Column("share", number=True),
        Column("", style="wide"),
    ]
    return table("Where the bytes are", columns, rows, [*[None] * (len(rows) - 1), "key"], narrow=True)


def _channels(row: LayerRow) -> str:
    before, after = (shape[0] if shape else 1 for shape in (row.shape_before, row.shape_after))
    return f"{before:,}" if before == after else f"{before:,} \N{RIGHTWARDS ARROW} {after:,}"


def history_section(report: Report) -> Html | None:
    """Loss and quality over the epochs of tuning."""
    if len({e.epoch for e in report.history}) < 2:
        return None
    figures = []
    epochs = [float(e.epoch) for e in report.history]
    x = Axis("epoch", min(epochs), max(epochs), lambda value: f"{value:g}" if value == round(value) else "")
    courses = [
        ("loss", [e.loss for e in report.history], "{:.4g}"),
        (
            f"{measured(report.certificate)}, %",
            [None if e.quality is None else 100 * e.quality for e in report.history],
            "{:.2f} %",
        ),
    ]
    for name, values, form in courses:
        given = [value for value in values if value is not None]
        if len(given) > 1:  # one point is no course
            y = fitted(name, given, lambda value: f"{value:.4g}")
            pairs = list(zip(epochs, values, strict=True))
            titles = lambda at, v, form=form: f"epoch {at:g}: " + form.format(v)  # noqa: E731
            figures.append(tag("figure", lines(f"{name} over the epochs", x, y, pairs, titles)))
    return tag("div", *figures, class_="plots") if figures else None


def splits_section(report: Report) -> Html | None:
    """The splits and the hashes of their content."""
    if not report.splits:
        return None
    rows = [[name, f"{split.n:,}", split.sha256] for name, split in report.splits.items()]
    columns = [
        Column("split"),
        Column("examples", number=True),
        Column("SHA-256 of the content", style="hash"),
    ]
    return table("Data splits", columns, rows)


def times_section(report: Report) -> Html | None:
    """Seconds per stage, and what was trained and asked in them."""
    took = _took(report)
    if not report.times:
        return tag("p", f"{human_seconds(report.seconds)} in all{took}.")
    longest = max(report.times.values()) or 1.0
    rows: list[list[str | Html]] = [[stage, human_seconds(s), bar(s / longest)] for stage, s in report.times.items()]
    rows.append([f"in all{took}", human_seconds(report.seconds), ""])
    columns = [Column("stage"), Column("time", number=True), Column("", style="wide")]
    return table("Time spent per stage", columns, rows, [*[None] * len(report.times), "key"], narrow=True)


def _took(report: Report) -> str:
    """Epochs and evaluations, where they were counted."""
    if report.epochs_trained is None or report.evaluations is None:
        return ""
    epochs, asked = report.epochs_trained, report.evaluations
    return f": {epochs:,} epoch{'s' * (epochs != 1)} trained, {asked:,} evaluation{'s' * (asked != 1)}"


def environment_section(report: Report) -> Html | None:
    """The machine and the versions."""
    return _facts("Environment", report.environment)


def command_section(report: Report) -> Html:
    """The command, and what it asked for."""
    asked = _facts("What was asked for", {**(report.goal or {}), "seed": report.seed})
    return join([tag("pre", tag("code", report.command)), asked])


def _facts(caption: str, facts: Mapping[str, Any]) -> Html | None:
    rows = [
        [key.removesuffix("_bytes"), human_bytes(value)]
        if key.endswith("_bytes") and isinstance(value, int)
        else [key.replace("_", " "), plain(value)]
        for key, value in facts.items()
    ]
    return table(caption, [Column("fact"), Column("value")], rows, narrow=True) if rows else None


def plain(value: Any) -> str:
    """A JSON value as a person writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value))
    return json.dumps(value)
