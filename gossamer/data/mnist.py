# SPDX-License-Identifier: Apache-2.0
"""MNIST: handwritten digits, grey images of 28x28 pixels in ten classes.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 86 (1998).

5,000 of the 60,000 training images are held out for decisions: what is compressed is trained here, on the others. The
test split is what the file has of the 10,000 test images. They are not in random order, so that errors on a part of
them compare with errors on the same part only.
"""

from __future__ import annotations

from pathlib import Path

from gossamer.data.arrays import check_labels, read
from gossamer.data.splits import Splits, hold_out_selection

CLASSES = tuple("0123456789")
OFFICIAL_TEST = 10_000


def load(folder: Path) -> Splits:
    """MNIST from `folder`: mnist.npz with train_x, train_y, test_x and test_y, images uint8 (N, 28, 28)."""
    file = folder / "mnist.npz"
    if not file.exists():
        raise ValueError(f"expected mnist.npz in {folder}, with train_x, train_y, test_x and test_y; it is not there")
    given = read(file)
    if not {"train", "test"} <= given.keys():
        raise ValueError(f"expected the splits train and test in {file}, got {sorted(given)}; rename its arrays")
    for name in ("train", "test"):
        check_labels(given[name], len(CLASSES), str(file))
    train, selection, note = hold_out_selection(given["train"])
    test = given["test"].renamed("test")
    part = "all" if len(test) == OFFICIAL_TEST else f"{len(test):,} of the {OFFICIAL_TEST:,}"
    return Splits(train, selection, test, CLASSES, (f"{note}; test is {part} test images of MNIST",))
