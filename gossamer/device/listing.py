# SPDX-License-Identifier: Apache-2.0
"""The list of what was found: one line a box, as JSON or CSV, written as it is found.

    {"file": "street.jpg", "frame": 0, "class": "car", "score": 0.9312, "x1": 10.0, "y1": 24.5, "x2": 98.1, "y2": 80.0}

Corners are pixels of the stored picture. The file stands aside until the end, then it is renamed; whatever ended the
run, it holds whole frames only. Nothing is kept in memory.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from gossamer.files import written_aside

Form = Literal["json", "csv"]
COLUMNS = ("file", "frame", "class", "score", "x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Row:
    """One box; the fields are those of `COLUMNS`."""

    file: str
    frame: int
    kind: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float


Add = Callable[[Sequence[Row]], None]


def json_lines(rows: Sequence[Row]) -> bytes:
    """One JSON object a line.

    >>> json_lines([Row("a.png", 0, "cat", 0.5, 1, 2, 3, 4)]).decode()
    '{"file": "a.png", "frame": 0, "class": "cat", "score": 0.5, "x1": 1, "y1": 2, "x2": 3, "y2": 4}\\n'
    """
    return "".join(json.dumps(dict(zip(COLUMNS, astuple(row), strict=True))) + "\n" for row in rows).encode()


def csv_lines(rows: Sequence[Row]) -> bytes:
    """Comma-separated, as RFC 4180 has it.

    >>> csv_lines([Row("a.png", 0, 'a "cat", perhaps', 0.5, 1, 2, 3, 4)]).decode()
    'a.png,0,"a ""cat"", perhaps",0.5,1,2,3,4\\r\\n'
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows(astuple(row) for row in rows)
    return text.getvalue().encode("utf-8", "surrogateescape")  # a file's name may be no text


@contextmanager
def listing(path: Path, form: Form) -> Iterator[Add]:
    """A function that adds the rows of one frame; the file is there when the block has ended well.

    OSError, with the name of the file, where it cannot be written; leave the block all the same, and the frames before
    it are kept.
    """
    with written_aside(path) as part, part.open("wb", buffering=0) as file:
        whole = 0
        encode = json_lines if form == "json" else csv_lines

        def write(data: bytes) -> None:
            nonlocal whole
            try:
                _write_all(file, data)
            except OSError as error:
                error.filename = error.filename or str(path)  # a full disk does not say which file it has no room for
                raise
            whole += len(data)

        try:
            if form == "csv":
                write((",".join(COLUMNS) + "\r\n").encode())
            yield lambda rows: write(encode(rows))
        finally:
            file.truncate(whole)


def _write_all(file: BinaryIO, data: bytes) -> None:
    """An unbuffered file may take a part only: what is left in a buffer would be lost on a full disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
