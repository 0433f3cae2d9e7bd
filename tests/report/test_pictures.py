# SPDX-License-Identifier: Apache-2.0
"""Pictures of test images: the right ones, with the colours of the classes, small, and the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits
from gossamer.device.masks import palette
from gossamer.report.mask_pictures import BETTER, WORSE, WRONG, difference
from gossamer.report.pictures import chosen_examples, draw
from gossamer.runtime.export import export_onnx
from gossamer.task import Task
from tests.conftest import Threshold


@pytest.fixture(scope="module")
def task() -> Task:
    """Noise of three steps; the truth is where it is brighter than 100."""
    splits = []
    for seed, name in enumerate(("train", "selection", "test")):
        rng = np.random.default_rng(seed)
        images = rng.choice(np.array([20, 120, 220], np.uint8), (5, 24, 40, 1)).repeat(3, axis=3)
        splits.append(Split(name, ArrayImages(images), masks=ArrayImages((images[..., :1] > 100).astype(np.uint8))))
    preprocess = Preprocess((0.0,) * 3, (1 / 255,) * 3, (24, 40))
    return Task.build(Threshold(100), preprocess, Splits(*splits, ("ground", "road")), name="net on streets")


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_images_are_those_with_the_largest_changes() -> None:
    before = np.array([0.5, 0.9, 0.5, 0.5, 0.2])
    after = np.array([0.4, 0.1, 0.5, 0.6, 0.9])
    assert chosen_examples(before, after) == {"largest drop": 1, "median change": 2, "largest gain": 4}
    assert chosen_examples(before[:1], after[:1]) == {"largest drop": 0}
    right = np.array([True, True, False])
    assert chosen_examples(right, np.array([True, False, True])) == {
        "largest drop": 1,
        "median change": 0,
        "largest gain": 2,
    }


def test_a_difference_is_told_from_the_truth() -> None:
    image = np.full((1, 5, 3), 100, np.uint8)
    truth, before, after = (np.array([row], np.uint8) for row in ([1, 1, 0, 2, 1], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]))
    assert difference(image, truth, before, after)[0].tolist() == [
        [20, 20, 20],
        list(WORSE),
        list(BETTER),
        list(WRONG),
        [20, 20, 20],
    ]


def test_panels_have_the_colours_of_the_classes(task: Task, tmp_path: Path) -> None:
    before = np.array([0.9, 0.9, 0.9, 0.9, 0.9])
    after = np.array([0.5, 0.8, 0.9, 0.9, 1.0])
    models = tuple(export_onnx(Threshold(limit).eval(), task.example) for limit in (100, 200))
    shown, legend = draw(task, before, after, models, "onnxruntime", tmp_path)
    assert [(one.which, one.original, one.compressed) for one in shown] == [
        ("largest drop", 0.9, 0.5),
        ("median change", 0.9, 0.9),
        ("largest gain", 0.9, 1.0),
    ]
    assert [swatch.name for swatch in legend] == [
        "ground",
        "road",
        "turned wrong",
        "turned right",
    ]
    assert legend[1].colour == "#e69f00"
    image = task.test.images.take(np.array([0]))[0]
    scale = 3  # 40 pixels become 120: as many times as fit into the least that is drawn
    panels = {panel.name: read(tmp_path / panel.file) for panel in shown[0].panels}
    assert list(panels) == ["image", "truth", "before", "after", "difference"]
    assert panels["image"].shape == (24 * scale, 40 * scale, 3)
    assert (panels["image"][::scale, ::scale] == image).all()
    for name, limit in (("truth", 100), ("before", 100), ("after", 200)):
        assert (panels[name][::scale, ::scale] == palette()[(image[..., 0] > limit).astype(int)]).all()
    lost = image[..., 0] == 120
    assert ((panels["difference"][::scale, ::scale] == WORSE).all(axis=2) == lost).all()
    again = draw(task, before, after, models, "onnxruntime", tmp_path / "again")
    assert again == (shown, legend)
    assert (tmp_path / "again" / shown[0].panels[4].file).read_bytes() == (
        tmp_path / shown[0].panels[4].file
    ).read_bytes()


def test_pictures_stay_small(task: Task, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 600, 300, 3), dtype=np.uint8)
    large = Split("test", ArrayImages(images), masks=ArrayImages(rng.integers(0, 2, (2, 600, 300, 1), dtype=np.uint8)))
    wide = replace(task, test=large, preprocess=replace(task.preprocess, size=(600, 300)))
    model = export_onnx(Threshold(100).eval(), torch.zeros(2, 3, 600, 300))
    shown, _ = draw(wide, np.zeros(2), np.array([0.0, 0.1]), (model, model), "onnxruntime", tmp_path)
    for panel in shown[0].panels:
        path = tmp_path / panel.file
        assert read(path).shape == (256, 128, 3)
        assert path.stat().st_size < 100_000, "noise is the worst that there is"


def test_kinds_that_nobody_draws_have_no_pictures(make_task, tmp_path: Path) -> None:
    right = np.array([True, False])
    assert draw(make_task(), right, right, (b"", b""), "onnxruntime", tmp_path) == ((), ())
    assert not list(tmp_path.iterdir())
