# SPDX-License-Identifier: Apache-2.0
"""Pictures without labels: the original's answers are the right ones, and all else works as elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import gossamer
from gossamer.described_task import task_from
from gossamer.goal import Goal
from gossamer.search.settings import Settings


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


WORDS = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "size": 8}


def held_out(folder, form, make_task):
    """The selection and test images of the small task, as users keep them."""
    task = make_task()
    images = {split: split.images.take(np.arange(len(split))) for split in (task.selection, task.test)}
    folder.mkdir()
    if form == "arrays":
        (selection, x), (test, y) = images.items()
        path = folder / "held-out.npz"
        np.savez(path, val_images=x, val_labels=selection.labels, test_images=y, test_labels=test.labels)
        return path
    for split, name in zip(images, ("val", "test"), strict=True):
        for number, (image, label) in enumerate(zip(images[split], split.labels, strict=True)):
            place = folder / name / f"{label}-quadrant"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number}.png")
    return folder


@pytest.mark.parametrize("form", ["arrays", "folders"])
def test_pictures_without_labels_tune_and_labelled_ones_decide_and_prove(tmp_path, trained, make_task, form):
    folder, small = tmp_path / "pictures", make_task()
    folder.mkdir()
    for number, image in enumerate(small.train.images.take(np.arange(300))):
        Image.fromarray(image).save(folder / f"{number}.png")
    labelled = held_out(tmp_path / "labelled", form, make_task)
    model, weights = f"{trained / 'net.py'}:SmallNet", trained / "weights.safetensors"
    task = task_from(data=f"unlabelled:{folder}", labelled=labelled, model=model, weights=weights, **WORDS)
    assert task.kind == "classification"
    assert (len(task.train), len(task.calibration), len(task.selection), len(task.test)) == (300, 300, 600, 600)
    assert sorted(task.test.labels.tolist()) == sorted(small.test.labels.tolist()), "the true labels"
    with torch.no_grad():
        values, _ = next(task.numpy_batches(task.train, 300))
        answers = task.model.eval()(torch.from_numpy(values)).argmax(1)
    assert task.train.labels.tolist() == answers.tolist()
    assert task.classes == (tuple("0123") if form == "arrays" else tuple(f"{n}-quadrant" for n in range(4)))
    (note,) = [note for note in task.notes if "no label was trained on" in note]
    assert "300 images" in note
    assert "600 images that decide and the 600 that prove" in note


def test_one_labelled_part_is_halved_and_a_part_to_train_on_is_refused(tmp_path, trained, pictures, make_task):
    model, weights = f"{trained / 'net.py'}:SmallNet", trained / "weights.safetensors"
    with np.load(trained / "data.npz") as pack:
        np.savez(tmp_path / "one.npz", images=pack["test_images"], labels=pack["test_labels"])
    task = task_from(
        data=f"unlabelled:{pictures}", labelled=tmp_path / "one.npz", model=model, weights=weights, **WORDS
    )
    assert (len(task.selection), len(task.test)) == (300, 300)
    assert any("one.npz came as one part: halved" in note for note in task.notes)
    with pytest.raises(ValueError, match=r"expected only images that are held out in .*data\.npz.*, got 'train' too"):
        task_from(data=f"unlabelled:{pictures}", labelled=trained / "data.npz", model=model, weights=weights, **WORDS)


def test_labelled_pictures_go_with_unlabelled_ones_alone(trained):
    with pytest.raises(ValueError, match=r"expected --labelled beside unlabelled:FOLDER alone, got it with x\.npz"):
        task_from(data="x.npz", labelled="y.npz", model=f"{trained / 'net.py'}:SmallNet")
