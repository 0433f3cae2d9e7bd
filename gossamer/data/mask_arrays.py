# SPDX-License-Identifier: Apache-2.0
"""Images with masks in .npz files: plain arrays, or tiles packed as JPEG with one bit a pixel.

Plain: `images` (N, H, W, 3) or (N, H, W), uint8, and `masks` (N, H, W), class numbers or 0 and 255; `areas` (N,), whole
numbers, may say which images belong together, and `classes` names the classes. Or the same for each split:
`train_images`, `train_masks`, `val_images`, ...; and `second_images`, ... for a second test, of other places.

Packed: a folder with tiles.npz and masks.npz. tiles.npz: `jpeg`, the bytes of all tiles, tile i from `offsets[i]` to
`offsets[i + 1]`; `region` of each tile, `test` for the tiles of held-out areas, `test_in_area` for held-out rows or
columns at the edge of every area. masks.npz: `mask_bits`, the rows of a tile's mask one after the other, eight pixels
a byte. Training has neither; decisions and the test are made on the held-out edges of the other areas, half of these
tiles each; the held-out areas are a second test, of places that nothing was trained on.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.areas import arrange_by_area
from gossamer.data.arrays import read_npz
from gossamer.data.images import ArrayImages, Split
from gossamer.data.mask_folders import BUILDINGS
from gossamer.data.mask_values import BINARY, WHITE, as_classes
from gossamer.data.splits import Splits, arrange, halves

SPLITS = ("train", "val", "test")
SECOND, SECOND_TEST = "second", "second test"  # in names of arrays, and as a split
TILES, MASKS = "tiles.npz", "masks.npz"
Arrays = Mapping[str, NDArray[np.generic]]


def is_mask_pack(folder: Path) -> bool:
    """Whether a folder is packed as above."""
    return (folder / TILES).is_file() and (folder / MASKS).is_file()


def is_mask_file(path: Path) -> bool:
    """Whether a file is an .npz with masks."""
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return any(name.endswith("masks.npy") for name in file.namelist())


def load(path: Path) -> Splits:
    """Splits with masks from an .npz file, or from a folder with tiles.npz and masks.npz.

    Arrays that come unsplit, or with one held-out part, are cut by content hash: between areas where these are given.
    Raises ValueError where arrays are missing, do not fit each other, or hold values that are no class.
    """
    return _load_packed(path) if path.is_dir() else _load_plain(path)


def _load_packed(folder: Path) -> Splits:
    tiles, held_out, edge = _packed(folder)
    train = tiles.subset(np.flatnonzero(~held_out & ~edge), "train")
    selection, test = halves(tiles.subset(np.flatnonzero(edge & ~held_out), "edges"))
    second = tiles.subset(np.flatnonzero(held_out), SECOND_TEST) if held_out.any() else None
    notes: tuple[str, ...] = (
        f"selection and test are {len(selection)} and {len(test)} tiles of the held-out edges in {folder}, halved by "
        "content hash: tiles of one area are in both",
    )
    if second is not None:
        notes += (f"the second test is {len(second)} tiles of areas that nothing was trained, decided or proven on",)
    return Splits(train, selection, test, BUILDINGS, notes, second)


def _packed(folder: Path) -> tuple[Split, NDArray[np.bool_], NDArray[np.bool_]]:
    """Every tile, whether it lies in a held-out area, (N,), and whether at a held-out edge, (N,).

    The held-out areas of a region have numbers of their own among the areas: 2 * region + test.
    """
    if not is_mask_pack(folder):
        raise ValueError(f"expected {TILES} and {MASKS} in {folder}; they are not there")
    arrays, masks = read_npz(folder / TILES), read_npz(folder / MASKS)
    jpeg, offsets, region, test, edge = (
        _array(arrays, name, folder / TILES) for name in ("jpeg", "offsets", "region", "test", "test_in_area")
    )
    bits = _array(masks, "mask_bits", folder / MASKS)
    count = len(offsets) - 1
    for name, array in (("region", region), ("test", test), ("test_in_area", edge), ("mask_bits", bits)):
        if len(array) != count:
            raise ValueError(f"{name} in {folder} must be of {count} tiles, got {len(array)}")
    pixels = _decoded(jpeg.tobytes(), offsets.astype(np.int64).tolist(), folder / TILES)
    height, width = pixels.shape[1:3]
    if bits.dtype != np.uint8 or bits.shape != (count, -(-height * width // 8)):
        raise ValueError(
            f"mask_bits in {folder / MASKS} must be uint8 ({count}, {-(-height * width // 8)}), one bit for each of "
            f"{height}x{width} pixels, got {bits.dtype} {bits.shape}"
        )
    unpacked = np.unpackbits(bits.astype(np.uint8, copy=False), axis=1, count=height * width)
    maps = ArrayImages(unpacked.reshape(count, height, width, 1))
    areas = 2 * region.astype(np.int64) + test.astype(np.int64)
    tiles = Split("all", ArrayImages(pixels), masks=maps, areas=areas)
    return tiles, test.astype(np.bool_), edge.astype(np.bool_)


def _decoded(jpeg: bytes, offsets: list[int], where: Path) -> NDArray[np.uint8]:
    """Pictures one after the other in `jpeg` -> (N, H, W, 3)"""
    from PIL import Image

    if len(offsets) < 2 or offsets[0] < 0 or offsets[-1] > len(jpeg) or offsets != sorted(offsets):
        raise ValueError(f"offsets in {where} must rise from 0 to the {len(jpeg)} bytes of jpeg; the file is damaged")
    tiles = []
    for start, end in pairwise(offsets):
        try:
            with Image.open(io.BytesIO(jpeg[start:end])) as picture:
                tiles.append(np.asarray(picture.convert("RGB"), np.uint8))
        except (OSError, SyntaxError) as error:
            raise ValueError(f"tile {len(tiles)} in {where} is not a readable picture: {error}") from error
    if len({tile.shape for tile in tiles}) > 1:
        raise ValueError(f"tiles in {where} must all have one size, got {sorted({tile.shape[:2] for tile in tiles})}")
    return np.stack(tiles)


def _load_plain(path: Path) -> Splits:
    given, names = as_given(path)
    second = given.pop(SECOND, None)
    by_area = all(split.areas is not None for split in given.values())
    splits = (arrange_by_area if by_area else arrange)(given, names, str(path))
    return splits if second is None else replace(splits, second_test=second.renamed(SECOND_TEST))


def as_given(path: Path) -> tuple[dict[str, Split], tuple[str, ...]]:
    """The parts of an .npz file with masks that are there, "train", "val", "test", "second", or "all"; class names."""
    arrays = read_npz(path)
    keys = {"all": "", **{split: f"{split}_" for split in (*SPLITS, SECOND)}}
    there = {name: prefix for name, prefix in keys.items() if f"{prefix}images" in arrays}
    if not there:
        raise ValueError(
            f"expected arrays 'images' and 'masks', or 'train_images', 'train_masks', ..., in {path}, "
            f"got {sorted(arrays)}; rename them"
        )
    masks = {name: _array(arrays, f"{prefix}masks", path) for name, prefix in there.items()}
    highest = max(int(values.max(initial=0)) for values in masks.values())
    names = tuple(map(str, arrays["classes"].tolist())) if "classes" in arrays else ()
    if not names:
        names = (
            BINARY if highest in (0, 1, WHITE) else tuple(map(str, range(min(highest, WHITE) + 1)))
        )  # more is refused below
    return {name: _plain(name, prefix, arrays, masks[name], len(names), path) for name, prefix in there.items()}, names


def _plain(name: str, prefix: str, arrays: Arrays, masks: NDArray[np.generic], classes: int, path: Path) -> Split:
    images = arrays[f"{prefix}images"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images):
        raise ValueError(
            f"{prefix}images in {path} must be uint8 (N, H, W, 3) or (N, H, W), got {images.dtype} {images.shape}"
        )
    pixels = images.astype(np.uint8, copy=False)
    if masks.dtype.kind not in "uib" or masks.shape != images.shape[:3]:
        raise ValueError(
            f"{prefix}masks in {path} must be whole numbers {images.shape[:3]}, the class of each pixel, "
            f"got {masks.dtype} {masks.shape}"
        )
    low, high = int(masks.min()), int(masks.max())
    if low < 0 or high > WHITE:
        raise ValueError(f"{prefix}masks in {path} must be from 0 to 255, got {low} to {high}")
    maps = as_classes(masks.astype(np.uint8, copy=False), classes, f"{prefix}masks of {path}")
    areas = arrays.get(f"{prefix}areas")
    if areas is not None and areas.dtype.kind not in "ui":
        raise ValueError(f"{prefix}areas in {path} must be whole numbers, got {areas.dtype}")
    return Split(
        name,
        ArrayImages(pixels if pixels.ndim == 4 else pixels[..., None]),
        masks=ArrayImages(maps[..., None]),
        areas=None if areas is None else areas.astype(np.int64),
    )


def _array(arrays: Arrays, name: str, path: Path) -> NDArray[np.generic]:
    if name not in arrays:
        raise ValueError(f"expected an array '{name}' in {path}, got {', '.join(sorted(arrays))}")
    return arrays[name]
