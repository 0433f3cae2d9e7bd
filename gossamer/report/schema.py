# SPDX-License-Identifier: Apache-2.0
"""JSON to frozen dataclasses and back, checked against their annotations.

A field with a default is optional: it may be missing in the JSON, and is left out when it holds its default.
Everything else must be there, nothing more may be there, and each error names the place as a dotted path.
Understood are dataclasses, `tuple[X, ...]`, `Mapping[str, X]`, `X | None`, int, float, str, bool and Any
(any JSON).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

_LEAVES: dict[type, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a finite number"),
    str: ((str,), "a text"),
    bool: ((bool,), "true or false"),
    NoneType: ((NoneType,), "null"),
}


def to_plain(value: Any) -> Any:
    """Dicts, lists, numbers and texts that `json` can write; numpy scalars become Python's."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name))
            for field in fields(value)
            if field.default is MISSING or getattr(value, field.name) != field.default
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """The value of annotation `kind` that the JSON `value` at the dotted path `where` stands for."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return _any_json(value, where)
    if is_dataclass(kind):
        return _record(kind, value, where)
    if origin in (Union, UnionType):  # only ever X | None
        return None if value is None else from_plain(next(k for k in inner if k is not NoneType), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _mismatch("a list", value, where)
        return tuple(from_plain(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping:
        return {key: from_plain(inner[1], item, f"{where}.{key}") for key, item in _object(value, where).items()}
    accepted, words = _LEAVES[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _mismatch(words, value, where)
    if isinstance(value, float) and not math.isfinite(value):
        raise _mismatch(words, value, where)
    return float(value) if isinstance(value, int) and kind is float else value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _record(kind: Any, value: Any, where: str) -> Any:
    given = _object(value, where)
    known = {field.name: field for field in fields(kind)}
    if unknown := [key for key in given if key not in known]:
        raise ValueError(
            f"expected no other keys than {', '.join(known)} in {where}, got {unknown[0]!r}; rename or remove it"
        )
    if missing := [name for name, f in known.items() if f.default is MISSING and name not in given]:
        raise ValueError(
            f"expected the key {missing[0]!r} in {where}, got only {', '.join(given) or 'none'}; "
            "complete the report or write it again"
        )
    parsed = {name: from_plain(_hints(kind)[name], item, f"{where}.{name}") for name, item in given.items()}
    try:
        return kind(**parsed)
    except ValueError as error:  # a range check of the dataclass, which cannot know its place
        raise ValueError(f"{error} (in {where})") from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _mismatch("an object with named values", value, where)
    return dict(value)


def _any_json(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _any_json(item, f"{where}.{key}") for key, item in _object(value, where).items()}
    if isinstance(value, list | tuple):
        return [_any_json(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise _mismatch("a finite number", value, where)
    if value is not None and not isinstance(value, bool | int | float | str):
        raise _mismatch("a JSON value", value, where)
    return value


def _mismatch(expected: str, value: Any, where: str) -> ValueError:
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return ValueError(f"expected {expected} at {where}, got {shown}; correct it or write the report again")
