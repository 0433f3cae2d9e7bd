# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures with the objects of each in an XML file, as those of PASCAL VOC.

    DIR/Annotations/*.xml, DIR/JPEGImages/*.jpg, and DIR/ImageSets/Main/{train,val,trainval,test}.txt, where there
    DIR/train/, DIR/val/, DIR/test/, each with Annotations and JPEGImages, or with pictures beside their .xml
    DIR/*.xml, DIR/*.jpg

Picture and annotation have the same name but for its ending. Corners count pixels from 1 and both ends belong to the
box:

    left = xmin - 1, right = xmax, top = ymin - 1, bottom = ymax

Of VOC as downloaded, the folder VOC2007, its parent or the one above may be given; several years are one data set (2007
and 2012, as papers train on them), and the test set of 2007 may be unpacked into the same folder.

Format: M. Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88, 2010, and the annotation
guidelines of 2007. A document type, which could define entities without end, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from gossamer.data.annotated import Annotated, Given, chosen_classes, given_of
from gossamer.data.folder import KEPT_BYTES, SPLITS, SUFFIXES, Progress, folders_in
from gossamer.data.preprocess import Preprocess
from gossamer.files import visible_files

ANNOTATIONS, PICTURES = ("Annotations", "annotations"), ("JPEGImages", "images")
YEARS = ("VOC*", "VOCdevkit/VOC*", "VOC*/VOCdevkit/VOC*")  # where the archives of VOC are unpacked to
LISTS = ("train", "val", "trainval", "test")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Place:
    """Where annotations and pictures lie, and the folder of lists that name the parts, where there is one."""

    annotations: Path
    pictures: Path
    lists: Path | None = None


def is_box_folder(folder: Path) -> bool:
    """Whether there are pictures with XML files in a folder, in one of the layouts that `as_given` reads."""
    return folder.is_dir() and next(_places(folder), None) is not None


def as_given(
    folder: Path,
    preprocess: Preprocess,
    classes: tuple[str, ...] | None = None,
    progress: Progress | None = None,
    *,
    limit_bytes: int = KEPT_BYTES,
) -> Given:
    """Images with boxes in their parts; whole pictures, squeezed to the size of `preprocess`.

    `classes`: only objects of these, numbered in this order; all, sorted by name, where none are given. Images without
    such an object stay, and are counted in the notes. Official lists are followed: train, val and test, or of trainval
    what the other lists leave. A test set without val stays whole, and selection is held out of training. At most
    `limit_bytes` of decoded pictures stay in memory.

    Raises ValueError for an annotation that cannot be read, or without a picture, and a picture without annotation.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; check --data")
    parts: dict[str, list[Annotated]] = {}
    notes: tuple[str, ...] = ()
    for part, place in _places(folder):
        if place.lists is None:
            parts.setdefault(part, []).extend(_read(place, None))
            continue
        for name, listed in _official(place.lists).items():
            if name == "test" and not any(_annotation(place, image).exists() for image in listed):
                notes += (f"the test images of {place.lists} have no annotations and are left out",)
            else:
                parts.setdefault(name, []).extend(_read(place, listed))
    if not parts:
        raise ValueError(
            f"expected {folder}/Annotations/*.xml and {folder}/JPEGImages/*.jpg, or pictures beside their .xml, found "
            "neither"
        )
    named = sorted({name for found in parts.values() for image in found for name in image.names})
    chosen = chosen_classes(classes, named, str(folder))
    return given_of(parts, chosen, preprocess, str(folder), notes, progress, limit_bytes)


def _places(folder: Path) -> Iterator[tuple[str, Place]]:
    """Where there are annotated pictures, each with the part that it is: "train", "val", "test", or "all"."""
    years = sorted(year for pattern in YEARS for year in folder.glob(pattern))
    for root in (folder, *years):
        place = _in_two_folders(root)
        if place is not None:
            yield "all", place
    if (place := _beside(folder)) is not None:
        yield "all", place
    for sub in folders_in(folder):
        if sub.name in SPLITS and (place := _in_two_folders(sub) or _beside(sub)) is not None:
            yield SPLITS[sub.name], place


def _in_two_folders(root: Path) -> Place | None:
    """Annotations and pictures in folders of their own, with official lists where at least one is there."""
    annotations, pictures = (
        next((root / name for name in names if (root / name).is_dir()), None) for names in (ANNOTATIONS, PICTURES)
    )
    if annotations is None or pictures is None or not _by_name(annotations, {".xml"}):
        return None
    lists = root / "ImageSets" / "Main"
    return Place(annotations, pictures, lists if any((lists / f"{name}.txt").is_file() for name in LISTS) else None)


def _beside(root: Path) -> Place | None:
    """Pictures beside their annotations; at least one that has one."""
    annotations = _by_name(root, {".xml"})
    return Place(root, root) if annotations and annotations.keys() & _by_name(root, SUFFIXES).keys() else None


def _by_name(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """The files directly in a folder with one of these endings, by name without it, sorted; hidden ones left out."""
    found: dict[str, Path] = {}
    for path in visible_files(folder, folder.iterdir(), suffixes):
        if path.stem in found:
            raise ValueError(f"expected one file of a name, got {found[path.stem]} and {path}; delete one")
        found[path.stem] = path
    return found


def _official(lists: Path) -> dict[str, list[str]]:
    """The names of the images of "train", "val" and "test", those that are listed."""
    named: dict[str, list[str]] = {}
    for name in LISTS:
        if (lists / f"{name}.txt").is_file():
            lines = (lists / f"{name}.txt").read_text(encoding="utf-8").splitlines()
            named[name] = [line.strip() for line in dict.fromkeys(lines) if line.strip()]
    both = named.pop("trainval", [])
    for part, other in (("train", "val"), ("val", "train")):
        if part not in named:
            left = set(named.get(other, ()))
            named[part] = [image for image in both if image not in left]
    return {name: images for name, images in named.items() if images}


def _annotation(place: Place, image: str) -> Path:
    return place.annotations / f"{image}.xml"


def _read(place: Place, listed: Sequence[str] | None) -> Iterator[Annotated]:
    """The annotated pictures of a place: those listed, or all, where each must have its annotation."""
    pictures = _by_name(place.pictures, SUFFIXES)
    if listed is None:
        listed = list(_by_name(place.annotations, {".xml"}))
        lone = sorted(pictures.keys() - set(listed))
        if lone:
            raise ValueError(
                f"expected an annotation for {pictures[lone[0]]}, found no {_annotation(place, lone[0])} ({len(lone)} "
                "such pictures); add it, without an object where there is none to find"
            )
    for image in listed:
        source = _annotation(place, image)
        if not source.is_file():
            raise ValueError(f"expected an annotation {source}, which is in the lists of {place.lists}; add it")
        if image not in pictures:
            raise ValueError(
                f"expected a picture for {source}, found no {place.pictures / image}.jpg (or .png, ...); add it, or "
                "delete the annotation"
            )
        yield _annotated(pictures[image], source)


def _annotated(picture: Path, source: Path) -> Annotated:
    root = _tree(source)
    names, corners, difficult = [], [], []
    for found in root.iterfind("object"):
        name, box = (found.findtext("name") or "").strip(), found.find("bndbox")
        if not name or box is None:
            raise ValueError(f"expected a name and a bndbox in every object, got one without in {source}; correct it")
        left, top, right, bottom = (_number(box, of, source) for of in CORNERS)
        names.append(name)
        corners.append((left - 1, top - 1, right, bottom))
        difficult.append((found.findtext("difficult") or "").strip().lower() in ("1", "true"))
    return Annotated(
        picture,
        tuple(names),
        np.array(corners, np.float64).reshape(-1, len(CORNERS)),
        np.array(difficult, np.bool_),
        source,
        _size(root),
    )


def _tree(source: Path) -> ElementTree.Element:
    """The root of an annotation; entities, which only a document type can define, never come to be expanded."""
    data = source.read_bytes()
    if b"<!DOCTYPE" in data or b"\0" in data:
        raise ValueError(f"expected XML in UTF-8 without a document type (<!DOCTYPE), got other in {source}; remove it")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"expected XML, but {source} cannot be read: {error}; replace it") from error
    if root.tag != "annotation":
        raise ValueError(f"expected an <annotation> as PASCAL VOC has it, got <{root.tag}> in {source}; convert it")
    return root


def _number(box: ElementTree.Element, name: str, source: Path) -> float:
    text = box.findtext(name) or ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a number of pixels as {name}, got '{text:.40}' in {source}; correct it")
    return value


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Height and width that an annotation states; some state none, or 0."""
    try:
        height, width = (int(root.findtext(f"size/{side}") or "") for side in ("height", "width"))
    except ValueError:
        return None
    return (height, width) if height > 0 and width > 0 else None
