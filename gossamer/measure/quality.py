# SPDX-License-Identifier: Apache-2.0
"""Quality: which examples a network gets right, asked of the file in the runtime that will be used."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from gossamer.data.images import Split
from gossamer.runtime.session import open_session
from gossamer.task import Task

BATCH = 100  # images a call: enough to fill the cores, small enough for 224 px images on a small machine


def right_examples(task: Task, split: Split, model: bytes, runtime: str = "onnxruntime") -> NDArray[np.bool_]:
    """For each example of `split`, whether the ONNX `model` is right in `runtime`; (N,) in the split's order."""
    session = open_session(model, runtime, threads=os.cpu_count() or 1)
    right = [task.right(session.run(images)[0], labels) for images, labels in task.numpy_batches(split, BATCH)]
    return np.concatenate(right)
