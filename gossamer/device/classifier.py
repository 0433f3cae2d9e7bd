# SPDX-License-Identifier: Apache-2.0
"""A classifier that was opened: a picture goes in, the share of each class comes out.

    share_k = exp(s_k - max s) / sum_j exp(s_j - max s),   s the network's one output, (1, K)

The picture is fitted as in training: resized, its centre kept.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.preprocess import Preprocess
from gossamer.device.figures import Times
from gossamer.device.frames import Frame, ms_since
from gossamer.device.stored import Opener, Session, first_output, read_stored

Shares = list[tuple[str, float]]  #: classes with their shares, which sum to 1, by falling share


@dataclass(frozen=True, eq=False)
class Classifier:
    """What gives each picture a class; `classes` has a name for each."""

    path: Path
    preprocess: Preprocess
    classes: tuple[str, ...]
    session: Session


def open_classifier(path: Path, open_session: Opener) -> Classifier:
    """The network in a .gossamer file, ready to run; ValueError where it gives anything but scores of classes."""
    stored = read_stored(path)
    preprocess = stored.sized()
    session = stored.open(open_session)
    count = len(_scores(path, session, np.zeros((1, *preprocess.shape), np.float32)))
    return Classifier(path, preprocess, stored.names(count), session)


def classify(classifier: Classifier, frame: Frame) -> tuple[Shares, Times]:
    """The share of each class, the likeliest first, and what each step took."""
    start = time.perf_counter()
    batch = classifier.preprocess.apply(classifier.preprocess.fit(frame.picture)[None])
    decode_ms = frame.decode_ms + ms_since(start)
    start = time.perf_counter()
    scores = _scores(classifier.path, classifier.session, batch)
    network_ms = ms_since(start)
    start = time.perf_counter()
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")
    named = [(classifier.classes[index], float(shares[index])) for index in order.tolist()]
    return named, Times(decode_ms, network_ms, ms_since(start))


def _scores(path: Path, session: Session, batch: NDArray[np.float32]) -> NDArray[np.float64]:
    """The scores of the classes, (K,); ValueError where the output is none."""
    scores = first_output(path, session, batch)
    if scores.ndim != 2 or len(scores) != 1 or not scores.size:
        raise ValueError(f"expected a classifier in {path}, an output (1, classes), got {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"the network {path} gives scores that are infinite or no numbers")
    return np.asarray(scores[0], np.float64)
