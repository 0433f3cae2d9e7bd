# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes.

Source: Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University
of Toronto, 2009.

Networks published for CIFAR-10 were trained on all 50,000 training images, so decisions are taken on one
half of the official test set and the certificate is made on the other. No image of the test set is, pixel
by pixel, in the training set.
"""

from __future__ import annotations

from pathlib import Path

from gossamer.data.arrays import check_labels, join, read
from gossamer.data.images import Split
from gossamer.data.splits import Splits, halves

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load(folder: Path) -> Splits:
    """CIFAR-10 from `folder`: test.npz and any of train_1.npz ... train_5.npz (10,000 images each)."""
    shards = [file for i in range(1, 6) if (file := folder / f"train_{i}.npz").exists()]
    if not shards or not (folder / "test.npz").exists():
        raise ValueError(f"expected test.npz and at least one of train_1.npz ... train_5.npz in {folder}")
    train = join([_shard(file) for file in shards], "train")
    whole = join([_shard(folder / "test.npz")], "test")
    for split in (train, whole):
        check_labels(split, len(CLASSES), str(folder))
    selection, test = halves(whole)
    notes = (
        f"selection and test are the two halves of {folder / 'test.npz'}, by content hash: "
        f"{len(selection):,} and {len(test):,} images",
    )
    return Splits(train, selection, test, CLASSES, notes)


def _shard(file: Path) -> Split:
    splits = read(file)
    if "all" not in splits:
        raise ValueError(f"expected one unnamed split in {file}, got {sorted(splits)}; use {file} as --data itself")
    return splits["all"]
