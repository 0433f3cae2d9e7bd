# SPDX-License-Identifier: Apache-2.0
"""The certificate: a promise about the drop in quality, tested on images that nothing was chosen on.

Right-or-wrong quality, paired by image, by the exact test of `exact`; other quality between 0 and 1, such as IoU, by
the bets of `betting`. Each run on a test split spends
a part of 1 - confidence, the k-th 6 / (pi^2 k^2) of it, which sums to the whole: the first run has 61 %, and
retries stay honest however many follow (`ledger` counts them).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy.typing as npt

from gossamer.certify.betting import Differences
from gossamer.certify.exact import RESOLUTION, Counts, p_value, upper_bound
from gossamer.certify.sequence import Evidence, Listed, check_digest, pack_steps, unpack_steps

METHOD = "exact unconditional, paired; order: Tango score limit; nuisance: Berger-Boos"
BETTING = "bets on the mean difference, paired; wager settled before the test"
ACCURACY = "accuracy"  # what is measured where a certificate by counts does not say it
OPTIONAL = ("wager", "differences")  # fields that only certificates by bets have
LONGEST_MEASURE = 40  # characters


def level(confidence: float, look: int = 1) -> float:
    """The level of the `look`-th run on one test split, 6 (1 - confidence) / (pi look)^2.

    >>> round(level(0.95, look=1), 4), round(level(0.95, look=2), 4)
    (0.0304, 0.0076)
    """
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must be in [0.5, 1), got {confidence}; 0.95 is usual")
    if look < 1:
        raise ValueError(f"look must be 1 for the first run on a test split, 2 for the second, ..., got {look}")
    return 6 * (1 - confidence) / (math.pi * look) ** 2


@dataclass(frozen=True)
class Certificate:
    """What was promised, what was counted, and whether the counts prove it; drops are fractions of `measure`.

    `look` says which run on this test split it was and `alpha` the level that was left for it. `bound` is an upper
    confidence bound of the true drop at that level, of this candidate alone: right if it was the only one that could
    have been delivered. `guaranteed` is the bound that stays right although it was chosen among several
    (`ledger.guaranteed`). `proven`, `bound <= tolerance` and `guaranteed <= tolerance` say the same. By bets, b and c
    are images with worse and with better quality, and `wager` and `differences` are what the bound follows from.
    `sequence` lists the candidates tested beside it, from which `guaranteed` follows; None where nobody listed them.
    """

    tolerance: float
    confidence: float
    n: int
    b: int
    c: int
    observed_drop: float
    bound: float
    guaranteed: float
    p_value: float
    proven: bool
    method: str
    data_sha256: str
    payload_sha256: str
    look: int
    alpha: float
    measure: str = ACCURACY
    wager: float = 0.0
    differences: tuple[int, ...] = ()
    sequence: Listed | None = None

    @property
    def evidence(self) -> Evidence:
        """What was counted."""
        if self.method == BETTING:
            return Differences(self.differences, self.wager)
        return Counts(self.n, self.b, self.c)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with one entry per field, those of bets only where there are any.

        The differences are one text (`pack_steps`). Without `measure` it is accuracy.
        """
        bets = self.method == BETTING
        left_out = () if bets else (*OPTIONAL, "measure") if self.measure == ACCURACY else OPTIONAL
        value = {name: entry for name, entry in asdict(self).items() if name not in (*left_out, "sequence")}
        if bets:
            value["differences"] = pack_steps(self.differences)
        if self.sequence is not None:
            value["sequence"] = self.sequence.to_json()
        return value

    @classmethod
    def from_json(cls, value: Any) -> Certificate:
        """The inverse of `to_json`; says which field is missing, unknown or of the wrong kind."""
        bets = isinstance(value, dict) and value.get("method") == BETTING
        names = [field.name for field in fields(cls) if bets or field.name not in OPTIONAL]
        lacking = ("sequence",) if bets else ("sequence", "measure")
        names = [name for name in names if name not in lacking or not isinstance(value, dict) or name in value]
        if not isinstance(value, dict) or sorted(value) != sorted(names):
            got = ", ".join(map(str, value)) if isinstance(value, dict) else repr(value)
            raise ValueError(f"a certificate must be an object with exactly {', '.join(names)}, got {got}")
        read: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in names:
                continue
            entry = value[field.name]
            if field.name == "differences":
                read[field.name] = unpack_steps(entry, read["n"])
                continue
            if field.name == "sequence":
                read[field.name] = Listed.from_json(entry, read["n"], bets)
                continue
            if field.type == "float" and type(entry) is int:
                entry = float(entry)
            if type(entry).__name__ != field.type or (isinstance(entry, float) and not math.isfinite(entry)):
                raise ValueError(f"certificate field {field.name!r} must be a {field.type}, got {entry!r}")
            read[field.name] = entry
        check_measure(read.get("measure", ACCURACY))
        return cls(**read)

    def __str__(self) -> str:
        promise = (
            f"a drop in {self.measure} below {100 * self.tolerance:g} points at {100 * self.confidence:g} % confidence"
        )
        alone = f" ({_up(self.bound)} of this candidate alone)" if self.bound != self.guaranteed else ""
        words = ("worse", "better") if self.method == BETTING else ("turned wrong", "right")
        return (
            f"{'Proven' if self.proven else 'NOT proven'}: {promise}. Observed drop "
            f"{100 * self.observed_drop:.2f} points, upper bound {_up(self.guaranteed)}{alone}, on {self.n:,} test "
            f"images ({self.b:,} {words[0]}, {self.c:,} {words[1]}); run {self.look} on this test split."
        )


def certify(
    original_right: npt.ArrayLike,
    compressed_right: npt.ArrayLike,
    tolerance: float,
    confidence: float,
    *,
    data_sha256: str,
    payload_sha256: str,
    look: int = 1,
    measure: str = ACCURACY,
) -> Certificate:
    """Test on the test split, image by image, that the drop is below `tolerance`; two bool vectors, (n,).

    For one candidate: where one of several is delivered, `ledger.fixed_sequence` says what is guaranteed.
    """
    counts = Counts.of(original_right, compressed_right)
    return certificate_of(counts, tolerance, confidence, data_sha256, payload_sha256, look, measure)


def smallest_tolerance(evidence: Evidence, confidence: float, look: int = 1) -> float:
    """The smallest tolerance that this proves, in whole hundredths of a point; at least one, below all.

    For a single candidate, chosen before the counts were seen, its certificate then says what a confidence bound says.
    """
    bound = _bound(evidence, level(confidence, look))
    return min(max(1, math.ceil(round(bound * 10_000, 6))), 9_999) / 10_000


def certificate_of(
    evidence: Evidence,
    tolerance: float,
    confidence: float,
    data_sha256: str,
    payload_sha256: str,
    look: int,
    measure: str = ACCURACY,
) -> Certificate:
    """The certificate that counts or differences give, for one candidate; both hashes are SHA-256 in hex.

    `measure`: what the quality of an image is called.
    """
    check_tolerance(tolerance)
    check_measure(measure)
    check_digest("data_sha256", data_sha256)
    check_digest("payload_sha256", payload_sha256)
    alpha = level(confidence, look)
    bets = evidence if isinstance(evidence, Differences) else None
    p = p_value_of(evidence, tolerance, alpha)
    bound = _bound(evidence, alpha)
    proven = p <= alpha
    # p is taken at the tolerance itself, the bound is rounded up: where the two meet, p decides.
    bound = min(bound, tolerance) if proven else max(bound, tolerance + RESOLUTION)
    return Certificate(
        tolerance=tolerance,
        confidence=confidence,
        n=evidence.n,
        b=evidence.b,
        c=evidence.c,
        observed_drop=evidence.drop,
        bound=bound,
        guaranteed=bound,
        p_value=p,
        proven=proven,
        method=BETTING if bets else METHOD,
        data_sha256=data_sha256,
        payload_sha256=payload_sha256,
        look=look,
        alpha=alpha,
        measure=measure,
        wager=bets.wager if bets else 0.0,
        differences=bets.steps if bets else (),
    )


def p_value_of(evidence: Evidence, tolerance: float, alpha: float) -> float:
    """p of H0: the drop is `tolerance` or more; of counts for a test at the level `alpha`."""
    return p_value(evidence, tolerance, alpha) if isinstance(evidence, Counts) else evidence.p_value(tolerance)


def _bound(evidence: Evidence, alpha: float) -> float:
    return evidence.upper_bound(alpha) if isinstance(evidence, Differences) else upper_bound(evidence, alpha)


def _up(fraction: float) -> str:
    """Points, never shown smaller than they are."""
    return f"{math.ceil(1e5 * fraction - 1e-9) / 1e3:.3f}"


def check_tolerance(tolerance: float) -> None:
    """ValueError unless it is a drop that can be promised."""
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be a fraction in [0, 1), got {tolerance}; half a point is 0.005")


def check_measure(measure: str) -> None:
    """ValueError unless it is a short name that can be printed anywhere."""
    if not (1 <= len(measure) <= LONGEST_MEASURE and measure.isprintable()):
        raise ValueError(f"measure must be a name of 1 to {LONGEST_MEASURE} printable characters, got {measure!r:.60}")
