# SPDX-License-Identifier: Apache-2.0
"""Networks with their ImageNet weights, compressed without training data: they are read as they were published."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import imagenet_images, lite0, mobilenetv1
from gossamer.described_task import task_from
from gossamer.zoo import ZOO

DATA = Path(os.environ.get("GOSSAMER_DATA", "/nowhere"))
IMAGES = 12


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with a few pictures and random weights."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    coded = []
    for _ in range(IMAGES):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(file, "JPEG")
        coded.append(file.getvalue())
    for folder in ("imagenet_nips17", "weights/imagenet"):
        (tmp_path / folder).mkdir(parents=True)
    np.savez(
        tmp_path / "imagenet_nips17" / "images.npz",
        jpeg=np.frombuffer(b"".join(coded), np.uint8),
        offsets=np.cumsum([0, *map(len, coded)]),
        labels=900 + np.arange(IMAGES),
    )
    state = ZOO["mobilenetv1_025"](1000).state_dict()
    np.savez(tmp_path / mobilenetv1.WEIGHTS, **{name: value.numpy() for name, value in state.items()})
    monkeypatch.setenv("GOSSAMER_DATA", str(tmp_path))
    return tmp_path


def test_the_task_of_the_command_line_looks_at_no_label_to_train_on(data, monkeypatch):
    monkeypatch.setattr(imagenet_images, "UNLABELLED", 4)
    task = mobilenetv1.task()
    assert (len(task.train), len(task.selection), len(task.test)) == (4, 4, 4)
    assert task.calibration.images.hashes() == task.train.images.hashes()
    values, _ = next(task.numpy_batches(task.train, 4))
    with torch.no_grad():
        assert task.train.labels.tolist() == task.model.eval()(torch.from_numpy(values)).argmax(1).tolist()
    assert sorted([*task.selection.labels, *task.test.labels])[0] >= 900, "their own"
    assert task.preprocess.turned
    assert any("no label was trained on" in note for note in task.notes)


@pytest.mark.parametrize(("module", "right"), [(mobilenetv1, 502), (lite0, 892)], ids=["mobilenetv1", "lite0"])
def test_published_weights_give_the_published_answers(module, right):
    """Of all 1,000 images, as where the weights and the pictures were put together."""
    if not (DATA / module.WEIGHTS).is_file():
        pytest.skip(f"GOSSAMER_DATA has no {module.WEIGHTS}")
    task = task_from(data=f"{module.__file__}:task")
    found, labels = imagenet_images.pictures(DATA)
    pixels = np.stack([task.preprocess.fit(picture) for picture in found])
    with torch.no_grad():
        answers = [
            task.model.eval()(torch.from_numpy(task.preprocess.apply(part))).argmax(1).numpy()
            for part in np.array_split(pixels, 20)
        ]
    assert int((np.concatenate(answers) == labels).sum()) == right
