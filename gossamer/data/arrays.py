# SPDX-License-Identifier: Apache-2.0
"""Image arrays in .npz files: plain uint8 arrays, or packed without loss.

Plain: `images` and `labels` (or `x` and `y`), or one pair per split, `train_x` and `train_y`, `x_test` and
`y_test`, ...; images are uint8 (N, H, W, C), (N, C, H, W) or (N, H, W). `classes` may name the classes, and `groups`
(`train_groups`, `groups_test`, ...) say which images belong together (`groups.py`).

Packed: `webp_00`, `webp_01`, ...: the bytes of lossless WebP pictures, each a column of square images one
under the other, and `labels` for all of them in order. CIFAR-10 takes 100 MB in this form, not 184 MB.

Pickled arrays are refused: opening a data file must not run code.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.groups import arrange_by_group, check_groups, groups_of, in_groups
from gossamer.data.images import ArrayImages, Split
from gossamer.data.splits import Splits

Pixels = NDArray[np.uint8]  # (N, H, W, C)
SPLITS = ("train", "val", "test")
PAIRS = (("images", "labels"), ("x", "y"))
GROUPS = "groups"


def load(path: Path) -> Splits:
    """Splits from one .npz file, or from a folder of them named train*.npz, val*.npz and test*.npz.

    Class names come from the array `classes`, or from classes.txt beside the files (one name a line), or are
    the class numbers.
    """
    joined, names = parts(path)
    count = 1 + max(int(split.labels.max()) for split in joined.values() if split.labels is not None)
    classes = names or tuple(map(str, range(count)))
    for split in joined.values():
        check_labels(split, len(classes), str(path))
    return arrange_by_group(joined, classes, str(path))


def parts(path: Path) -> tuple[dict[str, Split], tuple[str, ...]]:
    """What one .npz file or a folder of them holds, by "train", "val" and "test", or as "all"; and names of classes.

    Without names the classes are numbers.
    """
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    given: dict[str, list[Split]] = {}
    names: tuple[str, ...] = ()
    for file in files:
        arrays = read_npz(file)
        if "classes" in arrays:
            there = tuple(map(str, arrays["classes"].tolist()))
            if names not in ((), there):
                raise ValueError(
                    f"expected the same classes in all files of {path}, got {', '.join(there)} in {file.name} and "
                    f"{', '.join(names)} in one before; number the labels alike"
                )
            names = there
        for name, split in _splits(arrays, file).items():
            by_file = next((known for known in SPLITS if file.name.startswith(known)), "all")
            given.setdefault(by_file if name == "all" else name, []).append(split)
    if not given:
        raise ValueError(f"no .npz file in {path}; expected train*.npz and test*.npz")
    if len(given) > 1 and "all" in given:
        raise ValueError(f"{path} mixes files named train*, val* or test* with others; rename or remove the others")
    listed = (path if path.is_dir() else path.parent) / "classes.txt"
    if not names and listed.exists():
        names = tuple(listed.read_text(encoding="utf-8").splitlines())
    return {name: join(splits, name) for name, splits in given.items()}, names


def read(path: Path) -> dict[str, Split]:
    """The splits in one .npz file, by name; "all" when the file does not name them."""
    return _splits(read_npz(path), path)


def _splits(arrays: Mapping[str, NDArray[np.generic]], path: Path) -> dict[str, Split]:
    packed = sorted(name for name in arrays if name.startswith("webp"))
    if packed:
        pixels = np.concatenate([_unpack(arrays[name], f"{path}: {name}") for name in packed])
        return {"all": _split("all", pixels, arrays.get("labels"), arrays.get(GROUPS), path)}
    found: dict[str, Split] = {}
    for split in ("all", *SPLITS):
        for x, y in PAIRS:
            for of in ("{0}",) if split == "all" else ("{1}_{0}", "{0}_{1}"):
                if of.format(x, split) in arrays:
                    pixels = _channels_last(arrays[of.format(x, split)], f"{path}: {of.format(x, split)}")
                    named = [GROUPS] if split == "all" else [f"{split}_{GROUPS}", f"{GROUPS}_{split}"]
                    groups = next((arrays[name] for name in named if name in arrays), None)
                    found[split] = _split(split, pixels, arrays.get(of.format(y, split)), groups, path)
    if not found:
        raise ValueError(
            f"expected arrays 'images' and 'labels' (or 'train_x', 'train_y', ...) in {path}, "
            f"got {sorted(arrays)}; rename them"
        )
    return found


def read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    """All arrays of an .npz file, by name; nothing that is pickled."""
    try:
        with path.open("rb") as opened:  # numpy, given the path, would leave a damaged file open
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            return dict(file.items())
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}; check its name") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"expected plain arrays in an .npz file, but {path} cannot be read: {error}") from error


def _unpack(data: NDArray[np.generic], where: str) -> Pixels:
    """The bytes of a column of square images -> (N, W, W, 3)"""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data.tobytes())) as picture:
            column = np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise ValueError(f"{where} is not a readable picture: {error}") from error
    side = column.shape[1]
    if column.shape[0] % side:
        raise ValueError(f"{where} must be a column of square images, got {column.shape[0]}x{side} pixels")
    return column.reshape(-1, side, side, 3)


def _channels_last(images: NDArray[np.generic], where: str) -> Pixels:
    """(N, H, W, C), (N, C, H, W) or (N, H, W) -> (N, H, W, C)"""
    shape = images.shape
    if images.dtype != np.uint8:
        raise ValueError(f"{where} must be uint8, got {images.dtype}; scale the images to 0..255 and cast them")
    pixels = images.astype(np.uint8, copy=False)
    if pixels.ndim == 3:
        return pixels[..., None]
    if pixels.ndim == 4 and shape[3] in (1, 3):
        return pixels
    if pixels.ndim == 4 and shape[1] in (1, 3):
        return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    raise ValueError(f"{where} must be (N, H, W, C), (N, C, H, W) or (N, H, W) with 1 or 3 channels, got {shape}")


def _split(
    name: str, pixels: Pixels, labels: NDArray[np.generic] | None, groups: NDArray[np.generic] | None, path: Path
) -> Split:
    if labels is None:
        raise ValueError(f"{path} has images for '{name}' but no labels; store them as an integer array beside them")
    if labels.dtype.kind not in "iu" or labels.size != len(labels):
        raise ValueError(f"labels in {path} must be integers (N,), got {labels.dtype} {labels.shape}")
    if len(labels) != len(pixels):
        raise ValueError(f"{path} has {len(pixels)} images but {len(labels)} labels for '{name}'")
    if not len(labels):
        raise ValueError(f"{path} has no images for '{name}'")
    split = Split(name, ArrayImages(pixels), labels.reshape(-1).astype(np.int64))
    return split if groups is None else in_groups(split, check_groups(groups, len(pixels), f"{GROUPS} of {path}"))


def check_labels(split: Split, classes: int, where: str) -> None:
    """Raise if a label is not a class number."""
    if split.labels is None:
        return
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
    if len(wrong):
        raise ValueError(
            f"labels must be in 0..{classes - 1} for {classes} classes, got {split.labels[wrong[0]]} "
            f"for example {wrong[0]} of '{split.name}' in {where} ({len(wrong)} such labels)"
        )


def join(splits: list[Split], name: str) -> Split:
    """Splits in memory, one after the other, as one."""
    if len(splits) == 1:
        return splits[0].renamed(name)
    shapes = {split.images.shape for split in splits}
    if len(shapes) > 1:
        raise ValueError(f"images of '{name}' must all have one size, got {sorted(shapes)}; resize them")
    pixels = np.concatenate([split.images.take(np.arange(len(split))) for split in splits])
    joined = Split(name, ArrayImages(pixels), np.concatenate([s.labels for s in splits if s.labels is not None]))
    groups = [groups_of(split) for split in splits]
    known = [names for names in groups if names is not None]
    if len(known) not in (0, len(groups)):
        raise ValueError(f"expected the group of each image of '{name}', or of none, got them from some files alone")
    return in_groups(joined, [group for names in known for group in names]) if known else joined
