# SPDX-License-Identifier: Apache-2.0
"""HTML and SVG elements whose texts and attributes are escaped by construction.

A plain `str` is always text; only `Html`, which `tag` and `join` alone make, is taken as markup. So a layer
named `<script>` is shown, never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from unicodedata import category

_VOID = ("meta", "link", "img")


class Html(str):
    """Markup that is known to be well formed."""

    __slots__ = ()


def tag(element: str, /, *content: str | None, **attributes: str | float | None) -> Html:
    """An element; `class_` is the class, other underscores are hyphens, None is left out.

    >>> tag("td", "a < b", class_="number", aria_label=None)
    '<td class="number">a &lt; b</td>'
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Html(f"<{element}{pairs}>")
    return Html(f"<{element}{pairs}>{join(content)}</{element}>")


def join(parts: Iterable[str | None], separator: str = "") -> Html:
    """Parts one after the other, texts escaped; None is left out."""
    return Html(
        _text(separator).join(part if isinstance(part, Html) else _text(part) for part in parts if part is not None)
    )


def _text(value: str) -> str:
    """Escaped, with characters that have no shape or turn the reading direction made visible."""
    return escape("".join(c if _shows(c) else "\N{REPLACEMENT CHARACTER}" for c in value))


def _shows(character: str) -> bool:
    return character.isprintable() or character in "\n\t" or category(character) == "Zs"


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def typeset(text: str) -> str:
    """Our own sentences and cells as print sets them: minus and times signs, units that do not break off.

    >>> typeset("14.2x and -0.12 in conv-1")
    '14.2× and −0.12 in conv-1'
    """
    text = re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", text)
    text = re.sub(r"(?<=\d)x\b", "\N{MULTIPLICATION SIGN}", text)
    text = re.sub(
        r"(?<=\d) (?=(%|[kMG]?B|ms|points?)(?!\w))|(?<=\b[bcn]) (?==)|(?<==) (?=\d)",
        "\N{NO-BREAK SPACE}",
        text,
    )
    return "\N{EN DASH}" if text == "-" else text
