# SPDX-License-Identifier: Apache-2.0
"""Pictures and the objects in them, packed in one .npz file.

    jpeg, offsets   the bytes of all pictures, of any size: picture i from offsets[i] to offsets[i + 1]
    images          or uint8 (N, H, W, 3) or (N, H, W), all of one size
    boxes           (M, 5): image, x1, y1, x2, y2, relative to the picture; or (M, 7): the same, class, difficult
    test, val       bool (N,), where there are held-out images
    classes         names, where there are any

With `test` alone, the test set stays whole and selection is held out of training; without it, images are cut by content
hash. All images are in memory, squeezed to one size.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gossamer.data.annotated import Given, chosen_classes, remark_on_boxes
from gossamer.data.arrays import read_npz
from gossamer.data.boxes import Boxes, inside
from gossamer.data.folder import Progress
from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess

if TYPE_CHECKING:
    from PIL import Image

Arrays = Mapping[str, NDArray[np.generic]]
Numbers = NDArray[np.float64]
REPORTED = 64  # pictures decoded between two reports of progress
IMAGE, CLASS = 0, 5  # columns of the boxes in the file
BARE, FULL = 5, 7  # how many there are
ONLY_CLASS = ("object",)
ROUNDING = 0.01  # of a side, that a box may reach out without a word


def is_box_file(path: Path) -> bool:
    """Whether a file is an .npz with boxes."""
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return "boxes.npy" in file.namelist()


def as_given(
    path: Path, preprocess: Preprocess, classes: tuple[str, ...] | None = None, progress: Progress | None = None
) -> Given:
    """Images with boxes from such a file, in their parts; whole pictures, squeezed to the size of `preprocess`.

    `classes`: where the file names its classes, only objects of these, numbered in this order; where it does not, the
    names of its classes, "object" if there is one. Raises ValueError where arrays are missing or do not fit.
    """
    arrays = read_npz(path)
    pixels = _pixels(arrays, preprocess, path, progress)
    found = _boxes(arrays, len(pixels), path)
    names, found = _of_classes(found, arrays, classes, path)
    rows, kept = inside(found[:, 1:])
    corners = found[:, 1:CLASS]
    reaching = ((corners < -ROUNDING) | (corners > 1 + ROUNDING)).any(1)
    notes = tuple(remark_on_boxes(int((reaching & kept).sum()), int((~kept).sum()), str(path)))
    starts = np.searchsorted(found[kept, IMAGE], np.arange(len(pixels) + 1)).astype(np.int64)
    whole = Split("all", ArrayImages(pixels), boxes=Boxes(rows, starts))
    return Given(_parts(whole, arrays, path), names, str(path), notes)


def _parts(whole: Split, arrays: Arrays, path: Path) -> dict[str, Split]:
    """The images that are held out, and the others as "train"; all of them as "all" where none are."""
    left = np.ones(len(whole), np.bool_)
    given: dict[str, Split] = {}
    for name in ("val", "test"):
        if name not in arrays:
            continue
        given_as = arrays[name]
        if given_as.dtype != np.bool_ or given_as.shape != (len(whole),):
            raise ValueError(f"{name} in {path} must be bool ({len(whole)},), got {given_as.dtype} {given_as.shape}")
        held = given_as.astype(np.bool_, copy=False)
        if not held.any() or not left[held].all() or not (left & ~held).any():
            raise ValueError(
                f"{name} in {path} must hold out some images, but not all, and none twice, got {int(held.sum())} of "
                f"{len(whole)}"
            )
        given[name] = whole.subset(np.flatnonzero(held), name)
        left &= ~held
    if not given:
        return {"all": whole}
    return given | {"train": whole.subset(np.flatnonzero(left), "train")}


def _boxes(arrays: Arrays, count: int, path: Path) -> Numbers:
    """Image, x1, y1, x2, y2, class, difficult, (M, 7), in the order of images; not yet cut at the borders."""
    boxes = _array(arrays, "boxes", path)
    if boxes.dtype.kind not in "fui" or boxes.ndim != 2 or boxes.shape[1] not in (BARE, FULL):
        raise ValueError(
            f"boxes in {path} must be numbers (M, 5), image, x1, y1, x2, y2, or (M, 7), the same, class, difficult, "
            f"got {boxes.dtype} {boxes.shape}"
        )
    rows = np.zeros((len(boxes), FULL))
    rows[:, : boxes.shape[1]] = boxes
    good = np.isfinite(rows).all(1) & (rows[:, IMAGE] >= 0) & (rows[:, IMAGE] < count) & (rows[:, CLASS] >= 0)
    good &= (rows[:, [IMAGE, CLASS]] == np.floor(rows[:, [IMAGE, CLASS]])).all(1)
    good &= np.isin(rows[:, FULL - 1], (0, 1))
    if not good.all():
        which = int(np.flatnonzero(~good)[0])
        raise ValueError(
            f"boxes in {path} must be of an image in 0..{count - 1}, with finite corners, a class from 0 on and "
            f"difficult 0 or 1, got {rows[which].tolist()} in row {which}"
        )
    return rows[np.argsort(rows[:, IMAGE], kind="stable")]


def _of_classes(
    rows: Numbers, arrays: Arrays, asked: tuple[str, ...] | None, path: Path
) -> tuple[tuple[str, ...], Numbers]:
    """The names of the classes, and the rows that are of these, numbered by them."""
    if not len(rows):
        raise ValueError(f"boxes in {path} must name at least one object, got none")
    needed = 1 + int(rows[:, CLASS].max())
    if "classes" in arrays:
        in_file = tuple(map(str, arrays["classes"].reshape(-1).tolist()))
        names = chosen_classes(asked, in_file, str(path))
    else:
        in_file = names = asked or (ONLY_CLASS if needed == 1 else tuple(map(str, range(needed))))
    if len(set(in_file)) < len(in_file) or len(in_file) < needed:
        raise ValueError(f"expected {needed} names of classes for the boxes in {path}, each once, got {list(in_file)}")
    number = np.array([names.index(name) if name in names else -1 for name in in_file])[rows[:, CLASS].astype(np.int64)]
    rows[:, CLASS] = number
    return names, rows[number >= 0]


def _pixels(arrays: Arrays, preprocess: Preprocess, path: Path, progress: Progress | None) -> NDArray[np.uint8]:
    """Every picture squeezed to one size, (N, H, W, C); Pillow frees the lock, so threads help."""
    count, decode = _packed(arrays, path) if "jpeg" in arrays else _plain(arrays, path)
    channels, height, width = preprocess.shape
    pixels = np.empty((count, height, width, channels), np.uint8)

    def fill(index: int) -> None:
        pixels[index] = preprocess.squeeze(decode(index))

    with ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(fill, range(count)), 1):
            if progress is not None and (done % REPORTED == 0 or done == count):
                progress(done, count)
    return pixels


def _packed(arrays: Arrays, path: Path) -> tuple[int, Callable[[int], Image.Image]]:
    """How many pictures are in `jpeg`, and what decodes one of them."""
    from PIL import Image

    jpeg, offsets = _array(arrays, "jpeg", path), _array(arrays, "offsets", path)
    if jpeg.dtype != np.uint8 or offsets.dtype.kind not in "iu" or offsets.ndim != 1 or len(offsets) < 2:
        raise ValueError(
            f"jpeg in {path} must be uint8 and offsets whole numbers (N + 1,), got {jpeg.dtype}, {offsets.dtype} "
            f"{offsets.shape}"
        )
    data, ends = jpeg.tobytes(), offsets.astype(np.int64)
    if ends[0] < 0 or ends[-1] > len(data) or (np.diff(ends) <= 0).any():
        raise ValueError(f"offsets in {path} must rise from 0 to the {len(data)} bytes of jpeg; the file is damaged")

    def decode(index: int) -> Image.Image:
        try:
            picture = Image.open(io.BytesIO(data[ends[index] : ends[index + 1]]))
            picture.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"picture {index} in {path} cannot be read: {error}; the file is damaged") from error
        return picture

    return len(ends) - 1, decode


def _plain(arrays: Arrays, path: Path) -> tuple[int, Callable[[int], Image.Image]]:
    from PIL import Image

    images = _array(arrays, "images", path)
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
        raise ValueError(
            f"images in {path} must be uint8 (N, H, W, 3) or (N, H, W), got {images.dtype} {images.shape}; scale them "
            "to 0..255 and cast"
        )
    if not images.size:
        raise ValueError(f"images in {path} must be one or more, got {images.shape}")
    return len(images), lambda index: Image.fromarray(images[index].astype(np.uint8, copy=False))


def _array(arrays: Arrays, name: str, path: Path) -> NDArray[np.generic]:
    if name not in arrays:
        raise ValueError(f"expected an array '{name}' in {path}, got {', '.join(sorted(arrays))}")
    return arrays[name]
