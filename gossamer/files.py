# SPDX-License-Identifier: Apache-2.0
"""Files that are either whole or absent: written aside, flushed to disk, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader, or a crash at any moment, finds the old file or the new one."""
    with written_aside(path) as part:
        part.write_bytes(data)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path to write to (for libraries that want a file name); renamed to `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically; NaN and infinities are refused (they are not JSON)."""
    write_atomically(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; a damaged one gives a sentence that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"expected JSON in {path}, got something else ({error}); restore or delete the file"
        ) from error


def sha256(data: bytes | memoryview) -> str:
    """Hex SHA-256 of bytes: the name of data and payloads in reports and certificates."""
    return hashlib.sha256(data).hexdigest()
