# SPDX-License-Identifier: Apache-2.0
"""What a certificate lists of the candidates tested beside its own, so that whoever has the file can follow the choice.

    c_k = ""                 c_i = SHA-256(payload_i + c_(i+1))     of k candidates in the order of their tests, in hex
    order = SHA-256(JSON [data, measure, tolerance, confidence, c_0])

The order hash is fixed before the test split is opened. Of a chain of hashes a certificate needs to list only those
that were opened: c_i stands for all that were not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gossamer.certify import elias_fano
from gossamer.certify.betting import STEPS, Differences
from gossamer.certify.exact import Counts
from gossamer.files import sha256

NOBODY = ""  # what stands for candidates not opened where there are none
_KEYS = ("order", "before", "failed", "unopened", "by_counts")

Evidence = Counts | Differences


@dataclass(frozen=True)
class Rival:
    """Another candidate that the test split was opened for, and what it said of it."""

    payload_sha256: str
    evidence: Evidence

    def to_json(self) -> list[Any]:
        """[payload, b, c], or [payload, wager, differences] by bets."""
        if isinstance(self.evidence, Counts):
            return [self.payload_sha256, self.evidence.b, self.evidence.c]
        return [self.payload_sha256, self.evidence.wager, pack_steps(self.evidence.steps)]

    @classmethod
    def from_json(cls, value: Any, n: int, bets: bool) -> Rival:
        """The inverse of `to_json`, of `n` images."""
        kinds = (str, float, str) if bets else (str, int, int)
        if not isinstance(value, list) or tuple(map(type, value)) != kinds:
            wanted = "[payload, wager, differences]" if bets else "[payload, b, c]"
            raise ValueError(f"a candidate of a certificate's sequence must be {wanted}, got {value!r:.80}")
        payload, second, third = value
        check_digest("the payload of a sequence", payload)
        return cls(payload, Differences(unpack_steps(third, n), second) if bets else Counts(n, second, third))


@dataclass(frozen=True)
class Listed:
    """The candidates `before` the certificate's own, which are proven, and the one after it that `failed`, if one did.

    `unopened`: the hash of those that the test split was never opened for. `by_counts`: no tolerance was fixed before,
    the certificate has the smallest that its counts prove; then it is of the only candidate.
    """

    order: str
    before: tuple[Rival, ...] = ()
    failed: Rival | None = None
    unopened: str = NOBODY
    by_counts: bool = False

    @property
    def others(self) -> tuple[Rival, ...]:
        """All that are listed."""
        return self.before if self.failed is None else (*self.before, self.failed)

    def order_with(self, own: str, data_sha256: str, tolerance: float, confidence: float, measure: str) -> str:
        """The order hash that this sequence gives with the certificate's own payload."""
        after = [] if self.failed is None else [self.failed.payload_sha256]
        payloads = [*(tested.payload_sha256 for tested in self.before), own, *after]
        promised = None if self.by_counts else tolerance
        return _promised(chained(payloads, self.unopened), data_sha256, promised, confidence, measure)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; what is empty is left out."""
        value = {
            "order": self.order,
            "before": [tested.to_json() for tested in self.before],
            "failed": None if self.failed is None else self.failed.to_json(),
            "unopened": self.unopened,
            "by_counts": self.by_counts,
        }
        return {key: entry for key, entry in value.items() if entry}

    @classmethod
    def from_json(cls, value: Any, n: int, bets: bool) -> Listed:
        """The inverse of `to_json`, of `n` images each."""
        if not isinstance(value, dict) or "order" not in value or set(value) - set(_KEYS) or not all(value.values()):
            raise ValueError(
                f"a certificate's sequence must be an object with order and, where there are any, "
                f"{', '.join(_KEYS[1:])}, got {value!r:.80}"
            )
        before, failed, by_counts = value.get("before", []), value.get("failed"), value.get("by_counts", False)
        if not isinstance(before, list) or not isinstance(by_counts, bool):
            raise ValueError(f"a certificate's sequence must have a list before, a bool by_counts, got {value!r:.80}")
        for key in ("order", "unopened"):
            if key in value:
                check_digest(key, value[key])
        return cls(
            value["order"],
            tuple(Rival.from_json(entry, n, bets) for entry in before),
            None if failed is None else Rival.from_json(failed, n, bets),
            value.get("unopened", NOBODY),
            by_counts,
        )

    def __str__(self) -> str:
        alone = "none beside it" if not self.others else f"{len(self.before):,} before it, all proven"
        failed = "" if self.failed is None else "; the next failed"
        return f"{alone}{failed}{'; others were not opened' if self.unopened else ''}"


def order_hash(
    payloads: Sequence[str], data_sha256: str, tolerance: float | None, confidence: float, measure: str
) -> str:
    """SHA-256 that commits to the candidates, their order and the promise before the split is opened.

    Without a tolerance the promise is the smallest that the counts of the only candidate prove.
    """
    if isinstance(payloads, str) or not payloads or len(set(payloads)) != len(payloads):
        raise ValueError(f"expected at least one candidate, each named once, got {payloads!r}")
    return _promised(chained(payloads), data_sha256, tolerance, confidence, measure)


def chained(payloads: Sequence[str], rest: str = NOBODY) -> str:
    """One hash for all these payloads in their order, followed by those that `rest` stands for."""
    for payload in reversed(payloads):
        check_digest("payload", payload)
        rest = sha256((payload + rest).encode())
    return rest


def is_sha256(digest: Any) -> bool:
    """Whether something has the form of a hex SHA-256."""
    return isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest) is not None


def check_digest(name: str, digest: Any) -> None:
    """ValueError unless it has the form of a hex SHA-256."""
    if not is_sha256(digest):
        raise ValueError(f"{name} must be 64 lower-case hexadecimal digits, got {digest!r:.80}")


def pack_steps(steps: Sequence[int]) -> str:
    """Differences in steps, ascending, as one text: -1 is 0 and 1 is 20,000 in it (`elias_fano`)."""
    return elias_fano.pack([step + STEPS for step in steps], 2 * STEPS)


def unpack_steps(text: Any, n: int) -> tuple[int, ...]:
    """The inverse of `pack_steps`, of `n` images."""
    if not isinstance(text, str):
        raise ValueError(f"certificate field 'differences' must be a text, got {text!r:.60}")
    try:
        return tuple(number - STEPS for number in elias_fano.unpack(text, n, 2 * STEPS))
    except ValueError as error:
        raise ValueError(f"certificate field 'differences': {error}") from None


def _promised(chain: str, data_sha256: str, tolerance: float | None, confidence: float, measure: str) -> str:
    check_digest("data_sha256", data_sha256)
    promised = None if tolerance is None else float(tolerance)
    return sha256(json.dumps([data_sha256, measure, promised, float(confidence), chain]).encode())
