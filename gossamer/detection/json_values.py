# SPDX-License-Identifier: Apache-2.0
"""Values out of JSON that a stranger wrote: each is what it should be, or a ValueError says which is not."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

LARGEST = 10**6  # of any number; above it lie typing errors, infinities, and integers that no float holds
LONGEST = 64  # of any word: to look for what was meant by a longer one takes long


def named(value: object, names: Iterable[str], what: str) -> dict[str, object]:
    """An object with exactly these names."""
    if not isinstance(value, dict) or value.keys() != set(names):
        raise ValueError(f"{what} must be an object with {', '.join(names)}, got {reprlib.repr(value)}")
    return value


def array(value: object, what: str) -> list[object]:
    """An array."""
    if not isinstance(value, list):
        raise ValueError(f"{what} must be an array, got {reprlib.repr(value)}")
    return value


def number(value: object, what: str) -> float:
    """A number, as a float; neither infinite nor beyond `LARGEST`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{what} must be a number of at most {LARGEST:,}, got {reprlib.repr(value)}")
    return float(value)


def whole(value: object, what: str) -> int:
    """An integer, up to `LARGEST`."""
    if not isinstance(value, int) or isinstance(value, bool) or not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{what} must be an integer of at most {LARGEST:,}, got {reprlib.repr(value)}")
    return value


def word(value: object, what: str) -> str:
    """A string, no longer than words are."""
    if not isinstance(value, str) or len(value) > LONGEST:
        raise ValueError(f"{what} must be a word, got {reprlib.repr(value)}")
    return value


def pair(value: object, what: str) -> tuple[float, float]:
    """An array of two numbers."""
    found = array(value, what)
    if len(found) != 2:
        raise ValueError(f"{what} must be an array of 2 numbers, got {len(found)}")
    return number(found[0], what), number(found[1], what)
