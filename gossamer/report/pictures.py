# SPDX-License-Identifier: Apache-2.0
"""Test images as both networks see them: where quality fell most, in the middle, and where it rose most.

The test split was opened for the certificate before; nothing is decided by what is drawn. How an answer is drawn
depends on the kind of task: a renderer makes the panels of some images from the answers of both networks. Kinds without
one have no pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from gossamer.files import written_aside
from gossamer.kinds import Quality
from gossamer.report.box_pictures import boxes_drawn
from gossamer.report.drawings import Drawing, Renderer
from gossamer.report.mask_pictures import masks_drawn
from gossamer.report.record import PICTURES, Panel, Shown, Swatch
from gossamer.runtime.session import open_session
from gossamer.task import Task

LARGEST, SMALLEST = 256, 128  # pixels of the longer side; smaller images are enlarged
COLOURS = 256  # of a photograph, which PNG would store in 150 kB otherwise


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


RENDERERS: Mapping[str, Renderer] = {"segmentation": masks_drawn, "detection": boxes_drawn}
