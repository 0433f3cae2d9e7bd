# SPDX-License-Identifier: Apache-2.0
"""Images with masks that are no training data: those that two networks are compared on, and those before them.

DIR/images/*, DIR/masks/*      all of them are the test
DIR/test/..., DIR/val/...      the test, and images that show how large changes are

An .npz file or a packed folder has the same parts. Images for training are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gossamer.data import mask_arrays, mask_folders
from gossamer.data.areas import without_blanks_of
from gossamer.data.images import Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import check_disjoint


def has_masks(path: Path) -> bool:
    """Whether images with masks lie there, in one of the forms that are read."""
    return mask_arrays.is_mask_file(path) or mask_arrays.is_mask_pack(path) or mask_folders.is_mask_folder(path)


def masked(path: Path, preprocess: Preprocess, classes: Sequence[str], overlap: int = 0) -> tuple[Split, Split | None]:
    """The test, and the selection where there is one, of images with masks of these classes."""
    if mask_arrays.is_mask_pack(path):
        splits = mask_arrays.load(path)
        return splits.test, splits.selection
    if mask_arrays.is_mask_file(path):
        given, _ = mask_arrays.as_given(path)
    else:
        size = (preprocess.height, preprocess.width)
        given, _, _ = mask_folders.as_given(
            path, size, overlap=overlap, channels=preprocess.channels, classes=tuple(classes)
        )
    test = given.get("test") or given.get("all")
    if test is None:
        raise ValueError(
            f"expected images to compare the networks on in {path}, test/images and test/masks or images and masks "
            f"alone, got only {', '.join(given)}"
        )
    selection = given.get("val")
    if selection is not None:
        selection = without_blanks_of(selection, test)[0]
        check_disjoint(selection, test)
    return test.renamed("test"), selection if selection else None
