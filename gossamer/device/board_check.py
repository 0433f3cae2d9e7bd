# SPDX-License-Identifier: Apache-2.0
"""Whether a network answers on a board as it did where its bundle was made.

Decoding is exact: the bytes of the decoded network have the same SHA-256 everywhere. What a runtime computes with them
is not: processors add in other orders, and round integers differently. So outputs are compared by

    max_i |a_i - b_i| / max(1, max_i |b_i|)          b: there, a: here; some hundred numbers, evenly spaced

and answers by how far scores, shares and corners are apart. Boxes are matched one to one, those of one class that
overlap most first; a box found on one side only counts, unless its score is so near to the threshold that it may fall
on either side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.container import CorruptFile
from gossamer.detection.suppression import overlaps
from gossamer.device.deployed import THRESHOLD, Answer, Deployed, read_frame
from gossamer.device.frames import Frame
from gossamer.files import read_json, sha256

VERSION = 1
KEPT = 128  # numbers of an output
MOST_CLASSES = 8  # of a picture, where classes have shares
DIGITS = 7  # that float32 has
LEAST_IOU = 0.5  # of boxes that may be the same


@dataclass(frozen=True)
class Tolerance:
    """How far two machines may be apart: outputs as above, scores and shares, corners in sides of the picture."""

    outputs: float
    score: float
    side: float


FLOATS = Tolerance(1e-3, 0.01, 0.005)
INTEGERS = Tolerance(0.1, 0.05, 0.02)  # one step of an integer grid is much more than float32 rounds


@dataclass(frozen=True)
class Difference:
    """Of one picture; `unmatched` boxes were found on one side only, `count` is how many answers there were here."""

    outputs: float
    score: float
    side: float
    unmatched: int
    count: int

    def within(self, tolerance: Tolerance) -> bool:
        """Whether it is rounding; never where a number is none."""
        return self.unmatched == 0 and all(getattr(self, name) <= limit for name, limit in asdict(tolerance).items())


def tolerance_of(model: bytes) -> Tolerance:
    """What an ONNX network may differ by: more where it computes in integers."""
    return INTEGERS if b"QuantizeLinear" in model else FLOATS


def expected_of(deployed: Deployed, frame: Frame) -> dict[str, Any]:
    """What a network answers to a picture, as JSON values."""
    answer = deployed.look(frame)[0]
    if deployed.kind != "detection":
        answer = sorted(answer, key=lambda row: -row[1][0])[:MOST_CLASSES]
    return {
        "outputs": [_rounded(value) for value in _some(deployed.outputs(frame.picture)).tolist()],
        "answer": [[name, *map(_rounded, numbers)] for name, numbers in answer],
    }


def difference(deployed: Deployed, frame: Frame, expected: Mapping[str, Any], tolerance: Tolerance) -> Difference:
    """What the network answers here, beside what it answered there."""
    there = np.array(expected["outputs"], np.float64)
    here = _some(deployed.outputs(frame.picture))
    if here.shape != there.shape:
        raise ValueError(f"expected {len(there)} numbers of the output, got {len(here)}; copy the bundle again")
    apart = float(np.abs(here - there).max() / max(1.0, np.abs(there).max()))
    answer = deployed.look(frame)[0]
    wanted: Answer = [(str(name), tuple(map(float, numbers))) for name, *numbers in expected["answer"]]
    if deployed.kind == "detection":
        score, side, unmatched = _boxes(wanted, answer, THRESHOLD + tolerance.score)
    else:
        score, side, unmatched = _shares(wanted, answer), 0.0, 0
    return Difference(apart, score, side, unmatched, len(answer))


def read_expected(folder: Path) -> dict[str, Any]:
    """The expected.json of a bundle; CorruptFile where its network, or a picture, is not as it was packed."""
    found = read_json(folder / "expected.json")
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"expected the expected.json of a bundle in {folder}, got something else; copy it again")
    files = {found["network"]: found["network_sha256"]}
    files |= {name: picture["sha256"] for name, picture in found["pictures"].items()}
    for name, digest in files.items():
        if sha256((folder / name).read_bytes()) != digest:
            raise CorruptFile(f"{folder / name}: it is not as it was packed; copy the bundle again")
    return found


def expectations(
    deployed: Deployed, model: bytes, network: tuple[str, bytes], pictures: Mapping[str, Path]
) -> dict[str, Any]:
    """The expected.json of a bundle: `model` is the decoded network, `network` the name and bytes of its file."""
    return {
        "version": VERSION,
        "kind": deployed.kind,
        "network": network[0],
        "network_sha256": sha256(network[1]),
        "decoded_sha256": sha256(model),
        "tolerance": asdict(tolerance_of(model)),
        "pictures": {
            name: {"sha256": sha256(path.read_bytes()), **expected_of(deployed, read_frame(path))}
            for name, path in pictures.items()
        },
    }


def _some(outputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Numbers of the output, evenly spaced: (n,) -> (at most 128,)"""
    places = np.unique(np.linspace(0, len(outputs) - 1, KEPT).round().astype(np.int64))
    return outputs[places].astype(np.float64)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _shares(wanted: Answer, found: Answer) -> float:
    """The largest difference of a class's share; a class that is not there has none."""
    here = {name: numbers[0] for name, numbers in found}
    return max((abs(here.get(name, 0.0) - numbers[0]) for name, numbers in wanted), default=0.0)


def _boxes(wanted: Answer, found: Answer, sure: float) -> tuple[float, float, int]:
    """The largest differences of a score and of a corner, and how many boxes above `sure` are on one side only."""
    pairs = [
        (_iou(there, here), i, j)
        for i, (name, there) in enumerate(wanted)
        for j, (other, here) in enumerate(found)
        if name == other
    ]
    score = side = 0.0
    left, right = dict(enumerate(wanted)), dict(enumerate(found))
    for iou, i, j in sorted(pairs, reverse=True):
        if iou > LEAST_IOU and i in left and j in right:
            there, here = left.pop(i)[1], right.pop(j)[1]
            score = max(score, abs(there[0] - here[0]))
            side = max(side, *(abs(a - b) for a, b in zip(there[1:], here[1:], strict=True)))
    return score, side, sum(numbers[0] > sure for _, numbers in (*left.values(), *right.values()))


def _iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Of two boxes, each a score and four corners."""
    return float(overlaps(np.array([one[1:]]), np.array([other[1:]]))[0, 0])
