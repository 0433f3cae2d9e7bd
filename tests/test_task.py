# SPDX-License-Identifier: Apache-2.0
"""Tasks: batches, quality, the checks that the parts fit, and tasks from the words of a command line."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess, preset
from gossamer.data.splits import Splits
from gossamer.described_data import NAMED_FORMS
from gossamer.described_task import task_from
from gossamer.task import Task

PREPROCESS = Preprocess((0.5,) * 3, (0.25,) * 3, 8)


def split_of(count: int, seed: int, name: str, classes: int = 3, size: int = 8) -> Split:
    rng = np.random.default_rng(seed)
    images = ArrayImages(rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8))
    return Split(name, images, rng.integers(0, classes, count))


def splits_of(classes: int = 3, size: int = 8) -> Splits:
    train, selection, test = (
        split_of(count, seed, name, classes, size)
        for count, seed, name in ((50, 1, "train"), (20, 2, "selection"), (21, 3, "test"))
    )
    return Splits(train, selection, test, tuple("abcdefghijkl"[:classes]))


def network(outputs: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs)
    )


def task_of(**fields: Any) -> Task:
    return Task.build(network(), PREPROCESS, splits_of(), name="toy", **fields)


# --- batches


def test_batches_in_order_are_all_examples_normalised() -> None:
    task = task_of()
    images, labels = (torch.cat(parts) for parts in zip(*task.batches(task.test, 8), strict=True))
    expected = PREPROCESS.apply(task.test.images.take(np.arange(21)))
    np.testing.assert_array_equal(images.numpy(), expected)
    assert labels.dtype == torch.int64
    np.testing.assert_array_equal(labels.numpy(), task.test.labels)


def test_runtimes_read_the_same_batches_as_training() -> None:
    task = task_of()
    for (a, labels), (b, targets) in zip(task.numpy_batches(task.test, 6), task.batches(task.test, 6), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b.numpy())
        np.testing.assert_array_equal(labels, targets.numpy())


def test_shuffled_batches_hold_every_example_once_and_follow_the_seed() -> None:
    task = task_of()

    def epoch(seed: int, augment: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        batches = list(task.batches(task.train, 16, generator=generator, augment=augment))
        assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
        images, labels = zip(*batches, strict=True)
        return torch.cat(images), torch.cat(labels)

    in_order = torch.cat([images for images, _ in task.batches(task.train, 16)])
    images, labels = epoch(1)
    assert not torch.equal(images, in_order)
    order = [next(i for i, other in enumerate(in_order) if torch.equal(image, other)) for image in images]
    assert sorted(order) == list(range(50))
    assert task.train.labels is not None
    assert labels.tolist() == task.train.labels[order].tolist()
    assert torch.equal(images, epoch(1)[0])
    assert not torch.equal(images, epoch(2)[0])
    assert torch.equal(epoch(1, augment=True)[0], epoch(1, augment=True)[0])
    assert not torch.equal(epoch(1, augment=True)[0], images)


def test_a_training_batch_of_one_is_left_out() -> None:
    task = task_of()
    generator = torch.Generator().manual_seed(0)
    assert [len(y) for _, y in task.batches(task.train, 7, generator=generator)] == [7] * 7
    assert [len(y) for _, y in task.batches(task.train, 7)] == [7] * 7 + [1]
    assert sum(len(y) for _, y in task.batches(task.train, 1, generator=generator)) == 50


def test_augmentation_needs_a_generator() -> None:
    task = task_of()
    with pytest.raises(ValueError, match="augmentation needs a generator, got None"):
        next(task.batches(task.train, 4, augment=True))


def test_unlabelled_images_have_a_label_that_no_loss_accepts() -> None:
    task = task_of()
    split = Split("unlabelled", task.train.images)
    images, labels = next(task.batches(split, 4))
    assert labels.tolist() == [-1] * 4
    assert next(task.numpy_batches(split, 4))[1].tolist() == [-1] * 4
    with pytest.raises(IndexError):
        task.loss(task.model(images), labels)


# --- quality


def test_right_is_per_example() -> None:
    outputs = np.array([[1, 2, 0], [3, 1, 2], [0, 0, 1], [np.nan, 1, 0], [0, -np.inf, -1]], np.float32)
    right = task_of().quality(outputs, np.array([1, 2, 2, 0, 0]))
    assert right.tolist() == [True, False, True, False, True]
    assert right.dtype == np.bool_


def test_the_loss_is_cross_entropy() -> None:
    loss = task_of().loss(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(np.log(2))


def test_the_example_is_two_preprocessed_images() -> None:
    task = task_of()
    assert task.example.shape == (2, 3, 8, 8)
    assert task.example.dtype == torch.float32
    assert not torch.equal(task.example[0], task.example[1])


# --- building


def test_calibration_is_a_part_of_train() -> None:
    task = task_of()
    assert task.calibration.name == "calibration"
    assert len(task.calibration) == 50
    splits = replace(splits_of(), train=split_of(1200, 1, "train"))
    larger = Task.build(network(), PREPROCESS, splits, name="toy")
    assert len(larger.calibration) == 1000
    assert set(larger.calibration.images.hashes()) < set(larger.train.images.hashes())


def test_calibration_may_be_given_without_labels() -> None:
    given = Split("x", split_of(12, 7, "x").images)
    task = task_of(calibration=given)
    assert (task.calibration.name, len(task.calibration), task.calibration.labels) == ("calibration", 12, None)
    assert task.example.shape == (2, 3, 8, 8)


def test_building_leaves_the_network_as_it_was() -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Task.build(model, PREPROCESS, splits_of(), name="toy")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_seen_is_noted() -> None:
    assert task_of().seen == "train"
    assert "trained on selection or test images" in task_of(seen="all").notes[-1]
    with pytest.raises(ValueError, match="seen must be one of train, all, none, got 'everything'"):
        task_of(seen="everything")


def test_a_task_prints_its_splits() -> None:
    text = str(task_of())
    assert text.startswith("toy: classification, 3 classes, seen: train")
    assert "selection: 20 images 8x8x3" in text


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (replace(PREPROCESS, size=16), r"images must be 16x16 with 3 channels, got 8x8 with 3 in split 'train' of toy"),
        (Preprocess((0.5,), (0.5,), 8, channels=1), "images must be 8x8 with 1 channels, got 8x8 with 3"),
    ],
)
def test_images_must_have_the_size_of_the_preprocessing(preprocess: Preprocess, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Task.build(network(), preprocess, splits_of(), name="toy")


def test_labels_must_be_classes() -> None:
    splits = splits_of()
    assert splits.test.labels is not None
    labels = splits.test.labels.copy()
    labels[5] = 3
    with pytest.raises(ValueError, match=r"labels must be in 0..2 for 3 classes, got 3 for example 5 of 'test' in toy"):
        Task.build(network(), PREPROCESS, replace(splits, test=Split("test", splits.test.images, labels)), name="toy")


def test_splits_must_not_overlap() -> None:
    splits = splits_of()
    leaky = replace(splits, train=splits.test.subset(np.array([4, 2]), "train"))
    with pytest.raises(ValueError, match="splits 'train' and 'test' must not overlap, but 2 images of 'train'"):
        Task.build(network(), PREPROCESS, leaky, name="toy")
    with pytest.raises(ValueError, match="splits 'calibration' and 'selection' must not overlap"):
        task_of(calibration=splits.selection.subset(np.array([0]), "c"))


def test_only_calibration_can_do_without_labels() -> None:
    splits = splits_of()
    with pytest.raises(ValueError, match="split 'test' of toy has no labels; only calibration can do without"):
        Task.build(network(), PREPROCESS, replace(splits, test=Split("test", splits.test.images)), name="toy")


def test_splits_must_not_be_empty() -> None:
    splits = splits_of()
    empty = splits.test.subset(np.array([], np.int64), "test")
    with pytest.raises(ValueError, match="split 'test' of toy is empty"):
        Task.build(network(), PREPROCESS, replace(splits, test=empty), name="toy")


def test_outputs_must_be_classes() -> None:
    with pytest.raises(ValueError, match=r"must give 3 outputs, one per class of toy, got \(2, 5\) for 2 images"):
        Task.build(network(5), PREPROCESS, splits_of(), name="toy")


def test_the_network_must_read_the_images() -> None:
    with pytest.raises(ValueError, match=r"the network cannot read images \(2, 3, 8, 8\)") as raised:
        Task.build(nn.Conv2d(1, 3, 3), PREPROCESS, splits_of(), name="toy")
    assert "\n" not in str(raised.value)


class TwoOutputs(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


def test_the_network_must_return_one_tensor() -> None:
    with pytest.raises(ValueError, match=r"must return one tensor \(N, classes, \.\.\.\), got tuple"):
        Task.build(TwoOutputs(), PREPROCESS, splits_of(), name="toy")


# --- from the words of a command line

OWN = """
import numpy as np
from torch import nn
from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits
from gossamer.described_data import NAMED_FORMS
from gossamer.task import Task

def network(classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, classes))

def task():
    rng = np.random.default_rng(0)
    parts = [Split(n, ArrayImages(rng.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)), np.arange(9) % 3) for n in "abc"]
    return Task.build(network(), Preprocess((0.5,) * 3, (0.5,) * 3, 8), Splits(*parts, ("x", "y", "z")), name="own")

def nothing():
    return None
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    (tmp_path / "own_task.py").write_text(OWN)
    return str(tmp_path / "own_task.py")


def arrays(path: Path, size: int = 32, classes: int = 10) -> str:
    splits = splits_of(classes, size)
    stored: dict[str, Any] = {"classes": np.array(splits.classes)}
    for split in (splits.train, splits.test):
        stored[f"{split.name}_x"], stored[f"{split.name}_y"] = split.images.take(np.arange(len(split))), split.labels
    np.savez(path, **stored)
    return str(path)


def test_arrays_with_a_zoo_network_and_a_preset(tmp_path: Path) -> None:
    data = arrays(tmp_path / "data.npz")
    trained = network_weights(tmp_path)
    task = task_from(data=data, model="resnet20", weights=trained, preset="cifar10", seen="none")
    assert task.preprocess == preset("cifar10")
    assert (task.name, task.seen, len(task.classes)) == ("resnet20 on data.npz", "none", 10)
    assert torch.equal(task.model.state_dict()["linear.bias"], torch.load(trained)["linear.bias"])


def network_weights(folder: Path) -> Path:
    from gossamer.zoo import ZOO

    torch.save(ZOO["resnet20"](10).state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def test_arrays_know_their_size(tmp_path: Path) -> None:
    data = arrays(tmp_path / "data.npz", size=8, classes=3)
    words: dict[str, Any] = {"data": data, "model": "resnet20", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert task_from(**words).preprocess.size == 8
    with pytest.raises(ValueError, match="images must be 16x16 with 3 channels, got 8x8"):
        task_from(**words, size=16)
    assert task_from(data=data, model="resnet20", preset="imagenet").preprocess == replace(preset("imagenet"), size=8)


def test_a_folder_of_images_with_a_torchvision_network(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    rng = np.random.default_rng(0)
    for part, count in (("train", 2), ("val", 4)):
        for of in ("ant", "bee"):
            (tmp_path / part / of).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / of / f"{index}.png")
    task = task_from(data=str(tmp_path), model="torchvision:squeezenet1_1", size=64)
    assert task.classes == ("ant", "bee")
    assert (task.preprocess.mean, task.preprocess.size) == ((0.485, 0.456, 0.406), 64)
    assert "those of torchvision:squeezenet1_1's published weights" in task.notes[-1]
    given = task_from(data=str(tmp_path), model="torchvision:squeezenet1_1", mean=(0.1,) * 3, std=(0.2,) * 3, size=64)
    assert (given.preprocess.mean, given.preprocess.std) == ((0.1,) * 3, (0.2,) * 3)
    assert not any("published" in note for note in given.notes)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ({}, "give --mean, --std, or"),
        ({"mean": (0.5,) * 3}, "give --std, or"),
    ],
)
def test_a_normalisation_that_cannot_be_known_is_asked_for(tmp_path: Path, words: dict[str, Any], asked: str) -> None:
    data = arrays(tmp_path / "data.npz")
    with pytest.raises(ValueError, match=rf"when resnet20 was trained cannot be known; {asked} --preset .* cifar10, "):
        task_from(data=data, model="resnet20", **words)


def test_folders_ask_for_the_size_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give --size, or --preset with one of"):
        task_from(data=str(tmp_path), model="vgg16_bn", mean=(0.5,) * 3, std=(0.5,) * 3)


def test_the_data_of_a_file_bring_their_task(own: str) -> None:
    task = task_from(data=f"{own}:task")
    assert (task.name, task.classes) == ("own", ("x", "y", "z"))
    other = task_from(data=f"{own}:task", model=f"{own}:network")
    assert other.model is not task.model
    assert other.name.startswith(f"{own}:network on ")


def test_weights_reach_the_task_of_a_file(own: str, tmp_path: Path) -> None:
    torch.save({"1.weight": torch.ones(3, 192), "1.bias": torch.zeros(3)}, tmp_path / "w.pt")
    assert task_from(data=f"{own}:task", weights=tmp_path / "w.pt").model.state_dict()["1.weight"].eq(1).all()


@pytest.mark.parametrize(
    ("name", "words", "error", "message"),
    [
        ("nothing", {}, TypeError, "must return a gossamer.Task, got NoneType"),
        ("task", {"preset": "cifar10"}, ValueError, "says itself how images are read and judged; leave out --preset"),
        ("task", {"measure": "iou", "overlap": 8}, ValueError, "leave out --overlap, --measure"),
        ("task", {"model": "resnet21"}, ValueError, "no model is called 'resnet21'"),
    ],
)
def test_a_task_of_a_file_that_does_not_fit(
    own: str, name: str, words: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        task_from(data=f"{own}:{name}", **words)


def test_a_mistyped_network_is_named_before_anything_is_asked_about_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"torchvision has no model 'resnet81'; did you mean torchvision:resnet18"):
        task_from(data=str(tmp_path), model="torchvision:resnet81")


def test_no_pixels_are_not_no_size(tmp_path: Path) -> None:
    data = arrays(tmp_path / "data.npz")
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        task_from(data=data, model="resnet20", preset="cifar10", size=0)


def test_crop_and_interpolation_are_those_of_the_network_or_as_given(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    words: dict[str, Any] = {"data": arrays(tmp_path / "data.npz"), "model": "timm:resnet18"}
    stats: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": 32}
    own = task_from(**words, **stats).preprocess
    assert (own.crop, own.interpolation, own.mean) == (0.95, "bicubic", (0.5,) * 3)
    given = task_from(**words, crop=0.8, interpolation="lanczos").preprocess
    assert (given.crop, given.interpolation) == (0.8, "lanczos")


def test_a_class_that_a_split_lacks_is_noted() -> None:
    splits = splits_of()
    labels = splits.test.labels
    assert labels is not None
    test = splits.test.subset(np.flatnonzero(labels != 2), "test")
    task = Task.build(network(), PREPROCESS, replace(splits, test=test), name="toy")
    assert task.notes == ("split 'test' has no image of class 'c': nothing is known about it there",)
    assert task_of().notes == ()


def test_an_error_in_the_networks_forward_names_the_line() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return {}["head"](x)  # type: ignore[no-any-return]

    message = r"the network cannot read images \(2, 3, 8, 8\): KeyError: 'head' at test_task.py:\d+; check --size"
    with pytest.raises(ValueError, match=message):
        Task.build(Broken(), PREPROCESS, splits_of(), name="toy")


def test_a_network_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no network given; --model is a zoo name"):
        task_from(data=str(tmp_path), preset="cifar10")


@pytest.mark.parametrize(
    ("data", "message"), [("gone.npz", "there is no file gone.npz"), ("gone", "there is no folder gone")]
)
def test_missing_data_are_named(data: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task_from(data=data, model="resnet20", preset="cifar10")


def test_named_forms_of_data_get_their_folder(monkeypatch):
    loaded = []
    for form in NAMED_FORMS:
        monkeypatch.setitem(NAMED_FORMS, form, lambda path, form=form: loaded.append((form, path)) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            task_from(data=f"{form}:there", model="resnet20", preset="cifar10")
    assert loaded == [(form, Path("there")) for form in NAMED_FORMS]
