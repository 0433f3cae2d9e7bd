# SPDX-License-Identifier: Apache-2.0
"""A certificate that lists the candidates tested beside it can be recomputed whole, and no part of it changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.certify import (
    Certificate,
    Counts,
    Differences,
    Listed,
    Rival,
    certificate_of,
    fixed_sequence,
    listed,
    not_recomputed,
    order_hash,
    recheck,
    smallest_tolerance,
)
from gossamer.certify.sequence import Evidence, chained
from gossamer.files import read_json

DATA, TOLERANCE, N = "d" * 64, 0.03, 400
A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "e" * 64)
SAFE, GOOD, BAD = Counts(N, 1, 2), Counts(N, 3, 2), Counts(N, 30, 1)
ROOT = Path(__file__).resolve().parents[2]


def delivered(evidence: dict[str, Evidence], measure: str = "accuracy") -> Certificate:
    """The certificate that a run over these candidates delivers."""
    payloads = list(evidence)
    order = order_hash(payloads, DATA, TOLERANCE, 0.95, measure)
    certificates, name = fixed_sequence(
        payloads, lambda payload: certificate_of(evidence[payload], TOLERANCE, 0.95, DATA, payload, 1, measure)
    )
    return listed(certificates, payloads.index(name) if name else 0, order, payloads[len(certificates) :])


def bets(worse: int) -> Differences:
    return Differences.of(np.full(N, 0.8), np.where(np.arange(N) < worse, 0.5, 0.8), 0.7)


RUNS = {
    "all proven": {A: GOOD, B: SAFE},
    "one failed": {A: SAFE, B: GOOD, C: BAD, D: SAFE},
    "the last failed": {A: SAFE, B: GOOD, C: BAD},
    "nothing proven": {A: BAD, B: SAFE},
    "alone": {A: GOOD},
    "by bets": {A: bets(8), B: bets(3)},
    "by bets, one failed": {A: bets(3), B: bets(90), C: bets(0)},
}


@pytest.fixture(params=RUNS, ids=str)
def run(request: pytest.FixtureRequest) -> Certificate:
    evidence: dict[str, Evidence] = RUNS[request.param]
    return delivered(evidence, "IoU" if "bets" in request.param else "accuracy")


def test_what_a_run_delivers_is_recomputed_whole(run: Certificate) -> None:
    assert recheck(run) == []
    assert not_recomputed(run) == []
    assert Certificate.from_json(json.loads(json.dumps(run.to_json()))) == run


def test_the_guarantee_follows_from_the_candidates_listed() -> None:
    made = delivered(RUNS["all proven"])
    first = certificate_of(GOOD, TOLERANCE, 0.95, DATA, A, 1)
    assert made.payload_sha256 == B
    assert made.guaranteed == first.bound > made.bound, "that of the candidate before it"
    # what passed when only the range could be checked
    for wrong in (made.bound, (made.bound + made.guaranteed) / 2, TOLERANCE):
        assert recheck(replace(made, guaranteed=wrong, sequence=None)) == []
        assert recheck(replace(made, guaranteed=wrong)) == [
            f"guaranteed is {wrong}, but the candidates listed give {first.bound}"
        ]
    failed = delivered(RUNS["one failed"])
    assert failed.guaranteed == TOLERANCE
    assert "guaranteed is" in recheck(replace(failed, guaranteed=failed.bound))[0]


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("all proven", {"order": "0" * 64}, "the order hash is 000"),
        ("all proven", {"before": ()}, "the order hash is"),
        ("all proven", {"before": (Rival(A, SAFE),)}, "guaranteed is"),
        ("all proven", {"before": (Rival(A, BAD),)}, "candidate aaaaaaaaaaaa was tested before it and is not proven"),
        ("all proven", {"before": (Rival(A, Counts(N + 1, 0, 0)),)}, f"aaaaaaaaaaaa was tested on {N + 1} images"),
        ("all proven", {"unopened": chained([C])}, "the tests ended at a candidate that is proven"),
        ("all proven", {"by_counts": True}, "which only a single candidate allows"),
        ("one failed", {"failed": Rival(C, SAFE)}, "cccccccccccc is said to be the first that failed, but is not"),
        ("one failed", {"failed": None}, "guaranteed is"),
        ("one failed", {"unopened": ""}, "the order hash is"),
        ("alone", {"by_counts": True}, "tolerance is 0.03, but the smallest that is proven is"),
        ("nothing proven", {"failed": Rival(B, BAD)}, "bbbbbbbbbbbb is said to be the first that failed, but is not"),
        ("by bets", {"before": (Rival(A, bets(2)),)}, "guaranteed is"),
    ],
)
def test_no_part_of_it_can_be_changed(name: str, change: dict[str, Any], problem: str) -> None:
    evidence: dict[str, Evidence] = RUNS[name]
    made = delivered(evidence, "IoU" if "bets" in name else "accuracy")
    assert made.sequence is not None
    found = recheck(replace(made, sequence=replace(made.sequence, **change)))
    assert any(problem in sentence for sentence in found), found


def test_a_tolerance_from_the_counts_is_recomputed() -> None:
    tolerance = smallest_tolerance(GOOD, 0.95)
    order = order_hash([A], DATA, None, 0.95, "accuracy")
    made = listed([certificate_of(GOOD, tolerance, 0.95, DATA, A, 1)], 0, order, by_counts=True)
    assert recheck(made) == []
    larger = listed([certificate_of(GOOD, tolerance + 0.01, 0.95, DATA, A, 1)], 0, order, by_counts=True)
    assert any("but the smallest that is proven is" in problem for problem in recheck(larger))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "a certificate's sequence must be an object with order and"),
        ({}, "a certificate's sequence must be an object with order and"),
        ({"order": A, "more": 1}, "a certificate's sequence must be an object with order and"),
        ({"order": A, "before": []}, "a certificate's sequence must be an object with order and"),
        ({"order": "x"}, "order must be 64 lower-case hexadecimal digits, got 'x'"),
        ({"order": A, "unopened": 7}, "unopened must be 64 lower-case hexadecimal digits, got 7"),
        ({"order": A, "before": "x"}, "a list before, a bool by_counts"),
        ({"order": A, "by_counts": 1}, "a list before, a bool by_counts"),
        ({"order": A, "failed": [A, 1]}, r"must be \[payload, b, c\], got"),
        ({"order": A, "failed": [A, 1, 2.0]}, r"must be \[payload, b, c\], got"),
        ({"order": A, "failed": ["x", 1, 2]}, "the payload of a sequence must be 64"),
        ({"order": A, "failed": [A, N, 2]}, "n="),
    ],
)
def test_a_malformed_sequence_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Listed.from_json(value, N, bets=False)


def test_a_malformed_list_of_differences_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[payload, wager, differences\], got"):
        Listed.from_json({"order": A, "failed": [A, 1, 2]}, N, bets=True)
    with pytest.raises(ValueError, match="certificate field 'differences'"):
        Listed.from_json({"order": A, "failed": [A, 0.5, "zzzz"]}, N, bets=True)


def test_certificates_of_before_say_what_cannot_be_recomputed() -> None:
    path = next(iter(sorted((ROOT / "results").glob("*/report.json"))))
    value = read_json(path)
    stored = dict((value[0] if isinstance(value, list) else value)["certificate"])
    stored.pop("sequence", None)
    old = Certificate.from_json(stored)
    assert recheck(old) == []
    (said,) = not_recomputed(old)
    assert said.startswith("guaranteed, ")
    assert "the certificate does not list the candidates tested beside it" in said
    assert "sequence" not in old.to_json()


def test_it_reads_as_words() -> None:
    found = {name: str(delivered(evidence).sequence) for name, evidence in RUNS.items() if "bets" not in name}
    assert found == {
        "all proven": "1 before it, all proven",
        "one failed": "1 before it, all proven; the next failed; others were not opened",
        "the last failed": "1 before it, all proven; the next failed",
        "nothing proven": "none beside it; others were not opened",
        "alone": "none beside it",
    }
