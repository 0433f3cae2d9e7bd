# SPDX-License-Identifier: Apache-2.0
"""Test images as both networks see them: where quality fell most, in the middle, and where it rose most.

The test split was opened for the certificate before; nothing is decided by what is drawn. How an answer is drawn
depends on the kind of task: a renderer makes the panels of some images from the answers of both networks. Kinds without
one have no pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gossamer.data.images import Split
from gossamer.device.masks import palette
from gossamer.files import written_aside
from gossamer.kinds import Quality
from gossamer.kinds.segmentation import BARE
from gossamer.kinds.segmentation_quality import NO_CLASS, answers
from gossamer.report.record import PICTURES, Panel, Shown, Swatch
from gossamer.runtime.session import open_session
from gossamer.task import Task

LARGEST, SMALLEST = 256, 128  # pixels of the longer side; smaller images are enlarged
COLOURS = 256  # of a photograph, which PNG would store in 150 kB otherwise
SWATCHES = 12  # classes that a legend names
WORSE, BETTER, WRONG = (213, 94, 0), (86, 180, 233), (150, 150, 150)  # told apart with any colour vision
DIM = 5  # how many times darker the image lies under the difference

Outputs = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Drawing:
    """One panel: what it shows and its pixels, uint8 (H, W, 3); of a `photograph` not every colour matters."""

    name: str
    pixels: NDArray[np.uint8]
    photograph: bool = False


@dataclass(frozen=True, eq=False)
class Drawings:
    """The panels of each image, and what their colours mean."""

    of_images: Sequence[Sequence[Drawing]]
    legend: tuple[Swatch, ...]


Renderer = Callable[[Task, Split, NDArray[np.int64], Outputs, Outputs], Drawings]
"""Task, split, positions (N,) in it, and the outputs (N, ...) of the original and of the compressed network there."""


def draw(
    task: Task, before: Quality, after: Quality, models: tuple[bytes, bytes], runtime: str, folder: Path
) -> tuple[tuple[Shown, ...], tuple[Swatch, ...]]:
    """Write the pictures of some test images into `folder`; what they show, and what their colours mean.

    `before` and `after`: quality of each test image, (N,), of the original and the compressed network; `models`: both
    in ONNX, which are asked again about the images shown.
    """
    if task.kind not in RENDERERS:
        return (), ()
    chosen = chosen_examples(before, after)
    positions = np.array(list(chosen.values()), np.int64)
    images = task.preprocess.apply(task.test.images.take(positions))
    original, compressed = (open_session(model, runtime).run(images)[0] for model in models)
    drawings = RENDERERS[task.kind](task, task.test, positions, original, compressed)
    shown = []
    for (which, position), panels in zip(chosen.items(), drawings.of_images, strict=True):
        written = []
        for drawing in panels:
            file = f"{PICTURES}/{which.replace(' ', '-')}-{drawing.name.replace(' ', '-')}.png"
            _write(folder / file, drawing)
            written.append(Panel(drawing.name, file))
        shown.append(Shown(which, float(before[position]), float(after[position]), tuple(written)))
    return tuple(shown), drawings.legend


def chosen_examples(before: Quality, after: Quality) -> dict[str, int]:
    """Positions of up to three images by what they are: one that is two of them is named once.

    >>> chosen_examples(np.array([0.9, 0.8, 0.7]), np.array([0.9, 0.3, 0.8]))
    {'largest drop': 1, 'median change': 0, 'largest gain': 2}
    """
    order = np.argsort(after.astype(np.float64) - before, kind="stable")
    found: dict[str, int] = {}
    for which, place in (("largest drop", 0), ("median change", len(order) // 2), ("largest gain", -1)):
        if int(order[place]) not in found.values():
            found[which] = int(order[place])
    return found


def masks_drawn(
    task: Task, split: Split, positions: NDArray[np.int64], original: Outputs, compressed: Outputs
) -> Drawings:
    """Image, truth, both answers, and where these differ."""
    images = split.images.take(positions)
    if images.shape[3] == 1:
        images = images.repeat(3, axis=3)
    truth = np.asarray(task.of_kind.targets(split, positions), np.uint8)
    before, after = answers(original), answers(compressed)
    colours = palette()
    of_images = [
        (
            Drawing("image", image, photograph=True),
            Drawing("truth", colours[right]),
            Drawing("before", colours[first]),
            Drawing("after", colours[second]),
            Drawing("difference", difference(image, right, first, second)),
        )
        for image, right, first, second in zip(images, truth, before, after, strict=True)
    ]
    there = np.unique(np.concatenate([truth, before, after]))
    named = [number for number in there.tolist() if number != NO_CLASS][:SWATCHES]
    legend = [Swatch(task.classes[number], _hex(colours[number])) for number in named]
    legend += [Swatch("turned wrong", _hex(WORSE)), Swatch("turned right", _hex(BETTER))]
    if len(task.classes) > BARE:
        legend.append(Swatch("wrong in another way", _hex(WRONG)))
    return Drawings(of_images, tuple(legend))


def difference(
    image: NDArray[np.uint8], truth: NDArray[np.uint8], before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Where answers (H, W) differ, over a dark image (H, W, 3): turned wrong, turned right, wrong in another way."""
    grey = (image.mean(axis=2) / DIM).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    differs = before != after
    pixels[differs] = WRONG
    pixels[differs & (before == truth)] = WORSE
    pixels[differs & (after == truth)] = BETTER
    return pixels


def _hex(colour: Sequence[int] | NDArray[np.uint8]) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in colour)


def _write(path: Path, drawing: Drawing) -> None:
    """A PNG of at most `LARGEST` pixels a side."""
    picture = Image.fromarray(drawing.pixels)
    longer = max(picture.size)
    scale = LARGEST / longer if longer > LARGEST else max(1, SMALLEST // longer)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    smooth = drawing.photograph and scale < 1
    picture = picture.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)
    if drawing.photograph:
        picture = picture.quantize(COLOURS)
    with written_aside(path) as part:
        picture.save(part, format="PNG", optimize=True)


RENDERERS: Mapping[str, Renderer] = {"segmentation": masks_drawn}
