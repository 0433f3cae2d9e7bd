# SPDX-License-Identifier: Apache-2.0
"""Near matches: what a mistyped name was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN, LIKENESS = 3, 0.7


def meant(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing if no known name is near.

    >>> meant("tolerence", ["tolerance", "hours"])
    '; did you mean tolerance?'
    """
    near = get_close_matches(name, list(known), SHOWN, LIKENESS)
    return f"; did you mean {' or '.join(near)}?" if near else ""
