# SPDX-License-Identifier: Apache-2.0
"""Whether an exported network gives what the ONNX file gives: both run on the same pictures.

    difference = max  |exported - onnx| / (max onnx - min onnx)     over all pictures, of the worst output
    average    = mean |exported - onnx| / (max onnx - min onnx)

Float networks differ by the order of sums: the difference is 1e-7 to 1e-5. Where an int8 network rounds to the other
side, a step of its grid, the next layers make more of it: 1e-3 to 1e-1 for some number of its output, 1e-4 to 1e-2 on
average. So an int8 network is judged by the average: an operator that is wrong moves most numbers (a layer that reads
zeros by 5e-2 and more).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gossamer.data.images import Split, chunks
from gossamer.data.preprocess import Preprocess
from gossamer.exporters.exported import Array, Exported, Target
from gossamer.exporters.onnx_file import OnnxFile

RANDOM_IMAGES = 4
BATCH = 16  # pictures that are in memory at once, with their outputs


@dataclass(frozen=True)
class Limit:
    """How large the difference and the average may be."""

    difference: float
    average: float


FLOAT, INT8 = Limit(1e-3, 1e-3), Limit(0.5, 0.02)


@dataclass(frozen=True)
class Agreement:
    """How far an exported network is from the ONNX file.

    `different` counts the images, random ones too, whose highest output is another; None where a network gives more
    than one vector an image.
    """

    runtime: str
    reference: str
    difference: float
    average: float
    random_images: int
    pictures: int
    different: int | None

    def __str__(self) -> str:
        images = f"{self.random_images} random images" + (f" and {self.pictures:,} pictures" if self.pictures else "")
        other = "" if self.different is None else f"; {self.different:,} answer{'s' * (self.different != 1)} changed"
        return (
            f"{self.runtime} is within {self.difference:.1e} of {self.reference}, {self.average:.1e} on average, as a "
            f"share of the output's spread, on {images}{other}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def random_images(preprocess: Preprocess, count: int = RANDOM_IMAGES) -> Array:
    """Noise in the input's range, (count, C, H, W): the same on every machine."""
    channels, height, width = preprocess.shape
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return preprocess.apply(pixels)


def check(
    target: Target,
    exported: Exported,
    model: bytes,
    preprocess: Preprocess,
    pictures: Split | None = None,
    limit: Limit = FLOAT,
) -> Agreement:
    """Compare on random images and on pictures, if any; ValueError where it is more than the limit."""
    reference = OnnxFile()
    whole = reference.export(model, random_images(preprocess, 1))
    seen = _Seen()
    with target.opened(exported) as run, reference.opened(whole) as expected:
        for images in _batches(preprocess, pictures):
            seen.add(run(images), expected(images))
    agreement = Agreement(
        target.runtime(),
        reference.runtime(),
        seen.difference,
        seen.average,
        RANDOM_IMAGES,
        0 if pictures is None else len(pictures),
        seen.different,
    )
    if not (agreement.difference <= limit.difference and agreement.average <= limit.average):  # a NaN is none
        raise ValueError(
            f"expected {agreement.runtime} to give what {agreement.reference} gives, within {limit.difference:g} of "
            f"the output's spread and {limit.average:g} on average, got {agreement.difference:.1e} and "
            f"{agreement.average:.1e}; nothing is written, choose another --to"
        )
    return agreement


def _batches(preprocess: Preprocess, pictures: Split | None) -> Iterator[Array]:
    yield random_images(preprocess)
    if pictures is not None:
        for positions in chunks(len(pictures), BATCH):
            yield preprocess.apply(pictures.images.take(positions))


class _Seen:
    """What has been compared so far."""

    def __init__(self) -> None:
        self._largest: list[float] = []  # differences, of each output
        self._sums: list[float] = []  # of differences
        self._counts: list[int] = []
        self._ends: list[tuple[float, float]] = []
        self.different: int | None = None

    @property
    def difference(self) -> float:
        """The largest, as a share of the spread, of the worst output."""
        return self._share(self._largest)

    @property
    def average(self) -> float:
        """The same of the mean."""
        return self._share([total / max(count, 1) for total, count in zip(self._sums, self._counts, strict=True)])

    def _share(self, differences: list[float]) -> float:
        shares = [
            difference / ((high - low) or max(abs(high), abs(low), 1e-30))
            for difference, (low, high) in zip(differences, self._ends, strict=True)
        ]
        return float(np.max(shares))

    def add(self, outputs: Iterable[Array], expected: Iterable[Array]) -> None:
        """The outputs of some more images."""
        pairs = list(zip(outputs, expected, strict=True))
        for got, wanted in pairs:
            if got.shape != wanted.shape:
                raise ValueError(
                    f"expected an output of {wanted.shape}, as the ONNX file gives it, got {got.shape}; nothing is "
                    "written, choose another --to"
                )
        if not self._ends:
            self._largest, self._ends = [0.0] * len(pairs), [(np.inf, -np.inf)] * len(pairs)
            self._sums, self._counts = [0.0] * len(pairs), [0] * len(pairs)
        for index, (got, wanted) in enumerate(pairs):
            differences = np.abs(got - wanted)
            # maximum, unlike max, keeps a NaN
            self._largest[index] = float(np.maximum(self._largest[index], differences.max(initial=0.0)))
            self._sums[index] += float(differences.sum(dtype=np.float64))
            self._counts[index] += differences.size
            low, high = self._ends[index]
            self._ends[index] = min(low, float(wanted.min())), max(high, float(wanted.max()))
        if pairs[0][1].ndim == 2 and len(pairs) == 1:
            got, wanted = pairs[0]
            self.different = (self.different or 0) + int((got.argmax(1) != wanted.argmax(1)).sum())
