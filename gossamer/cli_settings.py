# SPDX-License-Identifier: Apache-2.0
"""Options from a TOML file: what the file holds becomes words of the command line, checked by the same parser."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gossamer.near import meant

FLAG = "--settings"


def with_settings_file(given: list[str], options: Mapping[str, argparse.Action]) -> list[str]:
    """Replace `--settings FILE.toml` by the options that the file holds; those on the command line win.

    `given` begins with the verb, `options` are those of that verb by their flags.
    """
    given = [part for word in given for part in (word.split("=", 1) if word.startswith(f"{FLAG}=") else [word])]
    if FLAG not in given or FLAG not in options:
        return given
    at = given.index(FLAG)
    if given.count(FLAG) > 1 or at == len(given) - 1:
        raise ValueError(f"expected {FLAG} once and a TOML file after it, got '{' '.join(given[at:])}'")
    path = Path(given[at + 1])
    if not path.is_file():
        raise ValueError(f"expected a TOML file of options, got {path}, which is {_not_a_file(path)}; check {FLAG}")
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected TOML in {path}, got something else ({error})") from error
    from_file = [word for key, value in settings.items() for word in _words(key, value, options, path)]
    return [given[0], *from_file, *given[1:at], *given[at + 2 :]]


def _not_a_file(path: Path) -> str:
    return "a folder" if path.is_dir() else "not there"


def _words(key: str, value: Any, options: Mapping[str, argparse.Action], path: Path) -> list[str]:
    flag = f"--{key.replace('_', '-')}"
    if isinstance(value, dict):
        raise ValueError(f"expected options by name in {path}, got a table [{key}]; write {key} = ... lines")
    if flag == FLAG:
        raise ValueError(f"expected options in {path}, got '{key}': a file of settings cannot name another")
    if flag not in options or flag == "--help":
        known = (name.removeprefix("--").replace("-", "_") for name in options)
        raise ValueError(f"expected options in {path}, got '{key}', which is none{meant(key, known)}")
    takes_none, takes_many = options[flag].nargs == 0, options[flag].nargs == "+"
    if takes_none != isinstance(value, bool):
        kind = "true or false" if takes_none else "a value"
        raise ValueError(f"expected {kind} for '{key}' in {path}, got {str(value).lower()}")
    if isinstance(value, list):
        if not takes_many:
            raise ValueError(f"expected one value for '{key}' in {path}, got a list of {len(value)}")
        return [flag, *map(str, value)] if value else []
    if isinstance(value, bool):
        return [flag] if value else []
    return [f"{flag}={value}"]
