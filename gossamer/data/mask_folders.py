# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures with a mask for each: the class of every pixel.

    DIR/train/images/*.jpg, DIR/train/masks/*.png, the same in val/ and test/; or DIR/images/*, DIR/masks/*

Picture and mask have the same name but for its ending, and the same size. Larger pictures are cut into tiles, and the
tiles of one picture are an area of the split: they stay together wherever data are cut. Where tiles overlap, a pixel is
in two of them, and counts twice.

As downloaded, two collections of buildings from the air are known: Inria Aerial Image Labeling (E. Maggiori et al.,
"Can semantic labeling methods generalize to any city?", IGARSS 2017), whose authors hold out images 1 to 5 of each
city, and AIRS (Q. Chen et al., "Aerial imagery for roof segmentation", ISPRS Journal 147, 2019).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.areas import arrange_by_area, without_blanks_of
from gossamer.data.folder import KEPT_BYTES, SPLITS, folders_in, pictures_in
from gossamer.data.images import Split
from gossamer.data.mask_values import class_map, classes_found, mask_size
from gossamer.data.splits import Splits
from gossamer.data.tiles import TiledImages, opened, places_of

PICTURES, MASKS = ("images", "image"), ("masks", "mask", "gt", "label", "labels")
ROOTS = ("", "AerialImageDataset", "trainval")  # the folders that Inria and AIRS are unpacked into
INRIA = re.compile(r"(austin|chicago|kitsap|tyrol-w|vienna)([1-9]\d*)")
INRIA_HELD_OUT = 5  # of each city, as its authors advise
AIRS = re.compile(r"christchurch_\d+")
BUILDINGS = ("background", "building")
VISIBLE = "_vis"  # AIRS has each mask a second time, to be looked at


@dataclass(frozen=True)
class Pair:
    """A picture and its mask, both of `size`, height and width."""

    picture: Path
    mask: Path
    size: tuple[int, int]


def is_mask_folder(folder: Path) -> bool:
    """Whether there are pictures with masks in a folder, in one of the layouts that `load` reads."""
    return folder.is_dir() and any(_pair_of_folders(part) is not None for _, part in _parts(folder))


def load(
    folder: Path,
    size: int | tuple[int, int],
    *,
    overlap: int = 0,
    channels: int = 3,
    classes: Sequence[str] = (),
    limit_bytes: int = KEPT_BYTES,
) -> Splits:
    """Splits of images of `size` (a side, or height and width) with masks (N, H, W, 1) and areas, uint8.

    Larger pictures are cut into tiles that share `overlap` pixels or more. Class names: as given, or those of a known
    collection, or classes.txt in the folder, one name a line, or what the masks hold: "background" and "foreground"
    for masks of 0 and 1, or of 0 and 255; numbers for more classes. At most `limit_bytes` of decoded pictures stay in
    memory, beside the last one of each split.

    Raises ValueError for a picture without a mask, a mask of another size or in colour, a picture smaller than `size`,
    and, when they are read, for masks with values that are no class.
    """
    given, names, notes = as_given(
        folder, size, overlap=overlap, channels=channels, classes=classes, limit_bytes=limit_bytes
    )
    return _apart(arrange_by_area(given, names, str(folder)), notes)


def as_given(
    folder: Path,
    size: int | tuple[int, int],
    *,
    overlap: int = 0,
    channels: int = 3,
    classes: Sequence[str] = (),
    limit_bytes: int = KEPT_BYTES,
) -> tuple[dict[str, Split], tuple[str, ...], tuple[str, ...]]:
    """As `load`, but the parts that are there, "train", "val" and "test", or "all"; with class names and notes."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; check --data")
    pairs, notes = _found(folder)
    known: tuple[str, ...] = ()
    every = [pair for of in pairs.values() for pair in of]
    if len(pairs) == 1 and all(INRIA.fullmatch(pair.picture.stem) for pair in every):
        pairs, known = _as_inria(every), BUILDINGS
        notes += (
            f"{folder} is Inria's: images 1 to {INRIA_HELD_OUT} of each city are held out, as its authors advise",
        )
    elif all(AIRS.fullmatch(pair.picture.stem) for pair in every):
        known = BUILDINGS
    names = tuple(classes) or known or _listed(folder) or classes_found(pair.mask for pair in every)
    if len(names) < 2:
        raise ValueError(f"expected two or more classes of pixels in {folder}, got {list(names)}")
    tile = (size, size) if isinstance(size, int) else size
    share = limit_bytes // len(every)
    given, first = {}, 0
    for part, of in pairs.items():
        given[part] = _split(part, of, tile, overlap, channels, len(names), share * len(of), first)
        first += len(of)
    return given, names, notes


def _split(
    name: str,
    pairs: Sequence[Pair],
    tile: tuple[int, int],
    overlap: int,
    channels: int,
    classes: int,
    limit_bytes: int,
    first_area: int,
) -> Split:
    """Every tile of these pictures; areas are numbered from `first_area` on."""
    for pair in pairs:
        if pair.size[0] < tile[0] or pair.size[1] < tile[1]:
            raise ValueError(
                f"pictures must be at least {tile[0]}x{tile[1]}, got {pair.size[0]}x{pair.size[1]} in {pair.picture}; "
                "change --size, or leave it out"
            )
    places = places_of([pair.size for pair in pairs], tile, overlap)
    of_masks = limit_bytes // (channels + 1)
    images = TiledImages(
        tuple(pair.picture for pair in pairs),
        partial(_pixels, channels=channels),
        places,
        (*tile, channels),
        limit_bytes - of_masks,
    )
    masks = TiledImages(
        tuple(pair.mask for pair in pairs), partial(class_map, classes=classes), places, (*tile, 1), of_masks
    )
    return Split(name, images, masks=masks, areas=places[:, 0] + first_area)


def _pixels(file: Path, channels: int) -> NDArray[np.uint8]:
    """A picture (H, W, channels)."""
    with opened(file) as picture:
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"), np.uint8)
    return pixels.reshape(*pixels.shape[:2], channels)


def _found(folder: Path) -> tuple[dict[str, list[Pair]], tuple[str, ...]]:
    """The pairs of each part, "train", "val", "test" or "all", and a note where a test has no masks, as Inria's."""
    found: dict[str, list[Pair]] = {}
    notes: tuple[str, ...] = ()
    for name, part in _parts(folder):
        folders = _pair_of_folders(part)
        if folders is not None:
            found.setdefault(name, []).extend(_pairs(*folders))
        elif any((part / of).is_dir() for of in PICTURES):
            if name != "test":
                raise ValueError(f"expected masks beside the images of {part}, in a folder {' or '.join(MASKS)}")
            notes = (f"{part} has no masks and is left out",)
    if not found:
        raise ValueError(
            f"expected {folder}/train/images and {folder}/train/masks, or {folder}/images and {folder}/masks, found "
            "neither; picture and mask have the same name"
        )
    if "all" in found and len(found) > 1:
        raise ValueError(f"{folder} has images of its own beside those in {', '.join(sorted(set(found) - {'all'}))}")
    return {name: found[name] for name in ("all", "train", "val", "test") if name in found}, notes


def _parts(folder: Path) -> Iterator[tuple[str, Path]]:
    """The folders that may hold pictures and masks, with the part of the data that each is."""
    yield "all", folder
    for root in ROOTS:
        if (folder / root).is_dir():
            yield from ((SPLITS[sub.name], sub) for sub in folders_in(folder / root) if sub.name in SPLITS)


def _pair_of_folders(part: Path) -> tuple[Path, Path] | None:
    pictures, masks = (next((part / n for n in names if (part / n).is_dir()), None) for names in (PICTURES, MASKS))
    return None if pictures is None or masks is None else (pictures, masks)


def _pairs(pictures: Path, masks: Path) -> Iterator[Pair]:
    """Each picture with the mask of its name, sorted; only the heads of the files are read."""
    by_name: dict[Path, Path] = {}
    for mask in pictures_in(masks):
        name = mask.relative_to(masks).with_suffix("")
        if name in by_name:
            raise ValueError(f"expected one mask of a name, got {by_name[name]} and {mask}; delete one")
        by_name[name] = mask
    files = pictures_in(pictures)
    if not files:
        raise ValueError(f"{pictures} has no images; add some or delete the folder")
    for file in files:
        name = file.relative_to(pictures).with_suffix("")
        if name not in by_name:
            raise ValueError(f"expected a mask for {file}, found no {masks / name}.png (or .tif, .jpg); add it")
        its = by_name.pop(name)
        size, of_mask = _size(file), mask_size(its)
        if size != of_mask:
            sizes = f"{of_mask[0]}x{of_mask[1]} beside {size[0]}x{size[1]}"
            raise ValueError(f"a mask must have the size of its image, got {sizes} in {its}; make them equal")
        yield Pair(file, its, size)
    lone = [mask for name, mask in by_name.items() if not name.name.endswith(VISIBLE)]
    if lone:
        raise ValueError(f"expected an image for {lone[0]}, found none ({len(lone)} such masks); delete the mask")


def _size(file: Path) -> tuple[int, int]:
    with opened(file) as picture:
        return picture.height, picture.width


def _as_inria(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    parts: dict[str, list[Pair]] = {"train": [], "val": []}
    for pair in pairs:
        found = INRIA.fullmatch(pair.picture.stem)
        held = found is not None and int(found[2]) <= INRIA_HELD_OUT
        parts["val" if held else "train"].append(pair)
    return {name: of for name, of in parts.items() if of}


def _listed(folder: Path) -> tuple[str, ...]:
    listed = folder / "classes.txt"
    return tuple(listed.read_text(encoding="utf-8").splitlines()) if listed.exists() else ()


def _apart(splits: Splits, notes: tuple[str, ...]) -> Splits:
    """The splits without blank tiles that two of them share: the test keeps them, then the selection."""
    selection, fewer = without_blanks_of(splits.selection, splits.test)
    train, fewest = without_blanks_of(splits.train, selection, splits.test)
    if fewer + fewest:
        notes += (
            f"tiles of one colour that two splits share are left out: {fewest:,} of train, {fewer:,} of selection",
        )
    return replace(splits, train=train, selection=selection, notes=splits.notes + notes)
