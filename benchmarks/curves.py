# SPDX-License-Identifier: Apache-2.0
"""Bytes against quality: every way of making a network small, on the same axes.

    python -m benchmarks.curves measure resnet20 resnet56   int8 and zip, into results/sizes-NAME; needs GOSSAMER_DATA
    python -m benchmarks.curves                             docs/curves.md and its plots, from results/ alone
    python -m benchmarks curve resnet20                     all that one curve is made of, one after the other

Quality is that of the selection split: the half of CIFAR-10's test images that decisions are taken on. Bytes are those
of all that is needed to run the network; of NNCodec, which carries no graph, those of its bitstream.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.beside_nncodec import SUBJECTS
from benchmarks.curve_plot import plot
from benchmarks.filing import file_circumstances, put_between
from gossamer.files import read_json, write_atomically, write_json
from gossamer.measure.quality import qualities
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.runtime.export import export_onnx
from gossamer.search.candidate import CALIBRATION_BATCH

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "curves.md"
BEGIN, END = "<!-- curves: made by `python -m benchmarks.curves` -->", "<!-- end of curves -->"
NETWORKS = {
    "resnet20": "ResNet-20",
    "resnet56": "ResNet-56",
    "vgg16": "VGG-16 with batch norm",
    "mobilenetv2": "MobileNetV2",
}
#: Of the claims of a network, by the ends of their names, those that its curve needs, in this order.
CLAIMED = ("first", "second", "baseline", "bytes", "deep-compression")
#: In the order of the legend: what it is called, and the claims or benchmarks whose results it is.
AUTO, ROUNDED, DEEP, NNCODEC, INT8, ZIP = (
    "auto (trained)",
    "post-training",
    "deep-compression",
    "NNCodec 2.1.3",
    "int8 ONNX",
    "zip of float32",
)
SHOWN_DROP = 3.0  # points; what loses more is left out
LEVELS = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Mark:
    """One network: how it was made, its bytes, and the points of quality that it loses."""

    series: str
    name: str
    bytes: int
    drop: float


def main() -> int:
    """Measure, or draw."""
    if sys.argv[1:2] == ["measure"]:
        for name in sys.argv[2:] or list(NETWORKS):
            measure(name)
        return 0
    for name in drawn():
        write_atomically(PAGE.with_name("curves") / f"{name}.svg", drawing(name).encode())
    put_between(PAGE, BEGIN, END, page())
    return 0


def drawn() -> list[str]:
    """The networks whose size is known and of which any network is filed."""
    return [name for name in NETWORKS if fp32_bytes(name) and collected(name)]


def drawing(name: str) -> str:
    """The plot of a network, as SVG."""
    return plot(NETWORKS[name], fp32_bytes(name), series(collected(name)))


def page() -> str:
    """A plot and a table for each network, in Markdown."""
    parts = []
    for name in drawn():
        title = NETWORKS[name]
        image = f"![bytes against quality of {title}](curves/{name}.svg)"
        parts += [f"## {title}", image, table(collected(name), fp32_bytes(name))]
    return "\n\n".join(parts)


def measure(name: str) -> None:
    """Bytes and quality of the float32 and the int8 ONNX model, as they are and zipped."""
    task = SUBJECTS[name].task(Path(os.environ["GOSSAMER_DATA"]))
    original = export_onnx(task.model.eval(), task.example)
    batches = (images for images, _ in task.numpy_batches(task.calibration, CALIBRATION_BATCH))
    models = {ZIP: original, INT8: quantize_int8(original, batches)}
    right = {series: qualities(task, task.selection, model).mean() for series, model in models.items()}
    rows = [
        {
            "series": series,
            "bytes": len(model),
            "zip_bytes": len(zlib.compress(model, 9)),
            "drop": float(100 * (right[ZIP] - right[series])),
        }
        for series, model in models.items()
    ]
    results = ROOT / "results" / f"sizes-{name}"
    write_json(results / "sizes.json", {"network": name, "images": len(task.selection), "rows": rows})
    file_circumstances(results, f"python -m benchmarks.curves measure {name}")


def collected(name: str) -> list[Mark]:
    """Every network of the results folder that belongs on these axes."""
    marks = []
    for series, claim in ((AUTO, f"{name}-bytes"), (DEEP, f"{name}-deep-compression")):
        if report := _read(claim, "report.json"):
            marks += [
                Mark(series, row["name"], row["bytes"], 100 * row["selection_drop"]) for row in report["candidates"]
            ]
    if curves := _read(f"nncodec-{name}", "curves.json"):
        for point in curves["points"]:
            series = ROUNDED if point["side"] == "ours" else NNCODEC
            words = ", ".join(f"{key} {value}" for key, value in point["setting"].items())
            marks.append(Mark(series, words, point["bytes"], 100 * point["selection_drop"]))
    if sizes := _read(f"sizes-{name}", "sizes.json"):
        for row in sizes["rows"]:
            marks.append(Mark(row["series"], "zipped", row["zip_bytes"], row["drop"]))
    return marks


def fp32_bytes(name: str) -> int:
    """What the network's parameters take in float32; 0 where nothing is filed that says it."""
    if curves := _read(f"nncodec-{name}", "curves.json"):
        return int(curves["fp32_bytes"])
    found = (_read(f"{name}-{claim}", "report.json") for claim in ("bytes", "deep-compression"))
    return next((int(report["original"]["bytes"]["fp32"]) for report in found if report), 0)


def series(marks: Sequence[Mark]) -> dict[str, list[tuple[float, float, str]]]:
    """Per series (bytes, points lost, words) of what no other of it beats, from small to large; maybe none."""
    return {
        name: [(mark.bytes, mark.drop, mark.name) for mark in frontier(marks, name) if mark.drop <= SHOWN_DROP]
        for name in (AUTO, ROUNDED, DEEP, NNCODEC, INT8, ZIP)
    }


def frontier(marks: Sequence[Mark], name: str) -> list[Mark]:
    """The marks of a series that no other of it beats, from small to large."""
    best: list[Mark] = []
    for mark in sorted((mark for mark in marks if mark.series == name), key=lambda mark: (mark.bytes, mark.drop)):
        if not best or mark.drop < best[-1].drop:
            best.append(mark)
    return best


def table(marks: Sequence[Mark], size: int) -> str:
    """The smallest network of each series that loses no more than so many points, in Markdown."""
    rows = [
        "| | " + " | ".join(f"at most {level:g} points lost" for level in LEVELS) + " |",
        "|---|" + "---|" * len(LEVELS),
    ]
    for name, curve in series(marks).items():
        if not curve:
            continue
        cells = []
        for level in LEVELS:
            kept = [mark.bytes for mark in frontier(marks, name) if mark.drop <= level + 1e-9]
            cells.append(f"{min(kept) / 1000:,.1f} kB ({size / min(kept):.1f}x)" if kept else "")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _read(folder: str, file: str) -> dict[str, Any]:
    path = ROOT / "results" / folder / file
    return dict(read_json(path)) if path.exists() else {}


if __name__ == "__main__":
    sys.exit(main())
