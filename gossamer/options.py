# SPDX-License-Identifier: Apache-2.0
"""Options behind a name on the command line: `NAME:OPTION=VALUE,OPTION=VALUE`, of recipes and of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gossamer.near import meant


def read_options(given: str, defaults: Mapping[str, Any], of: str) -> dict[str, Any]:
    """The options in the text `given`, each of the type of its default; ValueError for others.

    >>> read_options("width=16,batch_norm=true", {"width": 64, "batch_norm": False}, "unet")
    {'width': 16, 'batch_norm': True}
    """
    options = {}
    for part in given.split(",") if given else ():
        option, _, value = part.partition("=")
        if option not in defaults:
            known = ", ".join(defaults) or "none"
            raise ValueError(f"expected an option of {of} ({known}), got '{option}'{meant(option, defaults)}")
        options[option] = _read(value, type(defaults[option]), f"{option} of {of}")
    return options


def _read(value: str, kind: type, what: str) -> Any:
    """The value of an option, of the type of its default."""
    if kind is bool:
        if value not in ("true", "false"):
            raise ValueError(f"{what} must be true or false, got '{value}'")
        return value == "true"
    try:
        return kind(value)
    except ValueError as error:
        raise ValueError(f"{what} must be of type {kind.__name__}, got '{value}'") from error
