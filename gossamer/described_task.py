# SPDX-License-Identifier: Apache-2.0
"""The task that the words of a command line describe: which network, which data, what counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from gossamer.data import folder, unlabelled
from gossamer.described_data import Pixels, load_data
from gossamer.kinds import Kind
from gossamer.kinds.classification import Classification
from gossamer.kinds.detection import Detection
from gossamer.kinds.segmentation import BARE, Segmentation
from gossamer.task import Seen, Task, check_outputs
from gossamer.zoo.detectors import criterion_of, head_of, is_detector, load_detector
from gossamer.zoo.models import check_model, load_model, usual_classes
from gossamer.zoo.own_code import call, load_callable
from gossamer.zoo.weight_files import load_weights

PICTURES = "unlabelled:"
USUAL_MEASURES = {"segmentation": "iou", "detection": "ap"}


def task_from(
    *,
    data: str,
    labelled: str | Path | None = None,
    model: str | None = None,
    weights: str | Path | None = None,
    preset: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    size: int | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
    overlap: int | None = None,
    only: Sequence[str] | None = None,
    drop_empty: bool = False,
    measure: str | None = None,
    seen: Seen = "train",
    progress: folder.Progress | None = None,
) -> Task:
    """The task that the words of a command line describe.

    `data` is a tree of class folders, folders of images with masks, images with boxes (as PASCAL VOC or COCO are
    downloaded), an .npz file or a folder of them, `cifar10:FOLDER` (`cifar10-held-out:FOLDER` for a network that was
    trained on it here), `mnist:FOLDER`, `emg:FOLDER`, `unlabelled:FOLDER` of pictures without labels, or
    `file.py:callable` giving a Task (whose network `model` may replace). Mean, standard deviation, size, crop and
    interpolation come from `preset`, or from the published weights of a network; what is given explicitly overrides
    them, and arrays know their own size. `measure` says what counts of an image: "iou", "dice" or "accuracy" where
    pixels have classes, "ap" or "f1" where objects have boxes. Larger pictures with masks are cut into tiles that share
    `overlap` pixels; of objects `only` those of some classes count, and `drop_empty` leaves out pictures without any.
    Beside pictures without labels, `labelled` names class folders in val/ and test/, or .npz files, that decide and
    prove. `progress` is called while pictures are decoded.
    """
    if model is not None:
        check_model(model)
    pixels = Pixels(preset, mean, std, size, crop, interpolation)
    if labelled is not None and not data.startswith(PICTURES):
        raise ValueError(f"expected --labelled beside {PICTURES}FOLDER alone, got it with {data}; leave it out")
    if ".py:" in data:
        given = {**pixels.given, "overlap": overlap, "only": only, "measure": measure}
        given["drop-empty"] = drop_empty or None
        if unused := [f"--{name}" for name, value in given.items() if value is not None]:
            raise ValueError(f"{data} says itself how images are read and judged; leave out {', '.join(unused)}")
        return _own_task(data, model, weights)
    if model is None:
        raise ValueError(
            "no network given; --model is a zoo name, torchvision:NAME, timm:NAME, smp:ARCHITECTURE/ENCODER or "
            "file.py:callable"
        )
    if data.startswith(PICTURES):
        _no_measure(measure)
        pictures = Path(data.removeprefix(PICTURES))
        if labelled is not None:
            return _partly_labelled(pictures, Path(labelled), model, weights, pixels, seen, progress)
        return _unlabelled(pictures, model, weights, pixels, progress)
    splits, preprocess = load_data(
        data, model, pixels, overlap=overlap, only=only, drop_empty=drop_empty, progress=progress
    )
    kind = "classification"
    if splits.train.boxes is not None or splits.train.masks is not None:
        kind = "segmentation" if splits.train.boxes is None else "detection"
    network = network_for(kind, model, weights, len(splits.classes), (preprocess.height, preprocess.width))
    of_kind = _kind(kind, network, measure)
    name = f"{model} on {Path(data.rpartition(':')[2]).name}"
    return Task.build(network, preprocess, splits, name=name, seen=seen, kind=of_kind)


def network_for(
    kind: str, model: str, weights: str | Path | None, classes: int, size: tuple[int, int] | None = None
) -> nn.Module:
    """The network of this name for a kind of task, with weights where any are given.

    Of two classes of pixels one logit tells apart, or two do where the network or its weights say so. Detectors are
    made for images of `size`, height and width.
    """
    if kind == "detection":
        network = load_detector(model, classes, None if ".py:" in model else size)
        if weights is not None:
            load_weights(network, Path(weights))
        return network
    if is_detector(model):
        raise ValueError(f"expected images with boxes for the detector {model}, got {kind}; check --data")
    if kind != "segmentation" or classes > BARE:
        return trained_model(model, weights, classes)
    try:
        return trained_model(model, weights, 1)
    except ValueError as error:
        try:
            return trained_model(model, weights, classes)
        except ValueError:
            raise error from None


def trained_model(model: str, weights: str | Path | None, classes: int) -> nn.Module:
    """The network of this name (zoo, torchvision:, timm: or file.py:callable), with weights where any are given."""
    network = load_model(model, classes)
    if weights is not None:
        load_weights(network, Path(weights))
    return network


def _kind(kind: str, network: nn.Module, measure: str | None) -> Kind:
    if kind == "classification":
        _no_measure(measure)
        return Classification()
    measure = measure or USUAL_MEASURES[kind]
    if kind == "segmentation":
        return Segmentation(measure)
    return Detection(head_of(network), criterion_of(network), measure)


def _no_measure(measure: str | None) -> None:
    if measure is not None:
        raise ValueError(f"expected no --measure where images have labels: right is right; got {measure}, leave it out")


def task_of_code(data: str) -> Task:
    """What `file.py:callable` gives; TypeError where that is no task."""
    task = call(data, load_callable(data))
    if not isinstance(task, Task):
        raise TypeError(f"{data} must return a gossamer.Task, got {type(task).__name__}")
    return task


def _own_task(data: str, model: str | None, weights: str | Path | None) -> Task:
    """What `file.py:callable` gives, with another network where one is named."""
    task = task_of_code(data)
    if model is None:
        if weights is not None:
            load_weights(task.model, Path(weights))
        return task
    size = (task.preprocess.height, task.preprocess.width)
    network = network_for(task.kind, model, weights, len(task.classes), size)
    kind = task.of_kind
    if isinstance(kind, Detection):
        kind = Detection(head_of(network), criterion_of(network), kind.measure)
    other = replace(task, model=network, of_kind=kind, name=f"{model} on {data}")
    check_outputs(other)
    return other


def _unlabelled(
    path: Path,
    model: str,
    weights: str | Path | None,
    pixels: Pixels,
    progress: folder.Progress | None,
) -> Task:
    preprocess = pixels.preprocess(model)
    network = network_for("agreement", model, weights, usual_classes(model))
    splits = unlabelled.load(path, preprocess, network, progress)
    kind = Classification(agreement=True)
    return Task.build(network, preprocess, splits, name=f"{model} on {path.name}", seen="none", kind=kind)


def _partly_labelled(
    path: Path,
    labelled: Path,
    model: str,
    weights: str | Path | None,
    pixels: Pixels,
    seen: Seen,
    progress: folder.Progress | None,
) -> Task:
    """Tuned on pictures without labels, judged on others that have them."""
    preprocess = pixels.preprocess(model)
    held = unlabelled.load_labelled(labelled, preprocess, progress)
    network = network_for("classification", model, weights, len(held.classes) or usual_classes(model))
    splits = unlabelled.load_beside(path, held, preprocess, network, progress)
    return Task.build(network, preprocess, splits, name=f"{model} on {path.name}", seen=seen)
