# SPDX-License-Identifier: Apache-2.0
"""The test of a certificate made again: both networks on the test split, beside what the certificate says of it.

It is no new look at the split: nothing is chosen by what comes of it, and no ledger is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from gossamer.certify import ACCURACY, BETTING, Certificate, Counts, Differences
from gossamer.container.file import File
from gossamer.data.images import Split
from gossamer.data.preprocess import Preprocess
from gossamer.described_data import read_data
from gossamer.described_task import PICTURES, task_of_code
from gossamer.detection import Head
from gossamer.kinds import Kind
from gossamer.kinds.classification import Classification
from gossamer.kinds.detection import NAMES, Detection
from gossamer.kinds.segmentation import CALLED, Segmentation
from gossamer.measure.quality import Progress, answered

SAME_QUALITY = 1e-9  # means of the same numbers


def split_to_test(
    data: str,
    file: File,
    measure: str,
    overlap: int | None = None,
    only: tuple[str, ...] | None = None,
    drop_empty: bool = False,
) -> tuple[Split, Kind]:
    """The test split that the words of a command line describe, as the file's network reads it, and what counts there.

    `data` as for `compress`; `measure`: what the certificate is about.
    """
    if data.startswith(PICTURES):
        raise ValueError(
            f"expected images with labels, masks or boxes to test the networks on again, got {data}: labels of these "
            "are the original's own answers"
        )
    if ".py:" in data:
        task = task_of_code(data)
        return task.test, task.of_kind
    preprocess = Preprocess.from_json(dict(file.payload.preprocess))
    splits, _ = read_data(data, lambda _: preprocess, overlap=overlap, only=only, drop_empty=drop_empty, progress=None)
    kind = _kind(measure, file.payload.plan)
    kind.check_split(splits.test, len(splits.classes), data)
    height, width, channels = splits.test.images.shape
    if (channels, height, width) != preprocess.shape:
        raise ValueError(
            f"expected images of {preprocess.height}x{preprocess.width} with {preprocess.channels} channels for the "
            f"network in {file.path}, got {height}x{width} with {channels} in {data}"
        )
    return splits.test, kind


def differs(
    file: File,
    certificate: Certificate,
    original: bytes,
    test: Split,
    kind: Kind,
    runtime: str = "onnxruntime",
    progress: Progress | None = None,
) -> list[str]:
    """Run the original, ONNX bytes, and the file's network on the test split again: a sentence for each difference."""
    from gossamer import container

    if kind.measured != certificate.measure:
        return [f"the certificate is about {certificate.measure}, but of these images {kind.measured} is measured"]
    if test.sha256 != certificate.data_sha256:
        return [
            f"the test split has the hash {test.sha256[:12]}, the certificate is of {certificate.data_sha256[:12]}: "
            "these are other images, other labels, or they are cut into splits in another way"
        ]
    preprocess = Preprocess.from_json(dict(file.payload.preprocess))
    models = {"original": original, "compressed": container.to_onnx(file.payload)}
    quality = {
        side: answered(kind, preprocess, test, model, runtime, progress).quality for side, model in models.items()
    }
    return [
        *_qualities(file.claims.get("quality"), {side: float(found.mean()) for side, found in quality.items()}),
        *_evidence(certificate, quality["original"], quality["compressed"], runtime),
    ]


def _qualities(said: Any, found: Mapping[str, float]) -> list[str]:
    """Which of the two networks has another quality than the file says, where it says any."""
    what = {
        "original": "is it the network that was compressed?",
        "compressed": "its answers differ on this machine or in this runtime",
    }
    return [
        f"the {side} network has {100 * found[side]:.4f} % here, but the file says {100 * said[side]:.4f} %: {why}"
        for side, why in what.items()
        if isinstance(said, Mapping)
        and isinstance(said.get(side), float)
        and not abs(said[side] - found[side]) <= SAME_QUALITY
    ]


def _evidence(certificate: Certificate, original: Any, compressed: Any, runtime: str) -> list[str]:
    """What the two qualities of each image, (N,), give that the certificate does not say."""
    bets = certificate.method == BETTING
    if bets:
        here: Counts | Differences = Differences.of(original, compressed, certificate.wager)
    else:
        here = Counts.of(original, compressed)
    what = {
        "n": "the test split has {} images",
        "b": "the compressed network does worse on {} of them" if bets else "{} images turned wrong",
        "c": "the compressed network does better on {} of them" if bets else "{} images turned right",
    }
    problems = [
        f"{name} is {getattr(certificate, name):,} in the certificate, but {words.format(f'{found:,}')} in {runtime}"
        for name, words in what.items()
        if (found := getattr(here, name)) != getattr(certificate, name)
    ]
    if isinstance(here, Differences) and here.n == certificate.n and here.steps != certificate.differences:
        others = int(np.count_nonzero(np.array(here.steps) != np.array(certificate.differences)))
        problems.append(
            f"the differences are others: {others:,} of {here.n:,}, sorted by size, are not those of the certificate; "
            f"their mean is {100 * here.drop:.4f} points in {runtime}, there {100 * certificate.observed_drop:.4f}"
        )
    return problems


def _kind(measure: str, plan: Mapping[str, Any]) -> Kind:
    """What is measured by this name, of a network that was written with this plan."""
    if measure == ACCURACY:
        return Classification()
    for name, called in CALLED.items():
        if measure == called:
            return Segmentation(name)
    for name, called in NAMES.items():
        if measure == called and "head" in plan:
            return kind_of_detector(name, plan)
    raise ValueError(f"expected a certificate about accuracy, IoU, Dice, pixel accuracy, AP or F1, got '{measure}'")


def kind_of_detector(measure: str, plan: Mapping[str, Any]) -> Detection:
    """What a detector that was written with this plan is measured by; nothing can be trained with it."""
    return Detection(Head.from_json(plan["head"]), _no_loss, measure)


def _no_loss(outputs: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    raise ValueError("expected a network to test, not one to train: its loss is not in the file")
