# SPDX-License-Identifier: Apache-2.0
"""Several candidates and several runs on one test split, at one confidence for all of them together.

Within a run: the candidates stand in an order fixed before the split is opened (`order_hash` commits to it),
from conservative to aggressive, and each is tested at the full level of the run until the first failure. A
wrong proof needs the first candidate that breaks the promise to be proven, one event of one test, so the
level holds for "drop < tolerance", whichever proven candidate is delivered. It does not hold for the bound that the
delivered candidate's own counts give: which candidate is delivered depends on the same images, and each has its own
chance of a bound that is too small. What holds for all of them at once is in `guaranteed`.

Between runs: whoever tries again on the same images has two chances to be lucky. The ledger counts the runs
per split, and the k-th gets the level 6 alpha / (pi^2 k^2), which sums to alpha however many follow.

Paper: Maurer, Hothorn and Lehmacher, "Multiple comparisons in drug clinical trials and preclinical assays:
a-priori ordered hypotheses", Biometrie in der chemisch-pharmazeutischen Industrie 6, 1995 (fixed sequence).
Paper: Hsu and Berger, "Stepwise confidence intervals without multiplicity adjustment for dose-response and toxicity
studies", Journal of the American Statistical Association 94, 1999, pages 468-482 (the bounds).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gossamer.certify.certificate import Certificate
from gossamer.certify.sequence import NOBODY, Listed, Rival, chained, check_digest
from gossamer.files import only_writer, read_json, write_json

_VERSION = 1


def fixed_sequence(
    candidates: Sequence[str], test: Callable[[str], Certificate]
) -> tuple[list[Certificate], str | None]:
    """Test candidates in their order until the first that is not proven.

    Returns the certificates of all that were tested, with what the sequence guarantees of each, and the last proven
    candidate, or None.
    """
    _check_names(candidates)
    certificates: list[Certificate] = []
    delivered = None
    for candidate in candidates:
        certificates.append(test(candidate))
        if not certificates[-1].proven:
            break
        delivered = candidate
    bounds = guaranteed(certificates)
    return [replace(made, guaranteed=bound) for made, bound in zip(certificates, bounds, strict=True)], delivered


def guaranteed(certificates: Sequence[Certificate]) -> list[float]:
    """Bounds of a sequence's true drops, all right at once with its confidence (Hsu and Berger, 1999).

    All proven: the largest bound, for every candidate. After a failure: the tolerance for those before it, and for
    the one that failed its own bound.
    """
    *before, last = certificates
    if last.proven:
        return [max(made.bound for made in certificates)] * len(certificates)
    return [*(made.tolerance for made in before), last.bound]


def listed(
    certificates: Sequence[Certificate],
    index: int,
    order: str,
    unopened: Sequence[str] = (),
    *,
    by_counts: bool = False,
) -> Certificate:
    """The delivered of these certificates, with what a reader needs to follow why it was delivered.

    All are in the order of `order` and at its beginning, followed by the payloads that the split was not opened for.
    """
    tested = [Rival(made.payload_sha256, made.evidence) for made in certificates]
    failed = tested[index + 1] if index + 1 < len(tested) else None
    rest = chained(unopened) if unopened else NOBODY
    return replace(certificates[index], sequence=Listed(order, tuple(tested[:index]), failed, rest, by_counts))


@dataclass(frozen=True)
class Ledger:
    """The runs that were made on each test split, in a JSON file; processes take turns in changing it.

    A run is an order hash and the hashes of the payloads it will test. The same run again, after a kill, is
    the same look; anything else is a new one.
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger at `path`; a missing file is an empty ledger, a damaged one is an error."""
        ledger = cls(Path(path))
        ledger._read()
        return ledger

    def next_look(self, data_sha256: str) -> int:
        """The number that a new run on this split would get: 1 for the first."""
        return len(self._runs(self._read(), data_sha256)) + 1

    def record(self, data_sha256: str, order: str, payloads: Sequence[str]) -> int:
        """Write down a run before it opens the split; returns its look, the old one for a known run."""
        check_digest("order", order)
        for payload in payloads:
            check_digest("payload", payload)
        with only_writer(self.path):
            return self._record(data_sha256, order, payloads)

    def _record(self, data_sha256: str, order: str, payloads: Sequence[str]) -> int:
        content = self._read()
        runs = self._runs(content, data_sha256)
        for look, run in enumerate(runs, start=1):
            if run["order"] == order and run["payloads"] == list(payloads):
                return look
        run = {"order": order, "payloads": list(payloads), "certificates": []}
        content["splits"][data_sha256] = [*runs, run]
        self._write(content)
        return len(runs) + 1

    def add(self, certificate: Certificate) -> None:
        """Keep a certificate with its run; adding it again after a kill changes nothing."""
        with only_writer(self.path):
            self._add(certificate)

    def _add(self, certificate: Certificate) -> None:
        content, look, payload = self._read(), certificate.look, certificate.payload_sha256
        run = dict(enumerate(self._runs(content, certificate.data_sha256), start=1)).get(look)
        if run is None or payload not in run["payloads"]:
            raise ValueError(
                f"a certificate must belong to a recorded run, but {self.path} has no look {look} at split "
                f"{certificate.data_sha256[:12]} with payload {payload[:12]}; record the run before opening "
                f"the split"
            )
        kept = [Certificate.from_json(value) for value in run["certificates"]]
        if certificate in kept:
            return
        if any(other.payload_sha256 == payload for other in kept):
            raise ValueError(
                f"{self.path} already has another certificate for payload {payload[:12]} in look {look}; the "
                f"same file on the same images must give the same counts: run again on the same machine"
            )
        run["certificates"].append(certificate.to_json())
        self._write(content)

    def certificates(self, data_sha256: str) -> list[Certificate]:
        """Every certificate issued on a split, in the order of the runs."""
        runs = self._runs(self._read(), data_sha256)
        return [Certificate.from_json(kept) for run in runs for kept in run["certificates"]]

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {"version": _VERSION, "splits": {}}
        content = read_json(self.path)
        if not _is_ledger(content):
            raise ValueError(
                f"expected a ledger of version {_VERSION} in {self.path}, got something else; restore it, "
                f"or the earlier looks at the test split are forgotten"
            )
        checked: dict[str, Any] = content
        return checked

    def _write(self, content: dict[str, Any]) -> None:
        write_json(self.path, content, f"{self.path.name}.{os.getpid()}.part")

    def _runs(self, content: dict[str, Any], data_sha256: str) -> list[dict[str, Any]]:
        check_digest("data_sha256", data_sha256)
        runs: list[dict[str, Any]] = content["splits"].get(data_sha256, [])
        return runs


def default_ledger() -> Path:
    """Where looks at test splits are counted for this user, over all runs."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "gossamer" / "ledger.json"


def _is_ledger(content: Any) -> bool:
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        return False
    splits = content.get("splits")
    return isinstance(splits, dict) and all(
        isinstance(runs, list)
        and all(
            isinstance(run, dict)
            and isinstance(run.get("order"), str)
            and isinstance(run.get("payloads"), list)
            and isinstance(run.get("certificates"), list)
            for run in runs
        )
        for runs in splits.values()
    )


def _check_names(names: Sequence[str]) -> None:
    if isinstance(names, str) or not names or len(set(names)) != len(names):
        raise ValueError(f"expected at least one candidate, each named once, got {names!r}")
