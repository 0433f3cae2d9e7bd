# SPDX-License-Identifier: Apache-2.0
"""Tables of the page, that scroll on their own where the screen is narrow, and the small bars within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from gossamer.report.comparison import ABSENT
from gossamer.report.markup import Html, join, tag, typeset


@dataclass(frozen=True)
class Column:
    """A column: its heading, whether it holds numbers, and the class of its cells."""

    name: str
    number: bool = False
    style: str | None = None


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Html]],
    row_styles: Sequence[str | None] = (),
    tall: bool = False,
    narrow: bool = False,
    stacked: bool = False,
) -> Html:
    """A table whose first column heads its rows; `caption` is its accessible name.

    `tall` lets it scroll inside, `narrow` keeps its columns together on a wide screen, `stacked` puts the head
    of a row above its cells on a phone, so that all of them are seen. A column with nothing
    in any row is left out.
    """
    used = [any(row[at] not in ("", ABSENT) for row in rows) or at == 0 for at in range(len(columns))]
    columns = list(compress(columns, used))
    rows = [list(compress(row, used)) for row in rows]
    head = tag("tr", *(tag("th", c.name, scope="col", class_="n" if c.number else None) for c in columns))
    body = []
    for index, row in enumerate(rows):
        cells = []
        for column, cell in zip(columns, row, strict=True):
            kinds = [*(["n"] if column.number else []), *([column.style] if column.style else [])]
            content = typeset(cell) if column.number and not isinstance(cell, Html) else cell
            if column.style == "name":  # its span keeps short names on one line and breaks long ones
                content = tag("span", content)
            first = column is columns[0]
            cells.append(
                tag(
                    "th" if first else "td",
                    content,
                    scope="row" if first else None,
                    class_=" ".join(kinds) or None,
                )
            )
        body.append(tag("tr", *cells, class_=row_styles[index] if row_styles else None))
    inner = tag("table", tag("thead", head), tag("tbody", *body), aria_label=caption)
    styles = " ".join(
        ["scroll", *(["tall"] if tall else []), *(["narrow"] if narrow else []), *(["stacked"] if stacked else [])]
    )
    # keys can scroll it
    region = tag("div", inner, class_=styles, tabindex="0", role="region", aria_label=caption)
    return join([region, tag("p", f"{len(rows)} rows; the table scrolls", class_="aside")]) if tall else region


def bar(share: float) -> Html:
    """A small bar, filled to `share`; the number itself always stands beside it."""
    width = 100 * min(max(share, 0.0), 1.0)
    return tag("span", tag("i", style=f"width:{width:.1f}%"), class_="bar", aria_hidden="true")
