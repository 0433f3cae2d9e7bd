# SPDX-License-Identifier: Apache-2.0
"""Files that are either whole or absent: written aside, flushed to disk, then renamed.

Files that several processes change (read, change, write) do so inside `only_writer`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: Path, data: bytes, part_name: str | None = None) -> None:
    """Put `data` at `path` so that a reader, or a crash at any moment, finds the old file or the new one."""
    with written_aside(path, part_name) as part:
        part.write_bytes(data)


@contextmanager
def written_aside(path: Path, part_name: str | None = None) -> Iterator[Path]:
    """A path to write to (for libraries that want a file name); renamed to `path` when the block ends well.

    Its name is the same for every process, so that what a killed one left is written over, unless `part_name` says
    another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part" if part_name is None else part_name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the right to change `path`; others who ask wait, in whatever process they are.

    The operating system drops the lock of a process that dies. Where fcntl does not exist (Windows) nothing is locked.
    """
    if fcntl is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("a") as file:  # closing it unlocks
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_json(path: Path, value: Any, part_name: str | None = None) -> None:
    """Write `value` as readable JSON, atomically; NaN and infinities are refused (they are not JSON)."""
    write_atomically(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode(), part_name)


def read_json(path: Path) -> Any:
    """Read a JSON file; a damaged one gives a sentence that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"expected JSON in {path}, got something else ({error}); restore or delete the file"
        ) from error


def visible_files(folder: Path, paths: Iterable[Path], endings: Collection[str]) -> list[Path]:
    """Of `paths` under `folder` the files with one of these endings, in small letters, sorted.

    Hidden files, and what is in hidden folders below `folder`, are left out: systems leave `._photo.jpg` beside a
    photo.
    """
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in endings
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def sha256(data: bytes | memoryview) -> str:
    """Hex SHA-256 of bytes: the name of data and payloads in reports and certificates."""
    return hashlib.sha256(data).hexdigest()
