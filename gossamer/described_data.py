# SPDX-License-Identifier: Apache-2.0
"""The data that the words of a command line describe, recognised by what lies there, and how its images are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.data import (
    arrays,
    boxed,
    cifar10,
    emg_myo,
    folder,
    mask_arrays,
    mask_folders,
    mnist,
)
from gossamer.data.annotated import arrange_boxes
from gossamer.data.images import Split
from gossamer.data.preprocess import PRESETS, Preprocess
from gossamer.data.preprocess import preset as preset_named
from gossamer.data.splits import Splits
from gossamer.zoo.detectors import published_preprocess

#: Data sets that are named rather than recognised.
NAMED_FORMS: dict[str, Callable[[Path], Splits]] = {
    "cifar10": cifar10.load,
    "cifar10-held-out": cifar10.load_held_out,
    "mnist": mnist.load,
    "emg": emg_myo.load,
}
Size = int | tuple[int, int]


@dataclass(frozen=True)
class Pixels:
    """How images are read, as far as the command line says it: a preset's name, and what overrides it."""

    preset: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    crop: float | None = None
    interpolation: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What is said, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def preprocess(self, model: str, size: Size | None = None) -> Preprocess:
        """What is given, completed by what is usual of the preset or the network; `size`: that of the images."""
        usual = self._usual(model)
        chosen = {name: value for name, value in self.given.items() if name != "preset"}
        if size is not None:
            chosen.setdefault("size", size)
        if "mean" in chosen and "std" in chosen:
            chosen["channels"] = len(chosen["mean"])
        if usual is not None:
            return replace(usual, **chosen)
        needed = [f"--{name}" for name in ("mean", "std", "size") if name not in chosen]
        if needed:
            raise ValueError(
                f"how images were normalised when {model} was trained cannot be known; "
                f"give {', '.join(needed)}, or --preset with one of {', '.join(PRESETS)}"
            )
        return Preprocess(**chosen)

    def notes(self, model: str) -> tuple[str, ...]:
        """Where mean and std were not given, whose they are."""
        if self.preset is not None or self._usual(model) is None or {"mean", "std"} <= self.given.keys():
            return ()
        return (f"mean and std are those of {model}'s published weights; if yours differ, give --mean and --std",)

    def _usual(self, model: str) -> Preprocess | None:
        if self.preset is not None:
            return preset_named(self.preset)
        return published_preprocess(model, None if self.size is None else (self.size, self.size))


def load_data(
    data: str,
    model: str,
    pixels: Pixels,
    *,
    overlap: int | None,
    only: Sequence[str] | None,
    drop_empty: bool,
    progress: folder.Progress | None,
) -> tuple[Splits, Preprocess]:
    """Splits as a network of this name reads them; ValueError for words that do not fit what is there.

    `overlap`: of tiles, for folders of images with masks. `only`: the classes whose objects are kept, for boxes;
    `drop_empty` leaves out the pictures on which none is left.
    """
    splits, preprocess = read_data(
        data,
        lambda size: pixels.preprocess(model, size),
        overlap=overlap,
        only=only,
        drop_empty=drop_empty,
        progress=progress,
    )
    return replace(splits, notes=(*splits.notes, *pixels.notes(model))), preprocess


def read_data(
    data: str,
    preprocessed: Callable[[Size | None], Preprocess],
    *,
    overlap: int | None,
    only: Sequence[str] | None,
    drop_empty: bool,
    progress: folder.Progress | None,
) -> tuple[Splits, Preprocess]:
    """The same, for images that are read as `preprocessed` says; it is told their size where they have one."""
    form = next((form for form in NAMED_FORMS if data.startswith(f"{form}:")), None)
    path = Path(data.removeprefix(f"{form}:"))
    with_boxes = boxed.reader_of(path) if form is None else None
    there = with_boxes is not None
    tiled = form is None and not there and mask_folders.is_mask_folder(path)
    _check_used(
        {"--overlap": (overlap, tiled), "--only": (only, there), "--drop-empty": (drop_empty or None, there)}, data
    )
    if with_boxes:
        preprocess = preprocessed(None)
        splits = arrange_boxes(with_boxes(path, preprocess, tuple(only) if only else None, progress))
        splits = _with_objects(splits) if drop_empty else splits
    elif tiled:
        preprocess = preprocessed(None)
        tile = (preprocess.height, preprocess.width)
        splits = mask_folders.load(path, tile, overlap=overlap or 0, channels=preprocess.channels)
    elif (found := NAMED_FORMS[form](path) if form else _in_memory(path)) is not None:
        splits = found
        high, wide, _ = splits.train.images.shape
        preprocess = preprocessed(high if high == wide else (high, wide))
    else:
        preprocess = preprocessed(None)
        splits = folder.load(path, preprocess, progress=progress)
    return splits, preprocess


def _with_objects(splits: Splits) -> Splits:
    """Without the pictures on which there is no object, difficult ones counted, and a note on how many these were."""
    counted = []

    def kept(split: Split) -> Split:
        assert split.boxes is not None
        full = np.flatnonzero(split.boxes.counts)
        counted.append(f"{len(split) - len(full):,} of {len(split):,} in {split.name}")
        return split.subset(full, split.name)

    train, selection, test = map(kept, (splits.train, splits.selection, splits.test))
    note = f"pictures without any object that counts were left out: {', '.join(counted)}"
    return replace(splits, train=train, selection=selection, test=test, notes=(*splits.notes, note))


def _in_memory(path: Path) -> Splits | None:
    """Images with labels or with masks from arrays; None for folders of pictures."""
    if mask_arrays.is_mask_pack(path) or mask_arrays.is_mask_file(path):
        return mask_arrays.load(path)
    return arrays.load(path) if path.suffix == ".npz" or any(path.glob("*.npz")) else None


def _check_used(options: Mapping[str, tuple[object, bool]], data: str) -> None:
    """ValueError for an option that is given, not None, but not used."""
    what = {"--overlap": "folders of images with masks", "--only": "images with boxes"}
    what["--drop-empty"] = what["--only"]
    for name, (value, used) in options.items():
        if value is not None and not used:
            raise ValueError(f"expected {name} for {what[name]} alone, got it with {data}; leave it out")
