# SPDX-License-Identifier: Apache-2.0
"""A task: the network, its data in splits, and what "right" means.

The splits keep each other honest. Weights are tuned on `train`; statistics are gathered on `calibration`, a
part of train; every decision is taken on `selection`; `test` is opened once, for the certificate. Selection
and test must be unseen by the original network's training too, or its drop means nothing; `seen` says what
it has seen. A second test, of other places, may be reported beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gossamer.data.images import Split, chunks
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits, check_disjoint, hold_out
from gossamer.graph.modes import evaluating
from gossamer.kinds import Kind, Quality, Targets
from gossamer.kinds.classification import Classification
from gossamer.kinds.segmentation import Segmentation
from gossamer.zoo.own_code import failure

CALIBRATION = 1000  # images for batch-norm and quantizer statistics
Seen = Literal["train", "all", "none"]


@dataclass(frozen=True, eq=False)
class Task:
    """A network and its data; made by `build`, which checks that the parts fit each other."""

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
    of_kind: Kind = field(default_factory=Classification)
    second_test: Split | None = None

    @property
    def kind(self) -> str:
        """In a word: "classification", "agreement" (labels are the original's own), "segmentation", "detection"."""
        return self.of_kind.name

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
        kind: Kind | None = None,
    ) -> Task:
        """Check that network, preprocessing, labels and splits fit, and put them together.

        `seen` is the data that the network was trained on: "train" (at most the train split), "all"
        (selection or test as well), "none" of it. Without `calibration`, 1,000 images of train are taken,
        by content hash. `kind`: the usual one of the data, where none is given.
        """
        of_kind = kind or (Classification() if splits.train.masks is None else Segmentation())
        if seen not in get_args(Seen):
            raise ValueError(f"seen must be one of {', '.join(get_args(Seen))}, got '{seen}'")
        if preprocess.turned and not isinstance(of_kind, Classification):
            raise ValueError(f"expected images as they are for {of_kind.name}, got {name} with turned ones")
        second = () if splits.second_test is None else (splits.second_test,)
        for split in (splits.train, splits.selection, splits.test, *second):
            _check_split(split, preprocess, name)
            of_kind.check_split(split, len(splits.classes), name)
        check_disjoint(splits.train, splits.selection, splits.test, *second)
        if calibration is None:
            calibration = hold_out(splits.train, min(CALIBRATION, len(splits.train)))[1]
        calibration = calibration.renamed("calibration")
        check_disjoint(calibration, splits.selection, splits.test, *second)
        notes = splits.notes + tuple(of_kind.remarks(splits))
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
            of_kind=of_kind,
            second_test=splits.second_test,
        )
        check_outputs(task)
        return task

    @property
    def splits(self) -> tuple[Split, ...]:
        """Train, calibration, selection and test; and the second test, where there is one."""
        second = () if self.second_test is None else (self.second_test,)
        return (self.train, self.calibration, self.selection, self.test, *second)

    @property
    def example(self) -> torch.Tensor:
        """Two preprocessed images, (2, C, H, W)."""
        values, _ = next(self.numpy_batches(self.calibration, 2))
        return torch.from_numpy(np.concatenate([values, values])[:2])

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What is trained on, a mean over the batch; (N, ...), (N, ...) -> ()"""
        return self.of_kind.loss(outputs, targets)

    def imitation(self, outputs: torch.Tensor, wanted: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """How far outputs are from those wanted, of a teacher; both of one shape -> ()"""
        return self.of_kind.imitation(outputs, wanted, temperature)

    def quality(self, outputs: NDArray[np.float32], targets: Targets) -> Quality:
        """What counts, of each example: right or wrong, or a number between 0 and 1, (N,)."""
        return self.of_kind.quality(outputs, targets)

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
        """Pairs of normalised images (N, C, H, W) and their truth, labels (N,) or masks (N, H, W), on `device`.

        Without a generator all examples in order; with one, shuffled for training, where a last batch of a
        single example is left out, because batch norm cannot train on it. Augmentation is that of the kind; `cutout`:
        pixels of the grey square that it puts into each image.
        """
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
            targets = torch.from_numpy(self.of_kind.targets(split, chosen)).to(device)
            if augment and generator is not None:
                pixels, targets = self.of_kind.augmented(pixels, targets, generator, cutout)
            yield self.preprocess.apply_tensor(pixels), targets

    def numpy_batches(self, split: Split, batch_size: int) -> Iterator[tuple[NDArray[np.float32], Targets]]:
        """Pairs of normalised images (N, C, H, W) and their truth, in order, for the runtimes."""
        for positions in chunks(len(split), batch_size):
            yield self.preprocess.apply(split.images.take(positions)), self.of_kind.targets(split, positions)

    def __str__(self) -> str:
        splits = "\n".join(f"  {split}" for split in self.splits)
        return f"{self.name}: {self.kind}, {len(self.classes)} classes, seen: {self.seen}\n{splits}"


def _check_split(split: Split, preprocess: Preprocess, where: str) -> None:
    height, width, channels = split.images.shape
    if (channels, height, width) != preprocess.shape:
        expected = f"{preprocess.height}x{preprocess.width} with {preprocess.channels} channels"
        raise ValueError(
            f"images must be {expected}, got {height}x{width} with {channels} in split '{split.name}' of "
            f"{where}; change --size, --mean and --std, or the images"
        )
    if not len(split):
        raise ValueError(f"split '{split.name}' of {where} is empty; give more images")


def check_outputs(task: Task) -> None:
    """One forward pass in evaluation form: what the network gives must be answers of the task's kind."""
    parameter = next(task.model.parameters(), torch.zeros(()))
    try:
        with evaluating(task.model), torch.no_grad():
            outputs = task.model(task.example.to(parameter.device))
    except Exception as error:
        shape = tuple(task.example.shape)
        raise ValueError(f"the network cannot read images {shape}: {failure(error)}; check --size") from error
    if not isinstance(outputs, torch.Tensor):
        raise ValueError(f"the network must return one tensor (N, classes, ...), got {type(outputs).__name__}")
    task.of_kind.check_outputs(outputs, task.example, len(task.classes), task.name)
