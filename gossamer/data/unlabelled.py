# SPDX-License-Identifier: Apache-2.0
"""Images without labels: an answer counts as right where it is the original network's own.

Then quality is agreement with the original, and what the certificate bounds is the share of answers that change. The
true drop cannot be larger: an answer that has not changed is as right as it was.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gossamer.data.folder import Progress
from gossamer.data.images import Split, chunks
from gossamer.data.loose import unlabelled
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits, halves, part
from gossamer.graph.modes import evaluating

TRAIN_SHARE = 0.5  # to tune on, by the original's outputs; the rest is halved for selection and test
BATCH = 64


def load(path: Path, preprocess: Preprocess, network: nn.Module, progress: Progress | None = None) -> Splits:
    """All pictures under `path`, cut by content hash into 50 % train, 25 % selection and 25 % test."""
    found, _ = unlabelled(path, preprocess, progress)
    answers, classes = answers_of(network, found, preprocess)
    train, rest = part(Split("all", found.images, answers), TRAIN_SHARE)
    selection, test = halves(rest)
    notes = (
        f"{path} has no labels: an answer is right where it is the original's, so quality is agreement with it; the "
        "true drop cannot be larger than what is lost of that",
        f"{path} came unsplit: cut by content hash into 50 % train, 25 % selection, 25 % test",
    )
    names = tuple(str(number) for number in range(classes))
    return Splits(train.renamed("train"), selection.renamed("selection"), test.renamed("test"), names, notes)


def answers_of(network: nn.Module, split: Split, preprocess: Preprocess) -> tuple[NDArray[np.int64], int]:
    """The class that a network gives each image, (N,), and how many classes it knows."""
    outputs = []
    with evaluating(network), torch.no_grad():
        for positions in chunks(len(split), BATCH):
            outputs.append(network(torch.from_numpy(preprocess.apply(split.images.take(positions)))))
    whole = torch.cat(outputs)
    return whole.argmax(1).numpy().astype(np.int64), whole.shape[1]
