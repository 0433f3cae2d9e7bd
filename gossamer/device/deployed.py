# SPDX-License-Identifier: Apache-2.0
"""A network of any kind, opened where it is used: what it answers to a picture, and what each step takes.

detection        boxes: class, score, and corners x1, y1, x2, y2 relative to the picture
segmentation     classes, each with its share of the pixels
classification   classes, each with its share (softmax)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gossamer.data.preprocess import Preprocess
from gossamer.device.classifier import classify, open_classifier
from gossamer.device.detect import look
from gossamer.device.detector import open_detector
from gossamer.device.figures import Times
from gossamer.device.frames import Frame, decode, ms_since
from gossamer.device.network import open_network
from gossamer.device.pictures import images_in
from gossamer.device.segment import predict, usual_overlap
from gossamer.device.stored import Opener, Session, read_stored

Kind = Literal["detection", "segmentation", "classification"]
Answer = list[tuple[str, tuple[float, ...]]]  #: names of classes, each with the numbers above

THRESHOLD = 0.5  # of the score of a box


@dataclass(frozen=True, eq=False)
class Deployed:
    """`look` answers to a frame; of a segmentation network the time of the network is that of all its tiles."""

    kind: Kind
    preprocess: Preprocess
    session: Session
    look: Callable[[Frame], tuple[Answer, Times]]

    def outputs(self, picture: Image.Image) -> NDArray[np.float32]:
        """What the network itself gives, flat, for the whole picture squeezed to its size."""
        batch = self.preprocess.apply(self.preprocess.squeeze(picture)[None])
        return np.asarray(self.session.run(batch)[0], np.float32).ravel()


def kind_of(path: Path, open_session: Opener) -> Kind:
    """What the network in a .gossamer file says of a picture; ValueError for what is no network of pictures."""
    if path.suffix != ".gossamer":
        raise ValueError(f"expected a .gossamer file, got {path}; 'gossamer store' makes one of an .onnx file")
    stored = read_stored(path)
    if stored.plan.get("head") is not None:
        return "detection"
    empty = np.zeros((1, *stored.sized().shape), np.float32)
    shape = np.asarray(stored.open(open_session).run(empty)[0]).shape
    if len(shape) == 2:
        return "classification"
    if len(shape) == 4:
        return "segmentation"
    raise ValueError(
        f"expected a classifier, a segmentation network or a detector with its head in {path}, got an output of "
        f"{shape}; store it anew"
    )


def open_deployed(path: Path, kind: Kind, open_session: Opener) -> Deployed:
    """The network in a .gossamer file, which is of this kind, ready to run."""
    return {"detection": _detector, "segmentation": _segmentation, "classification": _classifier}[kind](
        path, open_session
    )


def _detector(path: Path, open_session: Opener) -> Deployed:
    detector = open_detector(path, open_session)

    def boxes(frame: Frame) -> tuple[Answer, Times]:
        seen = look(detector, frame, THRESHOLD)
        found = zip(seen.classes, seen.scores.tolist(), seen.boxes.tolist(), strict=True)
        return [(name, (score, *corners)) for name, score, corners in found], seen.times

    return Deployed("detection", detector.preprocess, detector.session, boxes)


def _segmentation(path: Path, open_session: Opener) -> Deployed:
    network = open_network(path, open_session)
    names = network.classes or tuple(f"class {index}" for index in range(network.count))

    def pixels(frame: Frame) -> tuple[Answer, Times]:
        start = time.perf_counter()
        mask = predict(network, frame.picture, usual_overlap(network))
        network_ms = ms_since(start)
        start = time.perf_counter()
        shares = np.bincount(mask.ravel(), minlength=len(names)) / mask.size
        answer: Answer = [(name, (share,)) for name, share in zip(names, shares.tolist(), strict=True)]
        return answer, Times(frame.decode_ms, network_ms, ms_since(start))

    return Deployed("segmentation", network.preprocess, network.session, pixels)


def _classifier(path: Path, open_session: Opener) -> Deployed:
    classifier = open_classifier(path, open_session)

    def classes(frame: Frame) -> tuple[Answer, Times]:
        shares, times = classify(classifier, frame)
        return [(name, (share,)) for name, share in shares], times

    return Deployed("classification", classifier.preprocess, classifier.session, classes)


def read_frame(path: Path) -> Frame:
    """A picture as a frame; ValueError names one that cannot be read."""
    start = time.perf_counter()
    picture, size = decode(path, f"the image {path}")
    return Frame(path.name, 0, path.stem, picture, size, ms_since(start))


def find_pictures(path: Path) -> tuple[Path, ...]:
    """An image, or the images directly in a folder, by name."""
    if path.is_dir():
        return images_in(path)
    if not path.is_file():
        raise ValueError(f"expected an image or a folder of images at {path}, found none; check the path")
    return (path,)
