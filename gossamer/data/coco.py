# SPDX-License-Identifier: Apache-2.0
"""Pictures with the objects of all of them in one JSON file, as those of COCO.

    DIR/annotations/instances_train2017.json, DIR/train2017/*.jpg, and the same of val
    DIR/train/_annotations.coco.json beside its pictures, and the same in valid/ and test/, as Roboflow writes it
    DIR/anything.json, the only one, beside its pictures or with them in DIR/images

    images       id, file_name, width, height
    categories   id, name                           ids may have gaps: classes are numbered in the order of ids
    annotations  image_id, category_id, bbox = left, top, width, height in pixels, iscrowd

A crowd, many objects in one box, counts as difficult.

Format: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the page "Data format" of the data
set.
"""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gossamer.data.annotated import Annotated, Given, chosen_classes, given_of
from gossamer.data.folder import KEPT_BYTES, SPLITS, Progress, folders_in
from gossamer.data.preprocess import Preprocess

INSTANCES = re.compile(r"instances_(train|val|test)\w*\.json")
ROBOFLOW = "_annotations.coco.json"
BESIDE = ("", "images", "data")  # where pictures lie, seen from their file
KEYS = ("images", "annotations", "categories")

T = TypeVar("T", int, str)


@dataclass(frozen=True)
class Source:
    """A JSON file, and the folders in which its pictures are looked for, in this order."""

    file: Path
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Content:
    """What a file says: categories by id, the names of which others are kinds, and its pictures."""

    categories: dict[int, str]
    headings: set[str]
    pictures: list[Annotated]


def is_coco(path: Path) -> bool:
    """Whether there are pictures with such a file in a folder, or whether a file is one."""
    return next(_sources(path), None) is not None


def as_given(
    path: Path,
    preprocess: Preprocess,
    classes: tuple[str, ...] | None = None,
    progress: Progress | None = None,
    *,
    limit_bytes: int = KEPT_BYTES,
) -> Given:
    """Images with boxes in their parts; whole pictures, squeezed to the size of `preprocess`.

    `classes`: only objects of these, numbered in this order; all categories in the order of their ids where none are
    given. A category without objects of which others are kinds is a heading, as Roboflow writes one, and no class.
    Images without an object of the classes stay, and are counted in the notes. A test set without val stays whole, and
    selection is held out of training. At most `limit_bytes` of decoded pictures stay in memory.

    Raises ValueError for a file that is not as above, a picture that is not there, and for parts whose categories
    differ.
    """
    contents: dict[str, Content] = {}
    categories: dict[int, str] = {}
    for part, source in _sources(path):
        if part in contents:
            raise ValueError(f"expected one file of '{part}' in {path}, got another in {source.file}; move one away")
        contents[part] = _read(source)
        categories = categories or contents[part].categories
        if contents[part].categories != categories:
            raise ValueError(f"expected the same categories in all parts of {path}, got others in {source.file}")
    if not contents:
        raise ValueError(
            f"expected {path}/annotations/instances_train*.json, or {path}/train/{ROBOFLOW}, or one .json beside its "
            "pictures, found none of them"
        )
    parts = {part: content.pictures for part, content in contents.items()}
    used = {name for pictures in parts.values() for picture in pictures for name in picture.names}
    headings = {name for content in contents.values() for name in content.headings} - used
    named = [categories[number] for number in sorted(categories) if categories[number] not in headings]
    return given_of(parts, chosen_classes(classes, named, str(path)), preprocess, str(path), (), progress, limit_bytes)


def _sources(path: Path) -> Iterator[tuple[str, Source]]:
    """The files of each part: "train", "val", "test", or "all"."""
    if path.is_file() and path.suffix == ".json" and _has_keys(path):
        yield "all", _beside(path)
    if not path.is_dir():
        return
    official = sorted(file for file in (path / "annotations").glob("*.json") if INSTANCES.fullmatch(file.name))
    for file in official:
        name = file.stem.removeprefix("instances_")
        part = next(part for part in ("train", "val", "test") if name.startswith(part))
        yield part, Source(file, (path / name, path / "images" / name, path / "images", path / part, path))
    if official:
        return
    for sub in folders_in(path):
        if sub.name in SPLITS and (its := _only_file(sub)) is not None:
            yield SPLITS[sub.name], _beside(its)
    if (its := _only_file(path)) is not None:
        yield "all", _beside(its)


def _only_file(folder: Path) -> Path | None:
    """The file of a folder's annotations: named as Roboflow names it, or the only .json, if it holds some."""
    files = [file for file in folder.glob("*.json") if not file.name.startswith(".") or file.name == ROBOFLOW]
    if (folder / ROBOFLOW) in files:
        return folder / ROBOFLOW
    return files[0] if len(files) == 1 and _has_keys(files[0]) else None


def _beside(file: Path) -> Source:
    return Source(file, tuple(file.parent / name for name in BESIDE))


def _has_keys(file: Path) -> bool:
    """Whether the words of such a file are in it; a file of 500 MB is not parsed for that."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return all(text.find(f'"{key}"'.encode()) >= 0 for key in KEYS)
    except ValueError:  # an empty file cannot be mapped
        return False


def _read(source: Source) -> Content:
    """Parse and check a file; pictures in its order, each with its objects."""
    file = source.file
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, but {file} cannot be read: {error}; replace it") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in KEYS):
        raise ValueError(f"expected an object with the lists {', '.join(KEYS)}, got other in {file}; convert it")
    images, annotations, listed = (_records(content[key], key, file) for key in KEYS)
    categories = {_of(entry, "id", int, file): str(_of(entry, "name", str, file)) for entry in listed}
    objects: dict[int, list[dict[str, Any]]] = {_of(image, "id", int, file): [] for image in images}
    if len(objects) < len(images):
        raise ValueError(f"expected an id of its own for each image, got {len(images)} with {len(objects)} in {file}")
    for entry in annotations:
        image, category = _of(entry, "image_id", int, file), _of(entry, "category_id", int, file)
        if image not in objects or category not in categories:
            wrong = f"image_id {image}" if image not in objects else f"category_id {category}"
            raise ValueError(f"expected ids of images and categories of the same file, got {wrong} in {file}")
        objects[image].append(entry)
    headings = {
        str(entry["supercategory"]) for entry in listed if entry.get("supercategory", entry["name"]) != entry["name"]
    }
    pictures = [_annotated(image, objects[image["id"]], categories, source) for image in images]
    return Content(categories, headings, pictures)


def _annotated(
    image: dict[str, Any], objects: list[dict[str, Any]], categories: dict[int, str], source: Source
) -> Annotated:
    name = _of(image, "file_name", str, source.file)
    picture = next((folder / name for folder in source.folders if (folder / name).is_file()), None)
    if picture is None:
        raise ValueError(f"expected a picture {source.folders[0] / name}, named in {source.file}, found none; add it")
    boxes = np.array([_corners(entry, source.file) for entry in objects], np.float64).reshape(-1, 4)
    height, width = image.get("height"), image.get("width")
    return Annotated(
        picture,
        tuple(categories[entry["category_id"]] for entry in objects),
        boxes,
        np.array([entry.get("iscrowd") == 1 for entry in objects], np.bool_),
        source.file,
        (height, width) if isinstance(height, int) and isinstance(width, int) else None,
    )


def _corners(entry: dict[str, Any], file: Path) -> tuple[float, float, float, float]:
    try:
        left, top, width, height = map(float, entry["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError):
        left, top, width, height = (math.nan,) * 4
    if not math.isfinite(left + top + width + height):
        raise ValueError(
            f"expected bbox as four numbers, left, top, width, height, got {entry.get('bbox')!r:.60} in annotation "
            f"{entry.get('id')!r:.20} of {file}; correct it"
        )
    return left, top, left + width, top + height


def _records(values: list[Any], key: str, file: Path) -> list[dict[str, Any]]:
    for value in values:
        if not isinstance(value, dict):
            raise ValueError(f"expected objects in the list {key} of {file}, got {value!r:.60}; convert it")
    return values


def _of(record: dict[str, Any], name: str, kind: type[T], file: Path) -> T:
    """An entry of a record, of this kind: a whole number or a text."""
    value = record.get(name)
    if type(value) is not kind:
        raise ValueError(
            f"expected {'a whole number' if kind is int else 'a text'} as {name}, got {value!r:.40} in {file}; "
            "convert it"
        )
    return value
