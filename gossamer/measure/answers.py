# SPDX-License-Identifier: Apache-2.0
"""Answers: the classes that a network gives images, in the runtime that will be used; no labels needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.images import Split, chunks
from gossamer.data.preprocess import Preprocess
from gossamer.kinds import segmentation_quality
from gossamer.measure.quality import batch_size, class_of
from gossamer.runtime.session import open_session

Answers = NDArray[np.int64] | NDArray[np.uint8]


def answers(
    model: bytes,
    split: Split,
    preprocess: Preprocess,
    runtime: str = "onnxruntime",
    progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """The class with the highest output for each image of `split`, (N,), in its order, or for each pixel, (N, H, W).

    The network gives (N, classes), or (N, 1 or classes, H, W), where one logit is class 1 above zero.
    """
    session = open_session(model, runtime, threads=os.cpu_count() or 1)
    found: list[Any] = []
    for positions in chunks(len(split), batch_size(split)):
        found.append(_classes(session.run(preprocess.apply(split.images.take(positions)))[0]))
        if progress is not None:
            progress(int(positions[-1]) + 1, len(split))
    together: Answers = np.concatenate(found)
    return together


def _classes(outputs: NDArray[np.float32]) -> Answers:
    if outputs.ndim == 4:
        return segmentation_quality.answers(outputs)
    if outputs.ndim != 2:
        raise ValueError(
            f"expected a network that gives (N, classes), or (N, classes, H, W), got outputs of shape {outputs.shape}"
        )
    return class_of(outputs)
