# SPDX-License-Identifier: Apache-2.0
"""Gestures from the muscles of the forearm: each wearer's balanced accuracy before and after compression.

    python -m benchmarks.gestures      results/gestures/accuracy.json, and the table of docs/gestures.md

Beside the networks, a linear discriminant for each wearer on the features of B. Hudgins, P. Parker, R. Scott, "A New
Strategy for Multifunction Myoelectric Control", IEEE Transactions on Biomedical Engineering 40(1), 1993, section III,
of each electrode's samples x over a window:

    mean absolute value         mean |x_i|
    zero crossings              how often x_i x_i+1 < 0 and |x_i - x_i+1| >= NOISE
    slope sign changes          how often (x_i - x_i-1)(x_i - x_i+1) > 0, one of them >= NOISE
    waveform length             sum |x_i+1 - x_i|

Networks and discriminant see the same windows: sessions 1 and 2 to learn from, session 3 to be asked about.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.filing import file_circumstances, put_between
from gossamer.data import emg_myo
from gossamer.data.images import Split, chunks
from gossamer.data.preprocess import Preprocess
from gossamer.data.preprocess import preset as preset_named
from gossamer.files import read_json, write_json
from gossamer.measure.bench import network_bytes
from gossamer.runtime.session import open_session, predict

ROOT = Path(__file__).resolve().parent.parent
FILED, PAGE = ROOT / "results" / "gestures", ROOT / "docs" / "gestures.md"
BEFORE, AFTER = ROOT / "results" / "gestures-baseline", ROOT / "results" / "gestures-bytes"
BEGIN, END = "<!-- wearers: python -m benchmarks.gestures -->", "<!-- end of wearers -->"
NOISE = 1.0  # of 128 steps: what a still arm's numbers change by
RIDGE = 1e-3  # of each variance: some features are nearly a sum of others
BATCH = 512

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Discriminant:
    """Classes share a covariance S; the score of class k, which has the mean m, is x S^-1 m - m S^-1 m / 2.

    >>> of_two = Discriminant.of(np.array([[0.0], [1.0], [9.0], [10.0]]), np.array([0, 0, 1, 1]))
    >>> of_two.answers(np.array([[2.0], [7.0]]))
    array([0, 1])
    """

    spread: Array
    slopes: Array
    offsets: Array

    @classmethod
    def of(cls, features: Array, labels: NDArray[np.int64]) -> Discriminant:
        """From features (N, F) and classes (N,), every class from 0 on among them."""
        spread = np.maximum(features.std(0), 1e-9)
        features = features / spread
        means = np.stack([features[labels == k].mean(0) for k in range(labels.max() + 1)])
        left = features - means[labels]
        shared = left.T @ left / len(left)
        shared += RIDGE * np.diag(shared.diagonal())
        slopes = np.linalg.solve(shared, means.T)
        return cls(spread, slopes, -0.5 * (means.T * slopes).sum(0))

    def answers(self, features: Array) -> NDArray[np.int64]:
        """The likeliest class of each row, (N,)."""
        likeliest: NDArray[np.int64] = (features / self.spread @ self.slopes + self.offsets).argmax(1)
        return likeliest


def features(windows: Array) -> Array:
    """(N, samples, electrodes) -> (N, 4 electrodes), the logarithms of those that are amplitudes.

    >>> features(np.array([[[1.0], [-1.0], [1.0], [-1.0]]])).round(2).tolist()
    [[0.69, 3.0, 2.0, 1.95]]
    """
    steps = np.diff(windows, axis=1)
    loud = np.abs(steps) >= NOISE
    amplitude = np.abs(windows).mean(1)
    crossings = ((windows[:, :-1] * windows[:, 1:] < 0) & loud).sum(1)
    turns = ((steps[:, :-1] * steps[:, 1:] < 0) & (loud[:, :-1] | loud[:, 1:])).sum(1)
    length = np.abs(steps).sum(1)
    return np.concatenate([np.log1p(amplitude), crossings, turns, np.log1p(length)], axis=1).astype(np.float64)


def balanced_accuracy(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """The mean over classes of the share of their windows that are answered rightly."""
    return float(np.mean([(answers == labels)[labels == k].mean() for k in np.unique(labels)]))


def asked(folder: Path, splits: list[Split], preprocess: Preprocess) -> list[float]:
    """What the network filed in a folder reaches on each split."""
    session = open_session(network_bytes(folder / "model.gossamer"))
    found = []
    for split in splits:
        batches = (preprocess.apply(split.images.take(positions)) for positions in chunks(len(split), BATCH))
        answers = [scores for (scores,) in predict(session, batches)]
        found.append(balanced_accuracy(np.concatenate(answers).argmax(1), labels(split)))
    return found


def labels(split: Split) -> NDArray[np.int64]:
    """The gesture of each window, (N,)."""
    assert split.labels is not None
    return split.labels


def samples(split: Split) -> Array:
    """The windows of a split as they were measured, (N, samples, electrodes)."""
    return split.images.take(np.arange(len(split)))[..., 0].astype(np.float64) - 128


def measure(data: Path) -> list[dict[str, float]]:
    """One entry a wearer."""
    wearers = sorted(int(subject) for subject in np.unique(np.load(data / emg_myo.FILE)["subject"]))
    each = [emg_myo.load(data / str(wearer)) for wearer in wearers]
    tests, preprocess = [splits.test for splits in each], preset_named("emg")
    before, after = (asked(folder, tests, preprocess) for folder in (BEFORE, AFTER))
    linear = []
    for splits in each:
        discriminant = Discriminant.of(features(samples(splits.train)), labels(splits.train))
        answers = discriminant.answers(features(samples(splits.test)))
        linear.append(balanced_accuracy(answers, labels(splits.test)))
    return [
        {"wearer": wearer, "windows": len(test), "linear": alone, "before": dense, "after": small}
        for wearer, test, alone, dense, small in zip(wearers, tests, linear, before, after, strict=True)
    ]


def table(entries: list[dict[str, float]]) -> str:
    """A row a wearer, and their mean."""
    names = ("linear", "before", "after")
    means = {name: float(np.mean([entry[name] for entry in entries])) for name in names}
    rows = [
        "| wearer | windows | linear discriminant, of this wearer | network, of all | compressed |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {entry['wearer']} | {entry['windows']:,} | "
            + " | ".join(f"{100 * entry[name]:.1f} %" for name in names)
            + " |"
            for entry in entries
        ),
        "| mean | | " + " | ".join(f"{100 * means[name]:.1f} %" for name in names) + " |",
    ]
    sizes = " and ".join(f"{(folder / 'model.gossamer').stat().st_size:,}" for folder in (BEFORE, AFTER))
    return "\n".join([*rows, "", f"The files have {sizes} bytes."])


def main() -> int:
    """Measure where the data are, and show what is filed."""
    if data := os.environ.get("GOSSAMER_DATA"):
        FILED.mkdir(exist_ok=True)
        write_json(FILED / "accuracy.json", measure(Path(data) / "emg_myo"))
        file_circumstances(FILED, "python -m benchmarks.gestures")
    filed = FILED / "accuracy.json"
    put_between(PAGE, BEGIN, END, table(read_json(filed)) if filed.exists() else "Not measured yet.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
