# SPDX-License-Identifier: Apache-2.0
"""What the claims of a comparison have filed: a row for each method and share, over all seeds that there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.compared_claims import METHODS, SHARES, TERMS, Compared, name_of
from benchmarks.similarity import FILE as SIMILARITY
from gossamer.files import read_json
from gossamer.report.record import Report, read_reports
from gossamer.report.units import human_bytes

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
NORMAL = 1.96  # standard errors of 95 %


@dataclass(frozen=True)
class Comparison:
    """Claims `NAME-SHARE-METHOD`; `left` says what the share is of.

    `targets`: points below the original, by share; how many epochs pass until then is counted. `network`, of the zoo:
    the one whose layers are shown, with what each method leaves in them.
    """

    name: str
    left: str
    targets: Mapping[int, float]
    network: str | None = None

    @property
    def shares(self) -> tuple[int, int]:
        """What is left, in percent, the larger first."""
        return SHARES[self.name]

    @property
    def methods(self) -> Mapping[str, Compared]:
        """What is compared, by name."""
        return METHODS[self.name]

    def filed(self, results: Path = RESULTS) -> list[Row]:
        """Every row that there is, the larger share first, and of each share the best."""
        found = []
        for share in self.shares:
            rows = [Row(self, name, share, self._seeds(share, name, results), results) for name in self.methods]
            found += sorted((row for row in rows if row.reports), key=lambda row: row.lost)
        return found

    def _seeds(self, share: int, name: str, results: Path) -> dict[int, Report]:
        seeds = range(TERMS[self.name].seeds)
        paths = {seed: results / name_of(self.name, share, name, seed) / "report.json" for seed in seeds}
        return {seed: read_reports(path)[0] for seed, path in paths.items() if path.exists()}


COMPARISONS = (
    Comparison("structured", "multiply-adds", {50: 1.0, 30: 2.0}),
    Comparison("weight-level", "weights", {10: 2.0, 5: 4.0}, network="resnet20"),
)


@dataclass(frozen=True)
class Row:
    """A method's outcome at one share, by seed; `lost` and `error` in points, the latter half of a 95 % interval."""

    comparison: Comparison
    name: str
    share: int
    reports: Mapping[int, Report]
    results: Path = RESULTS

    @property
    def shows(self) -> str:
        """What the method is."""
        return self.comparison.methods[self.name].shows

    def mean(self, of: Callable[[Report], float]) -> float:
        """Over the seeds."""
        return fmean(of(report) for report in self.reports.values())

    @property
    def lost(self) -> float:
        """Points of test accuracy against the original, the mean."""
        return self.mean(_lost)

    @property
    def error(self) -> float:
        """Of one training's loss: images on which the two networks differ are what it hangs on."""

        def of(report: Report) -> float:
            certificate = report.certificate
            return 100 * NORMAL * math.sqrt(certificate["b"] + certificate["c"]) / float(certificate["n"])

        return self.mean(of)

    @property
    def spread(self) -> str:
        """How many seeds there are, and where they differ, the worst and the best of them."""
        found = [100 * report.compressed.quality for report in self.reports.values()]
        return "1" if len(found) == 1 else f"{len(found)}: {min(found):.2f} to {max(found):.2f} %"

    @property
    def left(self) -> float:
        """The share that is really left, the mean: of multiply-adds, or of weights that are not zero."""

        def of(report: Report) -> float:
            return share_left(report, self.comparison)

        return self.mean(of)

    @property
    def costs(self) -> dict[str, str]:
        """What is left, by the heads of its columns."""
        parameters = self.mean(lambda report: report.compressed.parameters / report.original.parameters)
        columns = {"parameters": f"{100 * parameters:.1f} %"}
        if self.comparison.left == "multiply-adds":
            return {"MACs": f"{100 * self.left:.1f} %", **columns}
        size = self.mean(lambda report: report.compressed.bytes.coded or 0)
        return {"not zero": f"{100 * self.left:.2f} %", **columns, "file": human_bytes(round(size))}

    def folder(self, seed: int) -> Path:
        """Where a result is filed."""
        return self.results / name_of(self.comparison.name, self.share, self.name, seed)

    @property
    def first(self) -> Path:
        """The folder of the first seed that there is."""
        return self.folder(next(iter(self.reports)))

    @cached_property
    def _similar(self) -> list[dict[str, Any]]:
        paths = [self.folder(seed) / SIMILARITY for seed in self.reports]
        return [dict(read_json(path)) for path in paths if path.exists()]

    @property
    def layers(self) -> dict[str, float]:
        """CKA with the original of each layer, of the first seed; none where it is not filed."""
        return dict(self._similar[0]["layers"]) if self._similar else {}

    @property
    def similarity(self) -> str:
        """CKA with the original, the mean over the layers and seeds."""
        found = [fmean(of["layers"].values()) for of in self._similar]
        return f"{fmean(found):.3f}" if found else ""

    @property
    def same_answers(self) -> str:
        """The share of images that get the class that the original gives them."""
        found = [float(of["same_answers"]) for of in self._similar]
        return f"{100 * fmean(found):.1f} %" if found else ""

    @property
    def epochs(self) -> str:
        """Epochs until the target, of each seed."""
        points = self.comparison.targets[self.share]
        found = [epochs_until(report, points / 100) for report in self.reports.values()]
        return ", ".join(words for words in found if words)

    @property
    def cells(self) -> list[str]:
        """Of the table."""
        controls = [100 * report.control.quality for report in self.reports.values() if report.control]
        links = [f"[{seed}](../results/{self.folder(seed).name}/)" for seed in self.reports]
        return [
            self.shows,
            *self.costs.values(),
            f"{self.mean(lambda report: 100 * report.compressed.quality):.2f} %",
            f"{-self.lost:+.2f} ± {self.error:.2f}",
            self.spread,
            self.same_answers,
            self.similarity,
            self.epochs,
            f"{fmean(controls):.2f} %" if controls else "",
            " ".join(links),
        ]


def share_left(report: Report, comparison: Comparison) -> float:
    """What one training left, a fraction."""
    before, after = report.original, report.compressed
    return after.macs / before.macs if comparison.left == "multiply-adds" else after.nonzeros / before.parameters


def _lost(report: Report) -> float:
    return 100 * float(report.certificate["observed_drop"])


def epochs_until(report: Report, drop: float) -> str:
    """Which epoch of tuning first ends within `drop` of the original, once the network has its last shape.

    Empty where qualities were not asked for.
    """
    if report.watched is None or not report.history:
        return ""
    last = report.history[-1].training
    for place, epoch in enumerate(report.history, start=1):
        if epoch.training == last and epoch.quality is not None and epoch.quality >= report.watched.original - drop:
            return str(place)
    return f"> {len(report.history)}"
