# SPDX-License-Identifier: Apache-2.0
"""The record of one run, as it stands in report.json: what was asked, what was measured, what is proven.

Qualities are fractions on the test split, sizes are whole files in bytes, latencies milliseconds at batch 1.
The fields of `Report` up to `command` are the record that claims are read from; those after it are optional
and only make the page richer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer import files
from gossamer.certify import ByArea
from gossamer.report.schema import from_plain, to_plain

TASKS = ("classification", "agreement", "segmentation", "detection")
OBJECTIVES = ("bytes", "latency", "macs")
PICTURES = "pictures"  # the folder of those that a report shows, beside it
STEADY = 2.0  # p90 of a ratio or of milliseconds over their p10
_PICTURE = re.compile(rf"{PICTURES}/[a-z0-9-]+\.png")
_COLOUR = re.compile(r"#[0-9a-f]{6}")

_CERTIFICATE: dict[str, Any] = {
    "tolerance": float,
    "confidence": float,
    "n": int,
    "observed_drop": float,
    "bound": float | None,
    "guaranteed": float | None,
    "proven": bool,
    "method": str,
}


def _check_range(name: str, value: float | None, low: float, high: float = float("inf")) -> None:
    if value is not None and not low <= value <= high:
        limits = f"at least {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"
        raise ValueError(f"expected {name} to be {limits}, got {value!r}; measure it again or correct the report")


@dataclass(frozen=True)
class Bytes:
    """Four sizes of one network: raw float, zipped float, what the runtime loads, the coded file.

    `runtime` and `coded` are None where no such file was made (nobody codes the original).
    """

    fp32: int
    zip: int
    runtime: int | None
    coded: int | None

    def __post_init__(self) -> None:
        for name in ("fp32", "zip", "runtime", "coded"):
            _check_range(f"bytes.{name}", getattr(self, name), 0)


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one image through one runtime: the median and its spread over `n` timed runs."""

    median: float
    p10: float
    p90: float
    n: int
    threads: int

    def __post_init__(self) -> None:
        _check_range("latency.median", self.median, 0)
        if not self.p10 <= self.median <= self.p90:
            raise ValueError(
                f"expected p10 <= median <= p90 of a latency, got {self.p10}, {self.median}, {self.p90}; "
                "all three come from the same timings, in milliseconds"
            )


@dataclass(frozen=True)
class SecondTest:
    """A network on the second test split: its mean quality there, and the figures of all of it, fractions."""

    quality: float
    figures: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        _check_range("second_test.quality", self.quality, 0, 1)


@dataclass(frozen=True)
class Side:
    """One network, measured: the original, the compressed, or the dense control that was tuned as long.

    `figures`: numbers of the whole test split by name, fractions, that are no mean over its images.
    `first_answer_ms`: from its file to its first answer; `peak_memory`: bytes that a process which does that has held;
    both are medians of some processes, and `first_answer_range` and `peak_memory_range` the least and the most of them.
    `ram_bytes`: the working memory of its activations on a device (`measure.working_memory`), in records since it is.
    `second_test`: on images of other places, where the data have them; nothing is decided or proven there.
    """

    quality: float
    parameters: int
    nonzeros: int
    macs: int
    bytes: Bytes
    latency_ms: Mapping[str, Latency]
    first_answer_ms: float | None = None
    peak_memory: int | None = None
    first_answer_range: tuple[float, ...] = ()
    peak_memory_range: tuple[int, ...] = ()
    ram_bytes: int | None = None
    figures: Mapping[str, float] | None = None
    second_test: SecondTest | None = None

    def __post_init__(self) -> None:
        _check_range("quality", self.quality, 0, 1)
        _check_range("macs", self.macs, 0)
        _check_range("nonzeros", self.nonzeros, 0, self.parameters)
        _check_range("ram_bytes", self.ram_bytes, 0)
        for name, value in (self.figures or {}).items():
            _check_range(f"figure {name!r}", value, 0, 1)


@dataclass(frozen=True)
class Opened:
    """What the test split said of a candidate; drops are fractions, `bound` and `guaranteed` as in a certificate."""

    proven: bool
    n: int
    b: int
    c: int
    observed_drop: float
    bound: float
    guaranteed: float


@dataclass(frozen=True)
class Candidate:
    """A network the search looked at, judged on the selection split; None where nothing was measured.

    `test` is None for candidates that the test split was not opened for: refused ones, and those after a failure.
    """

    name: str
    bytes: int | None
    macs: int | None
    latency_ms: float | None
    selection_quality: float | None
    selection_drop: float | None
    accepted: bool
    note: str = ""
    test: Opened | None = None


@dataclass(frozen=True)
class LayerRow:
    """What became of one weight tensor; output channels come first in the shapes."""

    name: str
    kind: str
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    sparsity: float
    bits_per_weight: float
    bytes: int
    coder: str
    note: str = ""

    def __post_init__(self) -> None:
        _check_range(f"sparsity of layer {self.name!r}", self.sparsity, 0, 1)


@dataclass(frozen=True)
class Epoch:
    """One epoch of tuning; `loss` is None where training stopped at a loss that is not a number.

    `quality`: on the images of `Watched`, None where it was not asked. `training`: which of the run's, from 1 on.
    """

    epoch: int
    loss: float | None
    quality: float | None
    training: int = 1


@dataclass(frozen=True)
class Watched:
    """How many images of the selection split were asked after each epoch, and the original's quality on them."""

    images: int
    original: float


@dataclass(frozen=True)
class SpeedRow:
    """Original and compressed, timed in turns in one runtime; `p10` and `p90` are those of the ratio."""

    runtime: str
    precision: str
    original_ms: float | None
    compressed_ms: float | None
    ratio: float | None
    p10: float | None
    p90: float | None

    @property
    def steady(self) -> bool:
        """Whether the ratio's spread lets its median mean anything."""
        return self.p10 is None or self.p90 is None or self.p90 <= STEADY * self.p10


@dataclass(frozen=True)
class ClassRow:
    """One class or group on the test split: its images, and the mean quality of each network on them, fractions."""

    name: str
    n: int
    original: float
    compressed: float

    @property
    def drop(self) -> float:
        """What it lost, a fraction."""
        return self.original - self.compressed


@dataclass(frozen=True)
class Panel:
    """A small picture of a test image: what it shows in words, and its file beside report.json."""

    name: str
    file: str

    def __post_init__(self) -> None:
        if not _PICTURE.fullmatch(self.file):
            raise ValueError(
                f"expected a picture of the form {PICTURES}/name.png, got {self.file!r}; a page shows no other file"
            )


@dataclass(frozen=True)
class Shown:
    """A test image as both networks see it; `which` one it is, and its quality, fractions."""

    which: str
    original: float
    compressed: float
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Swatch:
    """What a colour of the pictures means, as #rrggbb."""

    name: str
    colour: str

    def __post_init__(self) -> None:
        if not _COLOUR.fullmatch(self.colour):
            raise ValueError(f"expected a colour as #rrggbb, got {self.colour!r}")


@dataclass(frozen=True)
class SplitRow:
    """How many examples a split has, and the hash of their content."""

    n: int
    sha256: str


@dataclass(frozen=True)
class Report:
    """One run from the original network to the proven file.

    `certificate` holds at least tolerance, confidence, n, observed_drop, bound (of this candidate alone) and
    guaranteed (after the choice among several; None: no bound could be given), proven and method, drops being
    fractions; `measure` (accuracy where it is missing), `b` (original right, compressed wrong), `c` (the reverse) and
    `p_value` are understood by the page, whatever else it holds is listed there.
    `candidates` are in the order they were tried, and `chosen` is the name of the delivered one. `parts` are the bytes
    of the coded file by what they are for; they add up to it. `by_area` stands beside the certificate where the areas
    of the test images are known, and `groups` are the areas that lost most, worst first. `agreement`: the share of
    test images that both networks give the same class. `shown` are some test images, and `legend` says what their
    colours mean. `epochs_trained`, of each copy where copies train beside each other, and `evaluations`, networks that
    were asked for their quality on some images, are what the run took beside its time.
    """

    network: str
    task: str
    data: str
    recipe: str
    minimise: str
    seed: int
    original: Side
    compressed: Side
    control: Side | None
    certificate: Mapping[str, Any]
    environment: Mapping[str, Any]
    seconds: float
    command: str
    candidates: tuple[Candidate, ...] = ()
    chosen: str | None = None
    layers: tuple[LayerRow, ...] = ()
    times: Mapping[str, float] | None = None
    goal: Mapping[str, Any] | None = None
    splits: Mapping[str, SplitRow] | None = None
    notes: tuple[str, ...] = ()
    history: tuple[Epoch, ...] = ()
    watched: Watched | None = None
    speed: tuple[SpeedRow, ...] = ()
    parts: Mapping[str, int] | None = None
    classes: tuple[ClassRow, ...] = ()
    by_area: ByArea | None = None
    groups: tuple[ClassRow, ...] = ()
    agreement: float | None = None
    shown: tuple[Shown, ...] = ()
    legend: tuple[Swatch, ...] = ()
    epochs_trained: int | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"expected task to be one of {', '.join(TASKS)}, got {self.task!r}; use one of them")
        if self.minimise not in OBJECTIVES:
            raise ValueError(
                f"expected minimise to be one of {', '.join(OBJECTIVES)}, got {self.minimise!r}; use one of them"
            )
        for key, kind in _CERTIFICATE.items():
            if key not in self.certificate:
                given = ", ".join(self.certificate) or "none"
                raise ValueError(
                    f"expected the key {key!r} in certificate, got only {given}; certify the network again"
                )
            from_plain(kind, to_plain(self.certificate[key]), f"certificate.{key}")
        if self.parts is not None and sum(self.parts.values()) != self.compressed.bytes.coded:
            raise ValueError(
                f"expected parts that add up to the coded file, {self.compressed.bytes.coded} bytes, got "
                f"{sum(self.parts.values())}; take them from that file"
            )
        if self.chosen is not None and self.chosen not in {candidate.name for candidate in self.candidates}:
            raise ValueError(
                f"expected chosen to name one of the {len(self.candidates)} candidates, got {self.chosen!r}; "
                "add the candidate or leave chosen out"
            )

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; refused with a sentence if it could not be read back."""
        plain: dict[str, Any] = to_plain(self)
        Report.from_json(plain)
        return plain

    @classmethod
    def from_json(cls, value: Any) -> Report:
        """The report that JSON values stand for; ValueError names the first wrong place."""
        report: Report = from_plain(cls, value, "report")
        return report

    def __str__(self) -> str:
        from gossamer.report.words import headline

        return f"{self.network} on {self.data}, recipe {self.recipe}: {headline(self)}"


def write_json(report: Report, path: Path) -> None:
    """Write report.json, atomically."""
    files.write_json(path, report.to_json())


def read_reports(path: Path) -> tuple[Report, ...]:
    """All reports of a report.json, which holds one object or a list of them."""
    value = files.read_json(path)
    try:
        return tuple(Report.from_json(item) for item in (value if isinstance(value, list) else [value]))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
