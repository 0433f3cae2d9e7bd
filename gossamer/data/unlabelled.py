# SPDX-License-Identifier: Apache-2.0
"""Images without labels: an answer counts as right where it is the original network's own.

Then quality is agreement with the original, and what the certificate bounds is the share of answers that change. The
true drop cannot be larger: an answer that has not changed is as right as it was.

Where other images have labels, only tuning and calibration are done on those without, by the original's answers; the
labelled ones decide and prove, and quality is what it is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gossamer.data import arrays, folder
from gossamer.data.folder import Progress
from gossamer.data.images import Split, chunks
from gossamer.data.loose import unlabelled
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits, halves, held_out, part
from gossamer.graph.modes import evaluating

TRAIN_SHARE = 0.5  # to tune on, by the original's outputs; the rest is halved for selection and test
BATCH = 64


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Labelled images that are not trained on: `selection` decides, `test` proves; `classes`, where they have names."""

    selection: Split
    test: Split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


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
    return Splits(
        train.renamed("train"), selection.renamed("selection"), test.renamed("test"), _numbers(classes), notes
    )


def load_labelled(path: Path, preprocess: Preprocess, progress: Progress | None = None) -> HeldOut:
    """Class folders in val/ and test/ under `path`, or arrays of these names in .npz files; one part is halved."""
    if path.suffix == ".npz" or (path.is_dir() and any(path.glob("*.npz"))):
        given, classes = arrays.parts(path)
    else:
        given, classes = folder.parts(path, preprocess, progress=progress)
    selection, test, notes = held_out(given, str(path))
    return HeldOut(selection, test, classes, notes)


def load_beside(
    path: Path, held: HeldOut, preprocess: Preprocess, network: nn.Module, progress: Progress | None = None
) -> Splits:
    """All pictures under `path` to tune and calibrate on, beside labelled ones that decide and prove."""
    found, _ = unlabelled(path, preprocess, progress)
    return beside(found, held, preprocess, network, str(path))


def beside(pictures: Split, held: HeldOut, preprocess: Preprocess, network: nn.Module, where: str) -> Splits:
    """Images whose labels, if they have any, are not looked at: the original's answers stand in their place.

    `where` names them in the note.
    """
    answers, classes = answers_of(network, pictures, preprocess)
    note = (
        f"no label was trained on: the {len(pictures):,} images of {where}, which tune and calibrate, have the "
        f"original's answers; the labels of the {len(held.selection):,} images that decide and the {len(held.test):,} "
        "that prove are true ones"
    )
    names = held.classes or _numbers(classes)
    return Splits(Split("train", pictures.images, answers), held.selection, held.test, names, (note, *held.notes))


def answers_of(network: nn.Module, split: Split, preprocess: Preprocess) -> tuple[NDArray[np.int64], int]:
    """The class that a network gives each image, (N,), and how many classes it knows."""
    outputs = []
    with evaluating(network), torch.no_grad():
        for positions in chunks(len(split), BATCH):
            outputs.append(network(torch.from_numpy(preprocess.apply(split.images.take(positions)))))
    whole = torch.cat(outputs)
    return whole.argmax(1).numpy().astype(np.int64), whole.shape[1]


def _numbers(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))
