# SPDX-License-Identifier: Apache-2.0
"""What curves of bytes over quality say, and the table of docs/methods/post-training.md, from results/.

python -m benchmarks.rate_curves       writes the table into the page
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from benchmarks.filing import put_between

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "methods" / "post-training.md"
BEGIN, END = "<!-- rates: made by `python -m benchmarks.rate_curves` -->", "<!-- end of rates -->"
RANGE = (0.0, 1.0)  # points of quality lost over which rates are compared
NETWORKS = {
    "resnet20": "ResNet-20",
    "resnet56": "ResNet-56",
    "vgg16": "VGG-16 with batch norm",
    "mobilenetv2": "MobileNetV2",
    "lite0": "EfficientNet-Lite0",
}
SHOWN = (0.0, 0.5, 1.0)
NEAR_END = 0.1  # points: a curve that ends so near the range is held to go on level


@dataclass(frozen=True)
class Point:
    """One setting: bytes compared, and right answers lost against the original, fractions of each split."""

    side: str
    setting: Mapping[str, Any]
    bytes: int
    selection_drop: float
    test_drop: float


def sides_of(points: Sequence[Point]) -> list[str]:
    """The ways that ours is compared with."""
    return [side for side in dict.fromkeys(point.side for point in points) if side != "ours"]


def log_bytes(points: Sequence[Point], side: str, share: float, at: Sequence[float]) -> NDArray[np.float64]:
    """The logarithm of the bytes that a side needs where it loses `at` points of quality.

    `share`: what the selection split has of the images that quality is measured on, the test split has the others.
    The curve is what isotonic regression makes of it: quality of few images is noisy, but must not rise as bytes fall.
    Between its points the logarithm of bytes is interpolated over quality.
    """
    found = sorted((point for point in points if point.side == side), key=lambda point: -point.bytes)
    drops = [100 * (share * point.selection_drop + (1 - share) * point.test_drop) for point in found]
    least: dict[float, float] = {}
    for drop, point in zip(isotonic_regression(drops).x, found, strict=True):
        least[float(drop)] = math.log(point.bytes)  # of several at one level the last, which is the smallest
    if not (least and min(least) <= RANGE[0] + NEAR_END and max(least) >= RANGE[1] - NEAR_END):
        raise ValueError(f"expected points of '{side}' from 0 to 1 points lost, got {sorted(least)}")
    return np.interp(at, list(least), list(least.values()))


def rate_ratios(points: Sequence[Point], share: float) -> dict[str, float]:
    """Our bytes over those of each way of NNCodec's, mean over RANGE of the logarithms at equal quality."""
    at = np.linspace(*RANGE, 101).tolist()
    own = log_bytes(points, "ours", share, at)
    theirs = {side: log_bytes(points, side, share, at) for side in sides_of(points)}
    best = np.min(list(theirs.values()), axis=0)
    theirs["NNCodec, the better of them at each quality"] = best
    return {side: float(np.exp(np.mean(own - other))) for side, other in theirs.items()}


def measured(file: Path) -> tuple[dict[str, Any], list[Point], float]:
    """A filed curves.json, its points, and the selection split's share of the images that count."""
    curves = json.loads(file.read_text(encoding="utf-8"))
    selection, test = curves["selection"]["images"], curves["test"]["images"]
    share = selection / (selection + test) if "selection" in curves["measured_on"] else 0.0
    return curves, [Point(**point) for point in curves["points"]], share


def table() -> str:
    """Bytes of both sides at equal quality, in Markdown."""
    rows = [
        "| network | images | points lost | ours | NNCodec 2.1.3 | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in NETWORKS.items():
        file = ROOT / "results" / f"nncodec-{name}" / "curves.json"
        if not file.exists():
            continue
        curves, points, share = measured(file)
        images = curves["test"]["images"] + (curves["selection"]["images"] if share else 0)
        own = np.exp(log_bytes(points, "ours", share, SHOWN))
        theirs = np.exp(np.min([log_bytes(points, side, share, SHOWN) for side in sides_of(points)], axis=0))
        for lost, mine, other in zip(SHOWN, own, theirs, strict=True):
            cells = [f"{size / 1000:,.0f} kB ({curves['fp32_bytes'] / size:.1f}x)" for size in (mine, other)]
            rows.append(f"| {title} | {images:,} | {lost:g} | {cells[0]} | {cells[1]} | {mine / other:.2f} |")
        mean = curves["rate_ratio"]["NNCodec, the better of them at each quality"]
        rows.append(f"| {title} | {images:,} | mean, 0 to 1 | | | **{mean:.2f}** |")
    return "\n".join(rows)


def main() -> int:
    """Put the table into the page."""
    put_between(PAGE, BEGIN, END, table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
