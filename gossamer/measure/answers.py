# SPDX-License-Identifier: Apache-2.0
"""Answers: the class that a network gives each image, in the runtime that will be used; no labels needed."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gossamer.data.images import Split, chunks
from gossamer.data.preprocess import Preprocess
from gossamer.measure.quality import BATCH
from gossamer.runtime.session import open_session

NO_ANSWER = -3  # an output that is not a number: never right, and no class


def answers(
    model: bytes,
    split: Split,
    preprocess: Preprocess,
    runtime: str = "onnxruntime",
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.int64]:
    """The class with the highest output for each image of `split`, (N,), in its order."""
    session = open_session(model, runtime, threads=os.cpu_count() or 1)
    found = np.empty(len(split), np.int64)
    for positions in chunks(len(split), BATCH):
        outputs = session.run(preprocess.apply(split.images.take(positions)))[0]
        if outputs.ndim != 2:
            raise ValueError(f"expected a network that gives (N, classes), got outputs of shape {outputs.shape}")
        found[positions] = np.where(np.isnan(outputs).any(axis=1), NO_ANSWER, outputs.argmax(axis=1))
        if progress is not None:
            progress(int(positions[-1]) + 1, len(split))
    return found
