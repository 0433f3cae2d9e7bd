# SPDX-License-Identifier: Apache-2.0
"""MNIST: selection comes out of the training set, and the notes say how much of the test set is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gossamer.data import mnist
from gossamer.data.splits import check_disjoint
from gossamer.described_task import task_from


def pack(folder: Path, train: int = 50, test: int = 30, **replaced) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for name, count in (("train", train), ("test", test)):
        arrays[f"{name}_x"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{name}_y"] = np.arange(count, dtype=np.uint8) % 10
    np.savez(folder / "mnist.npz", **(arrays | replaced))


def test_selection_is_held_out_of_the_training_set(tmp_path):
    pack(tmp_path)
    splits = mnist.load(tmp_path)
    assert [(s.name, len(s)) for s in (splits.train, splits.selection, splits.test)] == [
        ("train", 40),
        ("selection", 10),
        ("test", 30),
    ]
    check_disjoint(splits.train, splits.selection, splits.test)
    assert splits.notes == (
        "selection is 10 images of the training set, chosen by content hash and not trained on; "
        "test is 30 of the 10,000 test images of MNIST",
    )


def test_the_whole_test_set_is_called_so(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "OFFICIAL_TEST", 30)
    pack(tmp_path)
    assert mnist.load(tmp_path).notes[0].endswith("test is all test images of MNIST")


def test_it_is_a_named_form(tmp_path):
    pack(tmp_path)
    task = task_from(data=f"mnist:{tmp_path}", model="lenet300100", preset="mnist")
    assert task.example.shape == (2, 1, 28, 28)
    assert len(task.test) == 30


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected mnist.npz in .*, with train_x, .*; it is not there"):
        mnist.load(tmp_path)
    np.savez(tmp_path / "mnist.npz", images=np.zeros((4, 28, 28), np.uint8), labels=np.arange(4))
    with pytest.raises(ValueError, match=r"expected the splits train and test in .*, got \['all'\]; rename its arrays"):
        mnist.load(tmp_path)
    pack(tmp_path, test_y=np.full(30, 10, np.uint8))
    with pytest.raises(ValueError, match=r"labels must be in 0..9 for 10 classes, got 10 for example 0 of 'test'"):
        mnist.load(tmp_path)
