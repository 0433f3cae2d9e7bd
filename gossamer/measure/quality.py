# SPDX-License-Identifier: Apache-2.0
"""Quality of each example that a network gives, asked of the file in the runtime that will be used."""

from __future__ import annotations

import os

import numpy as np

from gossamer.data.images import Split
from gossamer.kinds import Quality
from gossamer.runtime.session import open_session
from gossamer.task import Task

BATCH = 100  # images a call: enough to fill the cores, small enough for 224 px images on a small machine


def qualities(task: Task, split: Split, model: bytes, runtime: str = "onnxruntime") -> Quality:
    """For each example of `split` the quality of what the ONNX `model` says in `runtime`; (N,) in the split's order."""
    session = open_session(model, runtime, threads=os.cpu_count() or 1)
    batches = task.numpy_batches(split, BATCH)
    found: Quality = np.concatenate([task.quality(session.run(images)[0], targets) for images, targets in batches])
    return found
