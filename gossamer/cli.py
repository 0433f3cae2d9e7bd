# SPDX-License-Identifier: Apache-2.0
"""The command line: `gossamer VERB ...`, one function a verb; each works on the files that the last one wrote."""

from __future__ import annotations

import argparse
import shlex
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from gossamer import cli_files, cli_work

DESCRIPTION = (
    "Give it a trained convolutional network, its data and the quality you can spare; "
    "it gives back the smallest or fastest network that keeps the promise, with the proof, in a file."
)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence, and whose options can come from a TOML file."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and where to read more; exit status 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; bad input is one sentence on standard error and exit status 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    try:
        options = parser.parse_args(_with_settings_file(parser, given))
        options.command_line = shlex.join(["gossamer", *given])
        return int(options.run(options))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (ValueError, TypeError, ArithmeticError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def build_parser() -> Parser:
    """All verbs with their options."""
    parser = Parser(prog="gossamer", description=DESCRIPTION)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB", parser_class=Parser)
    cli_work.add_verbs(verbs)
    cli_files.add_verbs(verbs)
    return parser


def _with_settings_file(parser: Parser, given: list[str]) -> list[str]:
    """Replace `--settings FILE.toml` by the options that the file holds; those on the command line win."""
    given = [part for word in given for part in (word.split("=", 1) if word.startswith("--settings=") else [word])]
    if "--settings" not in given:
        return given
    at = given.index("--settings")
    if at in (0, len(given) - 1):
        parser.error("expected a verb, then --settings and a TOML file")
    path = Path(given[at + 1])
    try:
        with path.open("rb") as file:
            settings = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"expected TOML in {path}, got something else ({error})") from error
    return [given[0], *_as_options(settings, path), *given[1:at], *given[at + 2 :]]


def _as_options(settings: dict[str, Any], path: Path) -> list[str]:
    options: list[str] = []
    for key, value in settings.items():
        if isinstance(value, dict):
            raise ValueError(f"expected options by name in {path}, got a table [{key}]; write {key} = ... lines")
        flag = f"--{key.replace('_', '-')}"
        if value is True:
            options.append(flag)
        elif isinstance(value, list):
            options += [flag, *map(str, value)]
        elif value is not False:
            options += [flag, str(value)]
    return options
