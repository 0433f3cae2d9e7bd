# SPDX-License-Identifier: Apache-2.0
"""How benchmarks file what they measured, and how pages show it."""

from __future__ import annotations

import os
from pathlib import Path

from gossamer.files import write_atomically, write_json
from gossamer.measure.environment import environment


def data_folder() -> Path:
    """The folder that GOSSAMER_DATA names; the program ends where it is none."""
    return folder_in("GOSSAMER_DATA")


def folder_in(variable: str) -> Path:
    """The folder that an environment variable names; the program ends where it is none."""
    given = os.environ.get(variable)
    if not given or not Path(given).is_dir():
        raise SystemExit(f"expected a folder in {variable}, got {given!r}; see docs/benchmarks.md")
    return Path(given)


def file_circumstances(folder: Path, command: str) -> None:
    """Beside numbers: the command that makes them again, and the machine that they are of."""
    write_atomically(folder / "command.txt", f"{command}\n".encode())
    write_json(folder / "environment.json", environment())


def put_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two marks on a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"expected the marks '{begin}' and '{end}' in {page.name}; put them where the table belongs")
    write_atomically(page, f"{before}{begin}\n{text.rstrip()}\n{end}{after}".encode())
