# SPDX-License-Identifier: Apache-2.0
"""Quality of each example that a network gives, asked of the file in the runtime that will be used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.images import Split, chunks
from gossamer.data.preprocess import Preprocess
from gossamer.kinds import Kind, Quality, Targets
from gossamer.runtime.session import open_session
from gossamer.task import Task

BATCH = 100  # images a call, at most: enough to fill the cores
NO_ANSWER = -3  # an output that is not a number: never right, and no class
PIXELS = 2**21  # of a call's images: 64 channels as large as an image, as a U-Net has, then take 512 MiB

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Answered:
    """What the answers to a whole split are worth: the quality of each example, (N,), and figures of all by name.

    `classes`: where an image has one class, the one that was answered, (N,), or NO_ANSWER.
    """

    quality: Quality
    figures: Mapping[str, float]
    classes: NDArray[np.int64] | None = None


def qualities(task: Task, split: Split, model: bytes, runtime: str = "onnxruntime") -> Quality:
    """For each example of `split` the quality of what the ONNX `model` says in `runtime`; (N,) in the split's order."""
    asked = outputs_of(task.of_kind, task.preprocess, split, model, runtime)
    found: Quality = np.concatenate([task.quality(outputs, targets) for outputs, targets in asked])
    return found


def answered(
    kind: Kind,
    preprocess: Preprocess,
    split: Split,
    model: bytes,
    runtime: str = "onnxruntime",
    progress: Progress | None = None,
) -> Answered:
    """As `qualities`, and the figures that the kind has of a whole split, from the same answers."""
    found: list[Any] = []
    evidence: list[Any] = []
    classes: list[NDArray[np.int64]] = []
    for outputs, targets in outputs_of(kind, preprocess, split, model, runtime, progress):
        quality, beside = kind.judged(outputs, targets)
        found.append(quality)
        evidence += beside
        if outputs.ndim == 2:
            classes.append(class_of(outputs))
    return Answered(np.concatenate(found), kind.figures(evidence), np.concatenate(classes) if classes else None)


def class_of(outputs: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class with the highest output, or NO_ANSWER where one is not a number; (N, classes) -> (N,)"""
    return np.where(np.isnan(outputs).any(axis=1), NO_ANSWER, outputs.argmax(axis=1)).astype(np.int64)


def outputs_of(
    kind: Kind,
    preprocess: Preprocess,
    split: Split,
    model: bytes,
    runtime: str,
    progress: Progress | None = None,
) -> Iterator[tuple[NDArray[np.float32], Targets]]:
    """What a network answers, (N, ...), and the truth, batch by batch in the split's order."""
    session = open_session(model, runtime, threads=os.cpu_count() or 1)
    for positions in chunks(len(split), batch_size(split)):
        images = preprocess.apply(split.images.take(positions))
        yield session.run(images)[0], kind.targets(split, positions)
        if progress is not None:
            progress(int(positions[-1]) + 1, len(split))


def batch_size(split: Split) -> int:
    """Images a call, fewer where they are large."""
    height, width, _ = split.images.shape
    return max(1, min(BATCH, PIXELS // (height * width)))
