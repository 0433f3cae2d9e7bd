# SPDX-License-Identifier: Apache-2.0
"""A task: the network, its data in four splits, and what "right" means.

The splits keep each other honest. Weights are tuned on `train`; statistics are gathered on `calibration`, a
part of train; every decision is taken on `selection`; `test` is opened once, for the certificate. Selection
and test must be unseen by the original network's training too, or its drop means nothing; `seen` says what
it has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from gossamer.data.arrays import check_labels
from gossamer.data.augment import crop_and_flip, cut_out
from gossamer.data.images import Split, chunks
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits, check_disjoint, hold_out
from gossamer.zoo.own_code import failure

LACKING_NAMED = 5  # classes named that a split lacks
CALIBRATION = 1000  # images for batch-norm and quantizer statistics
UNLABELLED = -1  # what batches give as labels of a calibration split that has none; no loss accepts it
Seen = Literal["train", "all", "none"]
Quality = NDArray[np.bool_] | NDArray[np.float64]
"""Of each example, (N,): right or wrong, or a number between 0 and 1; the certificate tests the two differently."""


@dataclass(frozen=True, eq=False)
class Task:
    """Classification of images; made by `build`, which checks that the parts fit each other."""

    model: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    train: Split
    calibration: Split
    selection: Split
    test: Split
    name: str
    seen: Seen = "train"
    notes: tuple[str, ...] = ()

    agreement: bool = False

    @property
    def kind(self) -> str:
        """What quality is: "classification", or "agreement" where labels are the original's own answers."""
        return "agreement" if self.agreement else "classification"

    @classmethod
    def build(
        cls,
        model: nn.Module,
        preprocess: Preprocess,
        splits: Splits,
        *,
        name: str,
        seen: Seen = "train",
        calibration: Split | None = None,
        agreement: bool = False,
    ) -> Task:
        """Check that network, preprocessing, labels and splits fit, and put them together.

        `seen` is the data that the network was trained on: "train" (at most the train split), "all"
        (selection or test as well), "none" of it. Without `calibration`, 1,000 images of train are taken,
        by content hash. `agreement`: labels are what the network itself answers.
        """
        if seen not in get_args(Seen):
            raise ValueError(f"seen must be one of {', '.join(get_args(Seen))}, got '{seen}'")
        for split in (splits.train, splits.selection, splits.test):
            _check_split(split, preprocess, len(splits.classes), name)
        check_disjoint(splits.train, splits.selection, splits.test)
        if calibration is None:
            calibration = hold_out(splits.train, min(CALIBRATION, len(splits.train)))[1]
        calibration = calibration.renamed("calibration")
        check_disjoint(calibration, splits.selection, splits.test)
        notes = splits.notes + tuple(_lacking(splits))
        if seen == "all":
            notes += ("the original network was trained on selection or test images: its quality looks too high",)
        task = cls(
            model=model,
            preprocess=preprocess,
            classes=splits.classes,
            train=splits.train,
            calibration=calibration,
            selection=splits.selection,
            test=splits.test,
            name=name,
            seen=seen,
            notes=notes,
            agreement=agreement,
        )
        check_outputs(task)
        return task

    @property
    def example(self) -> torch.Tensor:
        """Two preprocessed images, (2, C, H, W)."""
        values, _ = next(self.numpy_batches(self.calibration, 2))
        return torch.from_numpy(np.concatenate([values, values])[:2])

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy, mean over the batch; (N, classes), (N,) -> ()"""
        return functional.cross_entropy(outputs, targets)

    def quality(self, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
        """Quality per example: is the highest output that of the label; (N, classes), (N,) -> (N,)

        A row with an output that is not a number is never right.
        """
        best: NDArray[np.bool_] = np.argmax(outputs, axis=1) == labels
        return best & ~np.isnan(outputs).any(axis=1)

    def batches(
        self,
        split: Split,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        augment: bool = False,
        cutout: int = 0,
        device: torch.device | str = "cpu",
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs of normalised images (N, C, H, W) and labels (N,) on `device`.

        Without a generator all examples in order; with one, shuffled for training, where a last batch of a
        single example is left out, because batch norm cannot train on it. Augmentation crops and mirrors at
        random, and puts a grey square of `cutout` pixels into each image.
        """
        labels = _labels(split)
        if augment and generator is None:
            raise ValueError("augmentation needs a generator, got None; pass torch.Generator().manual_seed(seed)")
        if generator is None:
            order = np.arange(len(split))
        else:
            order = torch.randperm(len(split), generator=generator, device=generator.device).cpu().numpy()
        for positions in chunks(len(split), batch_size):
            if generator is not None and len(positions) == 1 < batch_size:
                return
            chosen = order[positions]
            pixels = torch.from_numpy(split.images.take(chosen)).to(device).permute(0, 3, 1, 2)
            if augment and generator is not None:
                pixels = crop_and_flip(pixels, generator)
                pixels = cut_out(pixels, generator, cutout) if cutout else pixels
            yield self.preprocess.apply_tensor(pixels), torch.from_numpy(labels[chosen]).to(device)

    def numpy_batches(self, split: Split, batch_size: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Pairs of normalised images (N, C, H, W) and labels (N,), in order, for the runtimes."""
        labels = _labels(split)
        for positions in chunks(len(split), batch_size):
            yield self.preprocess.apply(split.images.take(positions)), labels[positions]

    def __str__(self) -> str:
        splits = "\n".join(f"  {split}" for split in (self.train, self.calibration, self.selection, self.test))
        return f"{self.name}: {self.kind}, {len(self.classes)} classes, seen: {self.seen}\n{splits}"


def _labels(split: Split) -> NDArray[np.int64]:
    return np.full(len(split), UNLABELLED, np.int64) if split.labels is None else split.labels


def _check_split(split: Split, preprocess: Preprocess, classes: int, where: str) -> None:
    height, width, channels = split.images.shape
    if (channels, height, width) != preprocess.shape:
        expected = f"{preprocess.height}x{preprocess.width} with {preprocess.channels} channels"
        raise ValueError(
            f"images must be {expected}, got {height}x{width} with {channels} in split '{split.name}' of "
            f"{where}; change --size, --mean and --std, or the images"
        )
    if not len(split):
        raise ValueError(f"split '{split.name}' of {where} is empty; give more images")
    if split.labels is None:
        raise ValueError(f"split '{split.name}' of {where} has no labels; only calibration can do without")
    check_labels(split, classes, where)


def _lacking(splits: Splits) -> Iterator[str]:
    """A note for each split that has no image of some class."""
    for split in (splits.train, splits.selection, splits.test):
        there = set() if split.labels is None else set(split.labels.tolist())
        lacks = [name for label, name in enumerate(splits.classes) if label not in there]
        if lacks:
            more = f" and {len(lacks) - LACKING_NAMED} more" if len(lacks) > LACKING_NAMED else ""
            names = ", ".join(f"'{name}'" for name in lacks[:LACKING_NAMED])
            yield f"split '{split.name}' has no image of class {names}{more}: nothing is known about it there"


def check_outputs(task: Task) -> None:
    """One forward pass in evaluation form: the network must give one row of class scores per image."""
    was_training = task.model.training
    task.model.eval()
    parameter = next(task.model.parameters(), torch.zeros(()))
    try:
        with torch.no_grad():
            outputs = task.model(task.example.to(parameter.device))
    except Exception as error:
        shape = tuple(task.example.shape)
        raise ValueError(f"the network cannot read images {shape}: {failure(error)}; check --size") from error
    finally:
        task.model.train(was_training)
    if not isinstance(outputs, torch.Tensor):
        raise ValueError(f"the network must return one tensor (N, classes), got {type(outputs).__name__}")
    if tuple(outputs.shape) != (2, len(task.classes)):
        raise ValueError(
            f"the network must give {len(task.classes)} outputs, one per class of {task.name}, got "
            f"{tuple(outputs.shape)} for 2 images; check --model and --data"
        )
