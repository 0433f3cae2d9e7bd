# SPDX-License-Identifier: Apache-2.0
"""The verb `predict`: a segmentation network on images, which gives each pixel its class.

It needs numpy, Pillow and a runtime; neither torch nor ONNX. Where rich is not installed there is no bar.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import cli_values

if TYPE_CHECKING:
    from gossamer.device import Job, SegmentationNetwork

PATIENCE = 2.0  # seconds without a bar
NAMES_SHOWN = 24
NAMES = "classes.json"  # beside the masks


def add_verbs(verbs: Any) -> None:
    """`predict` with its options."""
    predict = verbs.add_parser("predict", help="a segmentation network on images: a mask of classes for each")
    predict.add_argument("network", type=Path, help="a .gossamer or an .onnx file")
    predict.add_argument("images", type=Path, help="an image or a folder of images: PNG, JPEG, TIFF or WebP")
    predict.add_argument("--out", type=cli_values.new_folder, required=True, metavar="DIR", help="for the masks")
    predict.add_argument(
        "--tile",
        type=cli_values.pixels,
        metavar="PIXELS",
        help="side of the tiles of a network that reads images of any size; default: what its file says, or 256",
    )
    predict.add_argument(
        "--overlap",
        type=cli_values.whole(0, "pixels"),
        metavar="PIXELS",
        help="that neighbouring tiles share at least; default 32, of small tiles a quarter",
    )
    predict.add_argument("--overlay", action="store_true", help="also write each image with its classes in colour")
    predict.add_argument(
        "--threshold",
        type=cli_values.number("a probability above 0 and below 1, such as 0.5", lambda value: 0 < value < 1),
        metavar="P",
        help="above which a pixel is class 1, of networks with one score a pixel; default 0.5",
    )
    cli_values.add_runtime(predict)
    predict.add_argument("--mean", type=cli_values.any_number, nargs="+", metavar="M", help="of an .onnx file, in 0..1")
    predict.add_argument("--std", type=cli_values.any_number, nargs="+", metavar="S", help="of an .onnx file, in 0..1")
    predict.set_defaults(run=run_predict)


def run_predict(options: argparse.Namespace) -> int:
    """`gossamer predict`: exit status 1 if an image has no mask; the others have theirs."""
    from gossamer.device import find_jobs, open_network, usual_overlap
    from gossamer.device.tiles import Axis
    from gossamer.files import write_json

    jobs = find_jobs(options.images, options.out, options.overlay)
    network = open_network(
        options.network,
        cli_values.opener(options),
        tile=options.tile,
        mean=options.mean,
        std=options.std,
    )
    if options.threshold is not None and not network.binary:
        raise ValueError(
            f"expected --threshold with one score a pixel, {network.path} gives one for each of {network.count} "
            "classes, and the highest is taken; leave it out"
        )
    overlap = usual_overlap(network) if options.overlap is None else options.overlap
    for side in (network.preprocess.height, network.preprocess.width):
        Axis(side, side, overlap)  # refuses, before any image is read
    if network.classes:
        write_json(options.out / NAMES, list(network.classes))
    try:
        with _Bar(len(jobs)) as bar:
            failed = sum(not _one(job, network, overlap, options.threshold or 0.5, bar) for job in jobs)
    except KeyboardInterrupt:
        print(f"\nstopped; what is written in {options.out} is whole", file=sys.stderr)
        return 130
    print(f"{len(jobs) - failed} of {len(jobs)} masks are in {options.out}")
    if network.classes:
        names = [f"{index} {name}" for index, name in enumerate(network.classes)][:NAMES_SHOWN]
        print(f"classes: {', '.join(names)}{', ...' if len(network.classes) > NAMES_SHOWN else ''}")
    return int(failed > 0)


def _one(job: Job, network: SegmentationNetwork, overlap: int, threshold: float, bar: _Bar) -> bool:
    """Write what one image gives; False, and a sentence, where it cannot be read."""
    from gossamer.device import predict, read_picture, write_mask, write_overlay

    def progress(done: int, tiles: int) -> None:
        bar.show(done / tiles, job.image.name)

    try:
        picture = read_picture(job.image)
        mask = predict(network, picture, overlap, threshold, progress)
        write_mask(job.mask, mask)
        if job.overlay is not None:
            write_overlay(job.overlay, picture, mask)
    except ValueError as error:
        print(f"no mask: {error}", file=sys.stderr)
        return False
    finally:
        bar.next()
    return True


class _Bar:
    """A bar over images that shows itself once they take longer than two seconds."""

    def __init__(self, images: int) -> None:
        self._images, self._done = images, 0
        self._start = time.monotonic()
        self._bars: Any = None
        self._task: Any = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def next(self) -> None:
        """The next image begins."""
        self._done += 1
        self.show(0, "")

    def show(self, share: float, name: str) -> None:
        """The share of the image at hand that is done, and its name."""
        if time.monotonic() - self._start < PATIENCE:
            return
        if self._bars is None:
            try:
                from gossamer.report.terminal import progress
            except ImportError:
                self._start = float("inf")
                return
            self._bars = progress()
            self._bars.start()
            self._task = self._bars.add_task("images", total=self._images, text="")
        self._bars.update(self._task, completed=round(self._done + share, 2), text=name)
