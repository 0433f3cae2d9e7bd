# SPDX-License-Identifier: Apache-2.0
"""Check a certificate with nothing but itself: every number is computed again from the counts that it lists.

What is guaranteed of a candidate that was chosen among several follows from what the test split said of all of them.
Certificates made before they listed the others are read and checked as far as they go; `not_recomputed` says how far.
"""

from __future__ import annotations

from gossamer.certify.certificate import (
    BETTING,
    METHOD,
    Certificate,
    certificate_of,
    p_value_of,
    smallest_tolerance,
)
from gossamer.certify.exact import RESOLUTION
from gossamer.certify.sequence import Listed, Rival

# Libraries of special functions differ in their last digits; the bisection, by its resolution.
SLACK = {"observed_drop": 1e-12, "alpha": 1e-12, "p_value": 1e-7, "bound": 2 * RESOLUTION}


def recheck(certificate: Certificate) -> list[str]:
    """Recompute a certificate from what it lists; one sentence for each thing that does not agree."""
    if certificate.method not in (METHOD, BETTING):
        return [f"method {certificate.method!r} is not known; this version checks {METHOD!r} and {BETTING!r}"]
    try:
        again = _again(certificate, Rival(certificate.payload_sha256, certificate.evidence))
        problems = _own(certificate, again)
        if certificate.sequence is None:
            return problems + _in_range(certificate, again)
        return problems + _sequence(certificate, again, certificate.sequence)
    except ValueError as error:
        return [str(error)]


def not_recomputed(certificate: Certificate) -> list[str]:
    """What `recheck` cannot compute again, in words; empty where the certificate lists all that it follows from."""
    if certificate.sequence is not None:
        return []
    return [
        f"guaranteed, {certificate.guaranteed:.6g}, and the order of the tests: the certificate does not list the "
        "candidates tested beside it, so only the range that its own counts allow is checked"
    ]


def _again(certificate: Certificate, tested: Rival) -> Certificate:
    """What this evidence gives with the promise of the certificate."""
    return certificate_of(
        tested.evidence,
        certificate.tolerance,
        certificate.confidence,
        certificate.data_sha256,
        tested.payload_sha256,
        certificate.look,
        certificate.measure,
    )


def _own(certificate: Certificate, again: Certificate) -> list[str]:
    """What does not follow from the counts of the certificate's own candidate."""
    problems = [
        f"{name} is {getattr(certificate, name)}, but the differences give {getattr(again, name)}"
        for name in ("n", "b", "c")
        if getattr(certificate, name) != getattr(again, name)
    ]
    for name, allowed in SLACK.items():
        claimed, found = getattr(certificate, name), getattr(again, name)
        if not abs(claimed - found) <= allowed:
            problems.append(f"{name} is {claimed}, but the counts give {found}")
    if certificate.proven != again.proven:
        problems.append(f"proven is {certificate.proven}, but the counts give {again.proven}")
    return problems


def _in_range(certificate: Certificate, again: Certificate) -> list[str]:
    """Whether `guaranteed` is what other candidates, whose counts are not known, can have left of it."""
    most = certificate.tolerance if again.proven else again.bound
    if not again.bound - SLACK["bound"] <= certificate.guaranteed <= most + SLACK["bound"]:
        return [
            f"guaranteed is {certificate.guaranteed}, but the counts allow {again.bound} to {most}, whatever the "
            f"other candidates gave"
        ]
    if certificate.guaranteed < certificate.bound:
        return [f"guaranteed is {certificate.guaranteed}, less than the bound {certificate.bound}"]
    return []


def _sequence(certificate: Certificate, again: Certificate, sequence: Listed) -> list[str]:
    """What does not follow from the candidates listed, or breaks the rules of a fixed sequence."""
    problems = []
    promise = (certificate.data_sha256, certificate.tolerance, certificate.confidence, certificate.measure)
    order = sequence.order_with(certificate.payload_sha256, *promise)
    if order != sequence.order:
        problems.append(f"the order hash is {sequence.order}, but the candidates listed give {order}")
    if wrong := [tested for tested in sequence.others if tested.evidence.n != certificate.n]:
        return [*problems, f"candidate {_named(wrong[0])} was tested on {wrong[0].evidence.n} images"]
    problems += [
        f"candidate {_named(tested)} was tested before it and is not proven: the tests had to end there"
        for tested in sequence.before
        if not _is_proven(again, tested)
    ]
    if sequence.by_counts:
        if sequence.others or sequence.unopened:
            problems.append("the tolerance was taken from the counts, which only a single candidate allows")
        smallest = smallest_tolerance(certificate.evidence, certificate.confidence, certificate.look)
        if certificate.tolerance != smallest:
            problems.append(f"tolerance is {certificate.tolerance}, but the smallest that is proven is {smallest}")
    if sequence.failed is not None:
        if not again.proven or _is_proven(again, sequence.failed):
            problems.append(f"candidate {_named(sequence.failed)} is said to be the first that failed, but is not")
        found = certificate.tolerance
    else:
        if again.proven and sequence.unopened:
            problems.append("the tests ended at a candidate that is proven, though others followed")
        found = again.bound
        if again.proven:
            found = max([found, *(_again(certificate, tested).bound for tested in sequence.before)])
    if not abs(certificate.guaranteed - found) <= SLACK["bound"]:
        problems.append(f"guaranteed is {certificate.guaranteed}, but the candidates listed give {found}")
    return problems


def _is_proven(again: Certificate, tested: Rival) -> bool:
    return p_value_of(tested.evidence, again.tolerance, again.alpha) <= again.alpha


def _named(tested: Rival) -> str:
    return tested.payload_sha256[:12]
