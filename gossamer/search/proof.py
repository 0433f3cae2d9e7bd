# SPDX-License-Identifier: Apache-2.0
"""Proof: the accepted candidates meet the test split, once, in an order fixed before it is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gossamer import container
from gossamer.certify import (
    Certificate,
    Counts,
    Differences,
    Ledger,
    certificate_of,
    fixed_sequence,
    level,
    listed,
    order_hash,
    smallest_tolerance,
)
from gossamer.certify.betting import difference, wager
from gossamer.certify.sequence import Evidence
from gossamer.files import sha256
from gossamer.kinds import Quality
from gossamer.measure.quality import Answered
from gossamer.search.candidate import Candidate
from gossamer.search.run import Run


@dataclass(frozen=True)
class Proof:
    """The delivered candidate, its certificate, and what both networks answered on the test split.

    `opened` has the certificate of every candidate that the test split was opened for, by name.
    """

    delivered: Candidate
    certificate: Certificate
    opened: Mapping[str, Certificate]
    original: Answered
    compressed: Answered

    @property
    def original_quality(self) -> float:
        """A fraction of the test split."""
        return float(self.original.quality.mean())

    @property
    def compressed_quality(self) -> float:
        """A fraction of the test split."""
        return float(self.compressed.quality.mean())


def prove(run: Run, candidates: Sequence[Candidate], ledger: Ledger) -> Proof:
    """Test accepted candidates from conservative to aggressive until the first failure; the last proven is delivered.

    Conservative is what gains least of what the goal minimises, and the larger file of those that gain the same, so the
    last proven is the best proven. Where not even the first is proven, the first is delivered with a certificate that
    says so. Two kinds of goals have one candidate tested only: of those that fit limits the best on the selection
    split, and proven is what its counts allow; and where the test split has too few images to prove anything, so that
    observed drops have decided, the one that gains most.
    """
    task, goal = run.task, run.goal
    accepted = [candidate for candidate in candidates if candidate.verdict.accepted]
    accepted.sort(key=lambda candidate: candidate.rank(goal.minimise), reverse=True)
    if goal.fit:
        accepted = sorted(accepted, key=lambda candidate: candidate.quality)[-1:]
    elif not any(candidate.verdict.provable for candidate in accepted):
        accepted = accepted[-1:]
    if not accepted and goal.fit:
        nearest = "; ".join(f"'{candidate.name}': {candidate.verdict.note}" for candidate in candidates[-2:])
        raise ToleranceNotMet(
            f"no candidate fits into the limits ({nearest}); raise them, or give more --hours and another --out"
        )
    if not accepted:
        best = min(candidates, key=lambda candidate: candidate.verdict.drop)
        raise ToleranceNotMet(
            f"no candidate kept the promise of at most {100 * goal.tolerance:g} points on the selection split; "
            f"the best, '{best.name}', lost {100 * best.verdict.drop:.2f} and is in {best.folder}; "
            "raise --tolerance, or give more --hours and another --out"
        )
    by_payload: dict[str, Candidate] = {}
    for candidate in accepted:  # the same network twice is one candidate
        by_payload.setdefault(container.read(candidate.file).payload_sha256, candidate)
    payloads, promised = list(by_payload), None if goal.fit else goal.tolerance
    order = order_hash(payloads, task.test.sha256, promised, goal.confidence, task.of_kind.measured)
    look = ledger.record(task.test.sha256, order, payloads)
    original = _on_test(run, sha256(run.original_onnx()), run.original_onnx())

    def test(digest: str) -> Certificate:
        evidence = _evidence(run, original.quality, by_payload[digest], digest, level(goal.confidence, look))
        tolerance = goal.tolerance
        if goal.fit:
            tolerance = smallest_tolerance(evidence, goal.confidence, look)
        measure = task.of_kind.measured
        return certificate_of(evidence, tolerance, goal.confidence, task.test.sha256, digest, look, measure)

    certificates, delivered = fixed_sequence(payloads, test)
    opened = {by_payload[made.payload_sha256].name: made for made in certificates}
    for name, made in opened.items():
        ledger.add(made)
        run.watch.say(f"{name}: {made}")
    index = payloads.index(delivered) if delivered else 0
    chosen = by_payload[payloads[index]]
    certificate = listed(certificates, index, order, payloads[len(certificates) :], by_counts=bool(goal.fit))
    if delivered is None and chosen.verdict.provable:
        run.note("not even the most careful candidate is proven on the test split: the certificate says 'not proven'")
    elif delivered is None:
        run.note(
            f"{len(task.test):,} test images cannot prove {100 * goal.tolerance:g} points: the drop on the selection "
            "split has decided what is delivered, and the certificate says 'not proven'"
        )
    compressed = _on_test(run, payloads[index], chosen.onnx())
    return Proof(chosen, certificate, opened, original, compressed)


def _evidence(run: Run, original: Quality, candidate: Candidate, digest: str, alpha: float) -> Evidence:
    """What the test split says of a candidate, whose file has this hash, beside the original.

    What is bet on each image was settled on the selection split.
    """
    compressed = _on_test(run, digest, candidate.onnx()).quality
    if original.dtype == np.bool_:
        return Counts.of(original, compressed)
    decided = run.quality_on(f"selection of {digest[:16]}", run.task.selection, candidate.onnx)
    share = wager(difference(run.original_quality(), decided), len(run.task.test), alpha)
    return Differences.of(original, compressed, share)


def _on_test(run: Run, digest: str, model: bytes) -> Answered:
    """What the test split says of a network, remembered by its hash: the split is opened once."""
    return run.answered_on(f"test of {digest[:16]}", run.task.test, lambda: model)


class ToleranceNotMet(ValueError):
    """No plan kept the quality that was asked for; the best found is on disk."""
