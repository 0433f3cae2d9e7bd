# SPDX-License-Identifier: Apache-2.0
"""Images with boxes, in whatever form they lie there: a PASCAL VOC folder, COCO, arrays.

To train and decide on, `annotated.arrange_boxes` makes splits of what a reader gives. To compare two networks on, all
of them are the test, or those of a part of that name; images for training are left alone (`compared`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gossamer.data import box_arrays, box_folders, coco
from gossamer.data.annotated import Given
from gossamer.data.folder import Progress
from gossamer.data.images import Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import check_disjoint

Reader = Callable[[Path, Preprocess, tuple[str, ...] | None, Progress | None], Given]


def reader_of(path: Path) -> Reader | None:
    """What reads images with boxes from here; None where there are none."""
    if box_arrays.is_box_file(path):
        return box_arrays.as_given
    if coco.is_coco(path):
        return coco.as_given
    return box_folders.as_given if box_folders.is_box_folder(path) else None


def compared(
    path: Path, preprocess: Preprocess, classes: Sequence[str], progress: Progress | None = None
) -> tuple[Split, Split | None]:
    """The test, and the selection where there is one, of images with objects of these classes."""
    read = reader_of(path)
    if read is None:
        raise ValueError(f"expected images with boxes in {path}: a PASCAL VOC folder, COCO, or arrays; found none")
    given = read(path, preprocess, tuple(classes), progress)
    test, selection = given.parts.get("test") or given.parts.get("all"), given.parts.get("val")
    if test is None:
        raise ValueError(
            f"expected images to compare the networks on in {path}, a test or images of no part, got only "
            f"{', '.join(given.parts)}"
        )
    if selection is not None:
        check_disjoint(selection, test)
    return test.renamed("test"), selection
