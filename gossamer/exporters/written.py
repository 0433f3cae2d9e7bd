# SPDX-License-Identifier: Apache-2.0
"""An exported network on disk: its files, and FILE.json beside them, all of them or none.

FILE.json says what the other side has to know: how pixels become the input, what the classes are called, the head of a
detector, and how far the network was from the ONNX file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.data.preprocess import Preprocess
from gossamer.exporters.check import Agreement
from gossamer.exporters.exported import Exported
from gossamer.files import written_aside

VERSION = 1
BESIDE = ".json"


@dataclass(frozen=True, eq=False)
class Meaning:
    """What an exported file does not say itself; `head` is a detector's."""

    preprocess: Preprocess
    classes: Sequence[str]
    head: Mapping[str, Any] | None


def place(network: Path, out: Path | None, ending: str) -> Path:
    """Where the main file goes: `out` is a file with this ending, or a folder; by default it is beside the network.

    >>> place(Path("runs/mine/model.gossamer"), None, ".tflite").as_posix()
    'runs/mine/model.tflite'
    >>> place(Path("runs/mine/model.gossamer"), Path("phone"), ".tflite").as_posix()
    'phone/model.tflite'
    """
    if out is None:
        return network.with_name(f"{network.stem}{ending}")
    if out.is_dir() or (not out.suffix and not out.exists()):
        return out / f"{network.stem}{ending}"
    if not out.name.endswith(ending) or out.name == ending:
        raise ValueError(f"expected a file that ends in {ending}, or a folder, for --out, got {out}")
    return out


def write(path: Path, exported: Exported, meaning: Meaning, agreement: Agreement) -> list[Path]:
    """Write the files, the main one at `path`, and what goes beside them; the paths, the main one first."""
    main, *_ = exported.files
    stem = path.name.removesuffix(main)
    files = {path.with_name(f"{stem}{ending}"): content for ending, content in exported.files.items()}
    beside = path.with_name(f"{path.name}{BESIDE}")
    values = _values([file.name for file in files], exported, meaning, agreement)
    files[beside] = (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()
    with ExitStack() as stack:  # all are written aside before the first has its name
        for file, content in files.items():
            stack.enter_context(written_aside(file)).write_bytes(content)
    return list(files)


def _values(names: Sequence[str], exported: Exported, meaning: Meaning, agreement: Agreement) -> dict[str, Any]:
    """Plain JSON values."""
    values: dict[str, Any] = {
        "version": VERSION,
        "files": list(names),
        "input": exported.input.to_json(),
        "outputs": [port.to_json() for port in exported.outputs],
        "preprocess": meaning.preprocess.to_json(),
        "classes": list(meaning.classes),
        "check": agreement.to_json(),
    }
    return values if meaning.head is None else {**values, "head": dict(meaning.head)}
