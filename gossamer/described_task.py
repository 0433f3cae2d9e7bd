# SPDX-License-Identifier: Apache-2.0
"""The task that the words of a command line describe: which network, which data, how images are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from gossamer.data import arrays, cifar10, emg_myo, folder, mask_arrays, mask_folders, mnist, unlabelled
from gossamer.data.preprocess import PRESETS, Preprocess
from gossamer.data.preprocess import preset as preset_named
from gossamer.data.splits import Splits
from gossamer.kinds.classification import Classification
from gossamer.kinds.segmentation import BARE, Segmentation
from gossamer.task import Seen, Task, check_outputs
from gossamer.zoo.models import check_model, load_model, usual_classes, usual_preprocess
from gossamer.zoo.own_code import call, load_callable
from gossamer.zoo.weight_files import load_weights

#: Data sets that are named rather than recognised.
NAMED_FORMS: dict[str, Callable[[Path], Splits]] = {
    "cifar10": cifar10.load,
    "cifar10-held-out": cifar10.load_held_out,
    "mnist": mnist.load,
    "emg": emg_myo.load,
}


PICTURES = "unlabelled:"


def task_from(
    *,
    data: str,
    model: str | None = None,
    weights: str | Path | None = None,
    preset: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    size: int | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
    overlap: int = 0,
    measure: str = "iou",
    seen: Seen = "train",
    progress: folder.Progress | None = None,
) -> Task:
    """The task that the words of a command line describe.

    `data` is a tree of class folders, folders of images with masks, an .npz file or a folder of them,
    `cifar10:FOLDER` (`cifar10-held-out:FOLDER` for a network that was trained on it here), `mnist:FOLDER`,
    `emg:FOLDER`, `unlabelled:FOLDER` of pictures without labels, or `file.py:callable` giving a Task (whose network
    `model` may replace). Mean, standard deviation, size, crop and interpolation come from `preset`, or from the
    published weights of a torchvision or timm network; what is given explicitly overrides them, and arrays know their
    own size. Where pixels have classes, larger pictures are cut into tiles that share `overlap` pixels, and `measure`
    says what counts of an image: "iou", "dice" or "accuracy". `progress` is called while pictures are decoded.
    """
    if model is not None:
        check_model(model)
    given = {"mean": mean, "std": std, "size": size, "crop": crop, "interpolation": interpolation}
    if ".py:" in data:
        task = call(data, load_callable(data))
        if not isinstance(task, Task):
            raise TypeError(f"{data} must return a gossamer.Task, got {type(task).__name__}")
        unused = [f"--{name}" for name, value in {"preset": preset, **given}.items() if value is not None]
        if unused:
            raise ValueError(f"{data} brings its own preprocessing; leave out {', '.join(unused)}")
        if model is None:
            if weights is not None:
                load_weights(task.model, Path(weights))
            return task
        other = replace(task, model=trained_model(model, weights, len(task.classes)), name=f"{model} on {data}")
        check_outputs(other)
        return other
    if model is None:
        raise ValueError("no network given; --model is a zoo name, torchvision:NAME, timm:NAME or file.py:callable")
    usual = usual_preprocess(model) if preset is None else preset_named(preset)
    if data.startswith(PICTURES):
        return _unlabelled(
            Path(data.removeprefix(PICTURES)), model, weights, _preprocess(usual, given, model), progress
        )
    form = next((form for form in NAMED_FORMS if data.startswith(f"{form}:")), None)
    path = Path(data.removeprefix(f"{form}:"))
    in_memory = NAMED_FORMS[form](path) if form else _arrays(path)
    if in_memory is not None:
        splits = in_memory
        high, wide, _ = splits.train.images.shape
        own_size = size if size is not None else high if high == wide else (high, wide)
        preprocess = _preprocess(usual, {**given, "size": own_size}, model)
    else:
        preprocess = _preprocess(usual, given, model)
        if mask_folders.is_mask_folder(path):
            tile = (preprocess.height, preprocess.width)
            splits = mask_folders.load(path, tile, overlap=overlap, channels=preprocess.channels)
        else:
            splits = folder.load(path, preprocess, progress=progress)
    if preset is None and usual is not None and (mean is None or std is None):
        note = f"mean and std are those of {model}'s published weights; if yours differ, give --mean and --std"
        splits = replace(splits, notes=(*splits.notes, note))
    name = f"{model} on {path.name}"
    if splits.train.masks is None:
        return Task.build(trained_model(model, weights, len(splits.classes)), preprocess, splits, name=name, seen=seen)
    network = _segmenter(model, weights, len(splits.classes))
    return Task.build(network, preprocess, splits, name=name, seen=seen, kind=Segmentation(measure))


def _arrays(path: Path) -> Splits | None:
    """Images that are in memory, with labels or with masks; None for folders of pictures."""
    if mask_arrays.is_mask_pack(path) or mask_arrays.is_mask_file(path):
        return mask_arrays.load(path)
    return arrays.load(path) if path.suffix == ".npz" or any(path.glob("*.npz")) else None


def _segmenter(model: str, weights: str | Path | None, classes: int) -> nn.Module:
    """The network for so many classes of pixels; two are told apart by one logit, or by two where weights say so."""
    if classes > BARE:
        return trained_model(model, weights, classes)
    try:
        return trained_model(model, weights, 1)
    except ValueError as error:
        try:
            return trained_model(model, weights, classes)
        except ValueError:
            raise error from None


def _unlabelled(
    path: Path, model: str, weights: str | Path | None, preprocess: Preprocess, progress: folder.Progress | None
) -> Task:
    network = trained_model(model, weights, usual_classes(model))
    splits = unlabelled.load(path, preprocess, network, progress)
    kind = Classification(agreement=True)
    return Task.build(network, preprocess, splits, name=f"{model} on {path.name}", seen="none", kind=kind)


def trained_model(model: str, weights: str | Path | None, classes: int) -> nn.Module:
    """The network of this name (zoo, torchvision:, timm: or file.py:callable), with weights where any are given."""
    network = load_model(model, classes)
    if weights is not None:
        load_weights(network, Path(weights))
    return network


def _preprocess(usual: Preprocess | None, given: Mapping[str, Any], model: str) -> Preprocess:
    """What is given, completed by what is usual."""
    chosen = {name: value for name, value in given.items() if value is not None}
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
