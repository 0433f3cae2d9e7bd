# SPDX-License-Identifier: Apache-2.0
"""Pictures without labels: the original's answers are the right ones, and all else works as elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import gossamer
from gossamer.described_task import task_from
from gossamer.goal import Goal
from gossamer.search.run import Settings


@pytest.fixture
def pictures(tmp_path, make_task):
    """The images of the small task as loose files."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    task = make_task()
    for split in (task.train, task.selection):
        for number, image in enumerate(split.images.take(np.arange(len(split)))):
            Image.fromarray(image).save(folder / f"{split.name}{number}.png")
    return folder


def test_agreement_is_promised_and_proven(pictures, trained, tmp_path, make_task):
    words = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "size": 8}
    model, weights = f"{trained / 'net.py'}:SmallNet", trained / "weights.safetensors"
    task = task_from(data=f"unlabelled:{pictures}", model=model, weights=weights, **words)
    assert task.kind == "agreement"
    assert len(task.classes) == 4
    assert sum(len(split) for split in (task.train, task.selection, task.test)) == 984
    settings = Settings(epochs=2, batch_size=64, augment=False)
    result = gossamer.compress(task, Goal(0.05), out=tmp_path / "run", settings=settings, ledger=tmp_path / "l.json")
    assert result.report.original.quality == 1.0
    assert result.certificate.proven
    assert result.certificate.c == 0, "where the original is right by definition, nothing can get better"
    assert any("has no labels" in note for note in result.report.notes)
    page = (result.folder / "report.html").read_text()
    assert "agreement with the original" in page
    true = make_task()
    drop = _accuracy(true, result.folder / "original.onnx") - _accuracy(true, result.folder / "model.onnx")
    assert drop <= result.certificate.guaranteed


def _accuracy(task, path):
    from gossamer.measure.quality import qualities

    return qualities(task, task.test, path.read_bytes()).mean()


def test_an_empty_folder_is_said(tmp_path, trained):
    with pytest.raises(ValueError, match="expected pictures in"):
        task_from(data=f"unlabelled:{tmp_path}", model=f"{trained / 'net.py'}:SmallNet", preset="cifar10")
