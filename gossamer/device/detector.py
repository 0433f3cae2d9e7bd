# SPDX-License-Identifier: Apache-2.0
"""A detection network that was opened: a picture goes in, one tensor comes out, which its head makes boxes of.

The head is in the plan of a .gossamer file; for an .onnx file it is given. The network is run once on an empty picture
before any is read: one whose output is not what its head decodes is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.container.describe import printable
from gossamer.data.preprocess import Preprocess
from gossamer.detection import Head
from gossamer.device.stored import Opener, Session, Stored, first_output, read_stored
from gossamer.near import meant

Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Detector:
    """What finds objects in pictures that are squeezed to `preprocess.size`; `classes` has a name for each class."""

    path: Path
    preprocess: Preprocess
    head: Head
    classes: tuple[str, ...]
    session: Session

    def outputs(self, batch: Values) -> Values:
        """The network's one output, (1, C, H, W) -> (1, A, 4 + E); ValueError where it is another."""
        outputs = first_output(self.path, self.session, batch)
        expected = (1, self.head.count, self.head.width)
        if outputs.shape != expected:
            raise ValueError(
                f"expected an output of {expected}, which is what the head decodes, from the network in {self.path}, "
                f"got {outputs.shape}; the head is another network's"
            )
        if not np.isfinite(outputs).all(-1).any():  # single anchors may be: the head leaves them out
            raise ValueError(f"the network {self.path} gives nothing but infinities or what are no numbers")
        return outputs

    def classes_named(self, names: Sequence[str]) -> frozenset[int]:
        """The classes of these names; ValueError for one that this network does not know."""
        for name in names:
            if name not in self.classes:
                shown = ", ".join(self.classes[:24]) + (", ..." if len(self.classes) > 24 else "")
                raise ValueError(
                    f"expected classes of {self.path}, got '{printable(name)}'{meant(name, self.classes)}; "
                    f"it knows {shown}"
                )
        return frozenset(index for index, name in enumerate(self.classes) if name in names)


def open_detector(
    path: Path,
    open_session: Opener,
    *,
    head: Mapping[str, Any] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Detector:
    """The network in a .gossamer or an .onnx file, ready to run.

    `head`, as JSON values, `mean` and `std`, of pixels in 0..1, are for the latter.
    """
    stored = read_stored(path, mean, std)
    if stored.preprocess.turned:
        raise ValueError(f"expected a detector that reads pictures upright in {path}, this one turns them; retrain it")
    found = _head(stored, head)
    preprocess, names = _sized(stored), tuple(map(printable, stored.names(found.classes)))
    detector = Detector(path, preprocess, found, names, stored.open(open_session))
    detector.outputs(np.zeros((1, *detector.preprocess.shape), np.float32))
    return detector


def _head(stored: Stored, given: Mapping[str, Any] | None) -> Head:
    if stored.path.suffix != ".gossamer":
        if given is None:
            raise ValueError(
                f"expected to know what the output of {stored.path} means, and an .onnx file does not say; give --head"
            )
        values: Any = dict(given)
    elif given is not None:
        raise ValueError(f"expected --head for an .onnx file only, {stored.path} holds its own; leave it out")
    elif (values := stored.plan.get("head")) is None:
        raise ValueError(
            f"expected a detector in {stored.path}, and it has no head; of a network that gives each pixel a class "
            "'gossamer predict' makes masks"
        )
    try:
        return Head.from_json(values)
    except ValueError as error:
        raise ValueError(f"expected the head of a detector for {stored.path}, but: {error}") from error


def _sized(stored: Stored) -> Preprocess:
    """How pixels are read, at the one size that the head is for."""
    if None in stored.sides() and stored.path.suffix != ".gossamer":
        raise ValueError(
            f"expected a detector that reads pictures of one size in {stored.path}, which its head belongs to, got "
            "any size; export it with a fixed one"
        )
    return stored.sized()
