# SPDX-License-Identifier: Apache-2.0
"""`gossamer certify` where pixels have classes: the certificate that the qualities of both networks give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gossamer.certify import BETTING, Certificate, recheck
from gossamer.certify.betting import Differences, wager
from gossamer.cli import main
from gossamer.data.images import ArrayImages, Split
from gossamer.data.loose_masks import has_masks, masked
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits
from gossamer.graph import trace
from gossamer.kinds.segmentation import Segmentation
from gossamer.measure import on_board
from gossamer.measure.quality import qualities
from gossamer.plan import Plan
from gossamer.runtime.export import export_onnx
from gossamer.search.candidate import write_network
from gossamer.task import Task
from tests.conftest import Threshold

SIDE = 16
PARTS = {"train": 4, "val": 60, "test": 90}


def noisy(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 16, 16, 3) and masks (N, 16, 16): what is brighter than 100, but for a tenth of the pixels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 200, (n, SIDE, SIDE, 3), dtype=np.uint8)
    masks = ((images[..., 0] > 100) ^ (rng.random((n, SIDE, SIDE)) < 0.1)).astype(np.uint8)
    return images, masks


@pytest.fixture(scope="module")
def task() -> Task:
    splits = []
    for seed, (name, n) in enumerate(PARTS.items()):
        images, masks = noisy(n, seed)
        splits.append(Split(name, ArrayImages(images), masks=ArrayImages(masks[..., None])))
    preprocess = Preprocess((0.0,) * 3, (1 / 255,) * 3, SIDE)
    classes = ("ground", "road")
    return Task.build(
        Threshold(100), preprocess, Splits(*splits, classes), name="net on noise", kind=Segmentation("dice")
    )


@pytest.fixture(scope="module")
def place(task, tmp_path_factory) -> Path:
    """original.onnx, a model.gossamer that answers a little otherwise, and the images as files and as arrays."""
    folder = tmp_path_factory.mktemp("masks")
    (folder / "original.onnx").write_bytes(export_onnx(Threshold(100).eval(), task.example))
    write_network(folder, trace(Threshold(110).eval(), task.example), Plan(), task)
    arrays = {}
    for seed, (name, n) in enumerate(PARTS.items()):
        images, masks = noisy(n, seed)
        arrays |= {f"{name}_images": images, f"{name}_masks": masks, f"{name}_areas": np.arange(n) // 5}
        for of, pixels in (("images", images), ("masks", masks)):
            (folder / "tree" / name / of).mkdir(parents=True)
            for index, one in enumerate(pixels):
                Image.fromarray(one).save(folder / "tree" / name / of / f"{index}.png")
    np.savez(folder / "data.npz", **arrays)
    return folder


def certify(place: Path, out: Path, *words: str) -> int:
    line = ["certify", str(place / "original.onnx"), str(place / "model.gossamer"), "--tolerance", "30", "--quiet"]
    return main([*line, "--out", str(out), "--ledger", str(out / "ledger.json"), *words])


def written(out: Path) -> Certificate:
    return Certificate.from_json(json.loads((out / "certificate.json").read_text()))


@pytest.mark.parametrize("data", ["tree", "data.npz"])
def test_it_is_what_the_qualities_of_both_files_give(data, task, place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gossamer.certify.usual_wager", None)  # there is a selection, which settles it
    assert certify(place, tmp_path, "--data", str(place / data), "--measure", "dice") == 0
    made = written(tmp_path)
    models = [(place / "original.onnx").read_bytes(), export_onnx(Threshold(110).eval(), task.example)]
    before, after = (qualities(task, task.test, model) for model in models)
    decided = np.subtract(*(qualities(task, task.selection, model) for model in models))
    expected = Differences.of(before, after, wager(decided, PARTS["test"], made.alpha))
    assert (made.method, made.measure, made.n) == (BETTING, "Dice", PARTS["test"])
    assert (made.differences, made.wager) == (expected.steps, expected.wager)
    assert made.b > 50, "the pair must differ, or nothing is tested"
    assert recheck(made) == []
    said = capsys.readouterr().out
    assert "Proven: a drop in Dice below 30 points" in said
    assert f"90 images: {made.b} worse, {made.c} better in Dice" in said
    assert "IoU of all pixels: " in said
    assert ("10,000 resamples of 18 areas" in said) == (data == "data.npz"), "files are areas of their own"


def test_images_alone_are_all_the_test_and_another_measure_is_another_look(place, tmp_path):
    alone = place / "tree" / "test"
    assert has_masks(alone)
    assert not has_masks(place)
    assert certify(place, tmp_path, "--data", str(alone), "--measure", "iou") == 0
    first = written(tmp_path)
    assert (first.n, first.look, first.measure) == (PARTS["test"], 1, "IoU")
    assert 0 < first.wager < 1, "settled without any image"
    assert certify(place, tmp_path, "--data", str(alone), "--measure", "iou") == 0
    assert written(tmp_path) == first, "the same question again is the same look"
    assert certify(place, tmp_path, "--data", str(alone), "--measure", "accuracy") == 0
    assert (written(tmp_path).look, written(tmp_path).measure) == (2, "pixel accuracy")


def test_larger_pictures_are_cut_into_tiles(task, tmp_path):
    for of, mode in (("images", "RGB"), ("masks", "L")):
        (tmp_path / of).mkdir()
        Image.new(mode, (40, 20)).save(tmp_path / of / "one.png")
    test, selection = masked(tmp_path, task.preprocess, task.classes, overlap=4)
    assert (len(test), selection) == (2 * 3, None)
    assert test.areas.tolist() == [0] * 6


def test_what_cannot_be_certified_is_one_sentence(place, tmp_path, capsys):
    pictures = place / "tree" / "test" / "images"
    assert certify(place, tmp_path, "--unlabelled", str(pictures)) == 1
    message = "expected networks that give an image one class, got one that gives each pixel a class in"
    assert message in capsys.readouterr().err
    (tmp_path / "classes" / "road").mkdir(parents=True)
    (tmp_path / "classes" / "road" / "a.png").write_bytes((pictures / "0.png").read_bytes())
    assert certify(place, tmp_path, "--data", str(tmp_path / "classes")) == 1
    assert message in capsys.readouterr().err
    assert certify(place, tmp_path, "--data", str(place / "tree" / "val")) == 0, "a folder of images is a test"
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "train").symlink_to(place / "tree" / "train")
    assert certify(place, tmp_path, "--data", str(tmp_path / "only")) == 1
    assert "or images and masks alone, got only train" in capsys.readouterr().err


def test_selection_and_test_share_no_image(place, tmp_path, capsys):
    with np.load(place / "data.npz") as pack:
        arrays = dict(pack)
    arrays["val_images"][0] = arrays["test_images"][3]
    np.savez(tmp_path / "shared.npz", **arrays)
    assert certify(place, tmp_path, "--data", str(tmp_path / "shared.npz")) == 1
    assert (
        "splits 'val' and 'test' must not overlap, but 1 images of 'val' are also in 'test'" in capsys.readouterr().err
    )


def test_answers_of_a_bundle_are_maps_and_one_pixel_makes_another_image(place, tmp_path):
    bundle = tmp_path / "bundle"
    line = ["bench", str(place / "original.onnx"), str(place / "model.gossamer"), "--bundle", str(bundle)]
    assert main([*line, "--data", str(place / "tree" / "train" / "images"), "--batch-size", "3"]) == 0
    listed = json.loads((bundle / "bundle.json").read_text())
    with np.load(bundle / "images.npz") as pack:
        arrays = dict(pack)
    assert arrays["answers of original.onnx"].shape == (4, SIDE, SIDE)
    found = on_board.measure(bundle, listed, rounds=2, threads=1)
    assert {row["different_answers"] for row in found["networks"].values()} == {0}
    arrays["answers of model.gossamer"][2, 0, :2] ^= 1
    np.savez(bundle / "images.npz", **arrays)
    found = on_board.measure(bundle, listed, rounds=2, threads=1)
    assert found["networks"]["model.gossamer"]["different_answers"] == 1


def test_several_scores_a_pixel_are_counted_alike_there():
    outputs = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    assert (on_board._classes(outputs) == outputs.argmax(1)).all()
    assert on_board._classes(outputs[:, :1]).tolist() == (outputs[:, 0] > 0).astype(int).tolist()
