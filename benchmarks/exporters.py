# SPDX-License-Identifier: Apache-2.0
"""How far the files for other runtimes are from the ONNX file, for each network that is filed.

    python -m benchmarks.exporters measure              every target whose packages are here
    python -m benchmarks.exporters measure litert       these targets
    python -m benchmarks.exporters                      the table of docs/benchmarks.md, from results/ alone

Each target leaves results/exporters/TARGET.json with the versions it was measured with: converters ask for environments
of their own, so that each may be measured in another one. Compared is on random images, as `gossamer export` does it.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

from benchmarks.filed import ROOT, linked, put, table
from gossamer.device.stored import read_stored
from gossamer.exporters import TARGETS
from gossamer.exporters.check import FLOAT, INT8, Limit, check, random_images
from gossamer.exporters.exported import Target
from gossamer.exporters.onnx_file import is_int8
from gossamer.files import read_json, write_atomically, write_json
from gossamer.measure.environment import environment

MODULE = "exporters"
RESULTS = ROOT / "results"
NEEDED = {
    "litert": ("litert_torch", "ai_edge_litert"),
    "executorch": ("executorch",),
    "ncnn": ("ncnn", "pnnx"),
    "openvino": ("openvino",),
}  # not ONNX itself, with which the others are compared
ANY = Limit(math.inf, math.inf)  # what is too far off is told, not refused


def main() -> int:
    """Measure, or write the table."""
    if sys.argv[1:2] == ["measure"]:
        here = [name for name, modules in NEEDED.items() if all(map(importlib.util.find_spec, modules))]
        for name in sys.argv[2:] or here:
            if name not in NEEDED:
                raise SystemExit(f"expected targets of {', '.join(NEEDED)}, got '{name}'")
            measure(name, networks())
    put(MODULE, text())
    return 0


def networks() -> list[Path]:
    """The files of all results that a run delivered."""
    return sorted(path for path in RESULTS.glob("*/model.gossamer") if (path.parent / "report.json").exists())


def measure(name: str, files: list[Path], results: Path = RESULTS) -> None:
    """Compare one target on all these networks, and file it."""
    rows = {file.parent.name: agreement(TARGETS[name], file) for file in files}
    filed = {"target": name, "networks": rows, "environment": environment()}
    write_json(results / MODULE / f"{name}.json", filed)
    write_atomically(results / MODULE / "command.txt", b"python -m benchmarks.exporters measure\n")
    print(f"{name}: {sum('difference' in row for row in rows.values())} of {len(rows)} networks compared", flush=True)


def agreement(target: Target, file: Path) -> dict[str, Any]:
    """How far a network is off in a runtime, and whether `gossamer export` would write it; or why it cannot be made."""
    stored = read_stored(file)
    int8 = is_int8(stored.model)
    preprocess = stored.sized()
    try:
        exported = target.export(stored.model, random_images(preprocess, 1))
        found = check(target, exported, stored.model, preprocess, limit=ANY)
    except ValueError as error:
        return {"int8": int8, "refused": str(error)}
    limit = INT8 if int8 else FLOAT
    kept = found.difference <= limit.difference and found.average <= limit.average
    size = sum(len(content) for content in exported.files.values())
    return {"int8": int8, "bytes": size, "kept": kept, **found.to_json()}


def text() -> str:
    """A row for each target and network that is filed."""
    rows = []
    for name in NEEDED:
        path = RESULTS / MODULE / f"{name}.json"
        found = read_json(path)["networks"] if path.exists() else {}
        rows += [row_of(name, network, row) for network, row in found.items()]
    heads = ("network", "arithmetic", "target", "at most", "on average", "other answers", "file")
    return table(heads, rows, words=3)


def row_of(target: str, network: str, row: dict[str, Any]) -> list[str]:
    """One network in one runtime."""
    words = [linked(network), "int8" if row["int8"] else "float32"]
    if "refused" in row:
        return [*words, f"{target}: {row['refused'].partition(';')[0]}", *[""] * 4]
    kept = "" if row["kept"] else ", too far off: not written"
    images = row["random_images"] + row["pictures"]
    other = "" if row["different"] is None else f"{row['different']} of {images}"
    numbers = [f"{row['difference']:.1e}", f"{row['average']:.1e}", other, f"{row['bytes'] / 1000:,.1f} kB"]
    return [*words, f"{row['runtime']}{kept}", *numbers]


if __name__ == "__main__":
    sys.exit(main())
