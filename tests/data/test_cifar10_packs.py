# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 in packs of 10,000: any training shards, and the test set in two halves."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gossamer.data import cifar10
from gossamer.data.splits import check_disjoint


def pack(path: Path, count: int, seed: int, labels: int = 10) -> np.ndarray:
    images = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(images.reshape(-1, 32, 3)).save(buffer, "webp", lossless=True)
    np.savez(path, webp_00=np.frombuffer(buffer.getvalue(), np.uint8), labels=np.arange(count) % labels)
    return images


def test_any_shards_join_in_order_and_the_test_set_is_halved(tmp_path: Path) -> None:
    shards = [pack(tmp_path / f"train_{i}.npz", 20, i) for i in (2, 5)]
    pack(tmp_path / "test.npz", 40, 9)
    splits = cifar10.load(tmp_path)
    np.testing.assert_array_equal(splits.train.images.take(np.arange(40)), np.concatenate(shards))
    assert (len(splits.selection), len(splits.test)) == (20, 20)
    check_disjoint(splits.train, splits.selection, splits.test)
    assert splits.classes[0] == "airplane"
    assert len(splits.classes) == 10
    assert "20 and 20 images" in splits.notes[0]


def test_for_a_network_trained_here_selection_comes_out_of_the_training_set(tmp_path: Path) -> None:
    pack(tmp_path / "train_1.npz", 50, 1)
    test = pack(tmp_path / "test.npz", 40, 9)
    splits = cifar10.load_held_out(tmp_path)
    assert (len(splits.train), len(splits.selection), splits.selection.name) == (40, 10, "selection")
    np.testing.assert_array_equal(splits.test.images.take(np.arange(40)), test)
    check_disjoint(splits.train, splits.selection, splits.test)
    assert splits.notes == (
        "selection is 10 images of the training set, chosen by content hash and not trained on; "
        "test is the whole test set, 40 images",
    )


@pytest.mark.parametrize("missing", ["train_1.npz", "test.npz"])
def test_both_kinds_of_files_are_needed(tmp_path: Path, missing: str) -> None:
    for name in {"train_1.npz", "test.npz"} - {missing}:
        pack(tmp_path / name, 2, 0)
    with pytest.raises(ValueError, match=r"expected test.npz and at least one of train_1.npz ... train_5.npz in"):
        cifar10.load(tmp_path)


def test_labels_of_another_data_set_are_refused(tmp_path: Path) -> None:
    pack(tmp_path / "train_1.npz", 20, 1, labels=12)
    pack(tmp_path / "test.npz", 4, 2)
    with pytest.raises(ValueError, match=r"labels must be in 0..9 for 10 classes, got 10 for example 10 of 'train'"):
        cifar10.load(tmp_path)


def test_arrays_of_another_layout_are_refused(tmp_path: Path) -> None:
    images = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "train_1.npz", train_x=images, train_y=np.arange(4))
    pack(tmp_path / "test.npz", 4, 2)
    with pytest.raises(ValueError, match=r"expected one unnamed split in .*train_1.npz, got \['train'\]"):
        cifar10.load(tmp_path)
