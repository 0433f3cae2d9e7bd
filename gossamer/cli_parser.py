# SPDX-License-Identifier: Apache-2.0
"""The parser of both command lines: `gossamer`, and the one within a bundle."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence, and whose options are written in full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"allow_abbrev": False}))
        self.verbs: dict[str, Parser] = {}

    @property
    def flags(self) -> dict[str, argparse.Action]:
        """The options by each of their flags."""
        return dict(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        """Print the sentence and where to read more; exit status 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")
