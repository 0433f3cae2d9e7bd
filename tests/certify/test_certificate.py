# SPDX-License-Identifier: Apache-2.0
"""Certificates: what they say, what they prove, and that no field can be changed unnoticed."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gossamer.certify import (
    BETTING,
    METHOD,
    Certificate,
    Counts,
    Differences,
    certificate_of,
    certify,
    level,
    p_value,
    provable_drop,
    recheck,
    smallest_by_bets,
    smallest_provable,
    smallest_tolerance,
    upper_bound,
)
from gossamer.certify.betting import wager

DATA, PAYLOAD = "d" * 64, "a" * 64
# The confidence whose first look is at the level 0.05: for figures about one test that shares its split with none.
ALONE = 1 - 0.05 * math.pi**2 / 6

Bools = npt.NDArray[np.bool_]


def judged(n: int, b: int, c: int) -> tuple[Bools, Bools]:
    original, compressed = np.ones(n, bool), np.ones(n, bool)
    compressed[:b] = False
    original[b : b + c] = False
    return original, compressed


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return certify(*judged(1000, 9, 6), 0.02, 0.95, data_sha256=DATA, payload_sha256=PAYLOAD)


def test_a_certificate_holds_counts_level_and_bound(certificate: Certificate) -> None:
    alpha = 0.05 * 6 / math.pi**2
    counts = Counts(1000, 9, 6)
    assert (certificate.n, certificate.b, certificate.c) == (1000, 9, 6)
    assert certificate.alpha == pytest.approx(alpha)
    assert certificate.observed_drop == pytest.approx(0.003)
    assert certificate.p_value == p_value(counts, 0.02, certificate.alpha)
    assert certificate.bound == upper_bound(counts, certificate.alpha)
    assert certificate.proven
    assert certificate.bound < certificate.tolerance
    assert (certificate.method, certificate.look) == (METHOD, 1)
    assert (certificate.data_sha256, certificate.payload_sha256) == (DATA, PAYLOAD)


def test_a_certificate_reads_as_a_sentence(certificate: Certificate) -> None:
    assert str(certificate).startswith(
        "Proven: a drop in accuracy below 2 points at 95 % confidence. Observed drop 0.30 points, upper bound 1.1"
    )
    assert str(certificate).endswith("on 1,000 test images (9 turned wrong, 6 right); run 1 on this test split.")


def test_the_printed_bound_is_never_smaller_than_the_bound(certificate: Certificate) -> None:
    shown = str(dataclasses.replace(certificate, bound=0.0111101, guaranteed=0.0123411))
    assert "upper bound 1.235 (1.112 of this candidate alone), on" in shown
    assert "upper bound 1.234, on" in str(dataclasses.replace(certificate, bound=0.01234, guaranteed=0.01234))


def test_what_is_guaranteed_lies_between_the_bound_and_the_tolerance(certificate: Certificate) -> None:
    for guaranteed in (certificate.bound, 0.015, certificate.tolerance):
        assert recheck(dataclasses.replace(certificate, guaranteed=guaranteed)) == []
    failed = certify(*judged(1000, 30, 5), 0.02, 0.95, data_sha256=DATA, payload_sha256=PAYLOAD)
    assert failed.guaranteed == failed.bound
    assert any("guaranteed is 0.02" in problem for problem in recheck(dataclasses.replace(failed, guaranteed=0.02)))


def test_a_failure_says_not_proven() -> None:
    failed = certify(*judged(1000, 30, 5), 0.02, 0.95, data_sha256=DATA, payload_sha256=PAYLOAD)
    assert not failed.proven
    assert failed.bound > 0.02
    assert str(failed).startswith(
        "NOT proven: a drop in accuracy below 2 points at 95 % confidence. Observed drop 2.50"
    )


@pytest.mark.parametrize(("n", "b", "c"), [(200, 2, 1), (200, 0, 0), (50, 0, 3), (1, 0, 0), (30, 30, 0)])
def test_proven_and_bound_agree_at_every_tolerance(n: int, b: int, c: int) -> None:
    bound = upper_bound(Counts(n, b, c), level(0.95))
    for tolerance in (0.0, bound - 2e-6, bound - 1e-6, bound, bound + 1e-6, 0.1, 0.99):
        if 0 <= tolerance < 1:
            made = certify(*judged(n, b, c), tolerance, 0.95, data_sha256=DATA, payload_sha256=PAYLOAD)
            assert made.proven == (made.p_value <= made.alpha) == (made.bound <= tolerance)
            assert made.bound == pytest.approx(bound, abs=3e-6)
            assert recheck(made) == []


def test_tolerance_zero_asks_for_a_better_network() -> None:
    better = certify(*judged(1000, 2, 30), 0.0, 0.95, data_sha256=DATA, payload_sha256=PAYLOAD)
    same = certify(*judged(1000, 15, 15), 0.0, 0.95, data_sha256=DATA, payload_sha256=PAYLOAD)
    assert better.proven
    assert better.bound < 0
    assert not same.proven


def test_a_later_look_has_a_lower_level_and_a_wider_bound(certificate: Certificate) -> None:
    second = certify(*judged(1000, 9, 6), 0.02, 0.95, data_sha256=DATA, payload_sha256=PAYLOAD, look=2)
    assert second.alpha == pytest.approx(certificate.alpha / 4)
    assert second.bound > certificate.bound
    assert recheck(second) == []


def test_the_levels_of_all_looks_sum_to_alpha() -> None:
    total = sum(level(0.9, look) for look in range(1, 20_001))
    assert 0.0999 < total < 0.1


def test_json_round_trip(certificate: Certificate) -> None:
    assert Certificate.from_json(json.loads(json.dumps(certificate.to_json()))) == certificate
    whole = certificate.to_json() | {"tolerance": 0}  # JSON writers shorten 0.0
    assert Certificate.from_json(whole).tolerance == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": "1000"}, r"certificate field 'n' must be a int, got '1000'"),
        ({"look": True}, r"certificate field 'look' must be a int, got True"),
        ({"bound": math.nan}, r"certificate field 'bound' must be a float, got nan"),
        ({"proven": 1}, r"certificate field 'proven' must be a bool, got 1"),
        ({"extra": 1}, r"must be an object with exactly tolerance, .*, got .*extra"),
    ],
)
def test_a_malformed_certificate_is_refused(certificate: Certificate, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Certificate.from_json(certificate.to_json() | change)


def test_something_else_than_a_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a certificate must be an object with exactly .*, got \[\]"):
        Certificate.from_json([])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"b": 8}, "observed_drop is 0.003, but the counts give 0.002"),
        ({"n": 2000}, "p_value is"),
        ({"b": 900, "c": 200}, "b + c <= n, got n=1000"),
        ({"bound": 0.009}, "bound is 0.009, but the counts give 0.01"),
        ({"guaranteed": 0.009}, "guaranteed is 0.009, but the counts allow 0.01"),
        ({"guaranteed": 0.021}, "guaranteed is 0.021, but the counts allow 0.01"),
        ({"p_value": 1e-6}, "p_value is 1e-06, but the counts give"),
        ({"proven": False}, "proven is False, but the counts give True"),
        ({"alpha": 0.05}, "alpha is 0.05, but the counts give 0.03"),
        ({"look": 2}, "alpha is"),
        ({"confidence": 0.99}, "alpha is"),
        ({"confidence": 1.5}, "confidence must be in [0.5, 1), got 1.5"),
        ({"tolerance": 0.01}, "proven is True, but the counts give False"),
        ({"tolerance": -0.01}, "tolerance must be a fraction in [0, 1), got -0.01"),
        ({"method": "trust me"}, "method 'trust me' is not known; this version checks 'exact"),
        ({"data_sha256": "none"}, "data_sha256 must be 64 lower-case hexadecimal digits, got 'none'"),
        ({"payload_sha256": "A" * 64}, "payload_sha256 must be 64 lower-case hexadecimal digits, got 'AAA"),
    ],
)
def test_recheck_finds_every_change(certificate: Certificate, change: dict[str, Any], problem: str) -> None:
    assert recheck(certificate) == []
    found = recheck(dataclasses.replace(certificate, **change))
    assert any(problem in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("n", "flips", "tolerance", "drop"),
    [
        (5_000, 250, 0.005, -0.0004),
        (5_000, 250, 0.01, 0.0044),
        (10_000, 500, 0.005, 0.0012),
        (10_000, 500, 0.01, 0.0062),
        (10_000, 200, 0.005, 0.0026),
    ],
)
def test_the_largest_drop_that_n_images_prove(n: int, flips: int, tolerance: float, drop: float) -> None:
    b = (flips + round(n * drop)) // 2
    assert p_value(Counts(n, b, flips - b), tolerance) <= 0.05
    assert p_value(Counts(n, b + 1, flips - b - 1), tolerance) > 0.05


def test_the_provable_drop_finds_the_largest() -> None:
    assert provable_drop(5_000, 0.05, 0.005, ALONE) == pytest.approx(-0.0004)
    assert provable_drop(5_000, 0.05, 0.005, 0.95) == pytest.approx(-0.0012)  # what the first look has left


def test_the_provable_drop_is_proven_and_the_next_is_not() -> None:
    for look in (1, 2):
        drop = provable_drop(400, 0.05, 0.04, 0.95, look=look)
        assert drop is not None
        for more, proven in ((0, True), (1, False)):
            b = 10 + round(drop * 400) // 2 + more
            made = certify(*judged(400, b, 20 - b), 0.04, 0.95, data_sha256=DATA, payload_sha256=PAYLOAD, look=look)
            assert made.proven == proven


def test_what_cannot_be_proven_has_no_provable_drop() -> None:
    assert provable_drop(10, 0.0, 0.05, 0.95) is None
    assert provable_drop(1000, 1.0, 0.999, 0.95) == pytest.approx(0.998, abs=0.01)


def test_smallest_provable_tolerance() -> None:
    one = smallest_provable(1000, 0.05, 0.95)
    assert one == upper_bound(Counts(1000, 25, 25), level(0.95))
    assert smallest_provable(1000, 0.02, 0.95) < one < smallest_provable(1000, 0.05, 0.95, look=2)
    assert smallest_provable(1, 1.0, 0.95) < 1


def test_images_of_shared_difficulty_keep_the_level() -> None:
    # Both networks judge the same images, some of which are hard: correctness is strongly correlated.
    rng = np.random.default_rng(3)
    n, trials, alpha = 60, 1500, 0.05
    drop = 0.3 * (0.7 * 0.1 - 0.3 * 0.1) + 0.7 * (0.99 * 0.05 - 0.01 * 0.1)
    wrong, known = 0, {}
    for _ in range(trials):
        hard = rng.random(n) < 0.3
        original = rng.random(n) < np.where(hard, 0.7, 0.99)
        flipped = rng.random(n) < np.where(original & ~hard, 0.05, 0.1)
        counts = Counts.of(original, original ^ flipped)
        if counts not in known:
            known[counts] = p_value(counts, drop, alpha) <= alpha
        wrong += known[counts]
    assert 0.01 <= wrong / trials <= alpha + 3 * math.sqrt(alpha / trials)


@pytest.mark.parametrize("confidence", [0.4, 1.0, math.nan])
def test_impossible_confidences_are_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=rf"confidence must be in \[0.5, 1\), got {confidence}; 0.95 is usual"):
        level(confidence)


def test_look_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"look must be 1 for the first run on a test split, .*, got 0"):
        level(0.95, 0)


@pytest.mark.parametrize("tolerance", [-0.001, 1.0, 50.0, math.nan])
def test_impossible_tolerances_are_refused(tolerance: float) -> None:
    message = rf"tolerance must be a fraction in \[0, 1\), got {tolerance}; half a point is 0.005"
    with pytest.raises(ValueError, match=message):
        certify(*judged(10, 1, 1), tolerance, 0.95, data_sha256=DATA, payload_sha256=PAYLOAD)
    with pytest.raises(ValueError, match=message):
        provable_drop(10, 0.1, tolerance, 0.95)


def test_names_that_are_no_hashes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data_sha256 must be 64 lower-case hexadecimal digits, got 'cifar'"):
        certify(*judged(10, 1, 1), 0.1, 0.95, data_sha256="cifar", payload_sha256=PAYLOAD)
    with pytest.raises(ValueError, match=r"payload_sha256 must be 64 lower-case hexadecimal digits, got ''"):
        certify(*judged(10, 1, 1), 0.1, 0.95, data_sha256=DATA, payload_sha256="")


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(ValueError, match=r"n must be at least one test image, got 0"):
        smallest_provable(0, 0.1, 0.95)
    with pytest.raises(ValueError, match=r"flip_rate must be a share of images in \[0, 1\], got 5; 5 % is 0.05"):
        provable_drop(100, 5, 0.01, 0.95)


def test_the_documented_tables_are_true() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "certificate.md").read_text(encoding="utf-8")
    rows = [[float(cell.replace(",", "")) for cell in row.split("|")[1:-1]]
            for row in page.splitlines() if row.startswith(("| 1,000", "| 2,000"))]  # fmt: skip
    assert len(rows) == 5
    for n, *cells in rows[:2]:
        for flip_rate, points in zip((0.01, 0.02, 0.05, 0.1), cells, strict=True):
            smallest = 100 * smallest_provable(int(n), flip_rate, 0.95)
            assert points - 0.01 < smallest <= points
    for n, *cells in rows[2:4]:
        for flip_rate, points in zip((0.01, 0.02, 0.05, 0.1), cells, strict=True):
            drop = provable_drop(int(n), flip_rate, 0.01, 0.95)
            assert drop == pytest.approx(points / 100)
    n, *cells = rows[4]
    for spread, points in zip((0.01, 0.05, 0.1), cells, strict=True):
        assert 100 * smallest_by_bets(int(n), spread, 0.95) == pytest.approx(points, abs=0.0051)


# --- by bets: qualities between 0 and 1


@pytest.fixture(scope="module")
def by_bets() -> Certificate:
    rng = np.random.default_rng(0)
    original = rng.uniform(0.6, 0.9, 800)
    evidence = Differences.of(original, original - rng.uniform(-0.03, 0.04, 800), wager(np.full(300, 0.005), 800, 0.03))
    return certificate_of(evidence, 0.02, 0.95, DATA, PAYLOAD, look=1, measure="IoU")


def test_a_certificate_by_bets_lists_what_its_bound_follows_from(by_bets: Certificate) -> None:
    assert by_bets.method == BETTING
    assert by_bets.proven
    assert by_bets.n == len(by_bets.differences) == 800
    assert by_bets.b + by_bets.c <= 800
    assert by_bets.observed_drop == pytest.approx(0.005, abs=0.002)
    assert by_bets.observed_drop < by_bets.bound <= by_bets.tolerance
    assert "worse" in str(by_bets)
    assert recheck(by_bets) == []
    again = Certificate.from_json(json.loads(json.dumps(by_bets.to_json())))
    assert again == by_bets
    assert recheck(again) == []


def test_one_of_counts_has_no_fields_of_bets(certificate: Certificate, by_bets: Certificate) -> None:
    assert by_bets.to_json().keys() - certificate.to_json().keys() == {"measure", "wager", "differences"}
    with pytest.raises(ValueError, match="must be an object with exactly"):
        Certificate.from_json(certificate.to_json() | {"wager": 0.5})
    for field in ("differences", "measure"):
        lacking = {name: value for name, value in by_bets.to_json().items() if name != field}
        with pytest.raises(ValueError, match="must be an object with exactly"):
            Certificate.from_json(lacking)


def test_what_is_measured_has_a_name(certificate: Certificate, by_bets: Certificate) -> None:
    assert "a drop in IoU below 2 points" in str(by_bets)
    assert by_bets.to_json()["measure"] == "IoU"
    assert "measure" not in certificate.to_json(), "files made before it had a name say the same"
    assert Certificate.from_json(certificate.to_json()).measure == "accuracy"
    other = dataclasses.replace(certificate, measure="agreement with the original")
    assert Certificate.from_json(json.loads(json.dumps(other.to_json()))) == other
    assert recheck(other) == []


@pytest.mark.parametrize("measure", ["", "x" * 41, "IoU\x1b[31m", "a\nb"])
def test_a_measure_that_cannot_be_printed_is_refused(certificate: Certificate, measure: str) -> None:
    message = "measure must be a name of 1 to 40 printable characters"
    with pytest.raises(ValueError, match=message):
        Certificate.from_json(certificate.to_json() | {"measure": measure})
    assert any(message in problem for problem in recheck(dataclasses.replace(certificate, measure=measure)))


@pytest.mark.parametrize(
    "change",
    [
        {"bound": 0.006},
        {"p_value": 1e-9},
        {"observed_drop": 0.0},
        {"b": 3},
        {"n": 900},
        {"wager": 0.9},
        {"wager": 7.0},
        {"guaranteed": 0.001},
        {"differences": ()},
    ],
    ids=str,
)
def test_no_field_of_bets_can_be_changed_unnoticed(by_bets: Certificate, change: dict[str, Any]) -> None:
    assert recheck(dataclasses.replace(by_bets, **change))


def test_a_difference_taken_away_is_noticed(by_bets: Certificate) -> None:
    assert recheck(dataclasses.replace(by_bets, differences=by_bets.differences[:-1]))
    kinder = (*by_bets.differences[:-1], by_bets.differences[-2])
    assert recheck(dataclasses.replace(by_bets, differences=kinder))


@pytest.mark.parametrize("entry", ["12", "", [1.5], [0] * 800, True, None])
def test_differences_of_another_kind_are_refused(by_bets: Certificate, entry: Any) -> None:
    with pytest.raises(ValueError, match="certificate field 'differences'"):
        Certificate.from_json(by_bets.to_json() | {"differences": entry})


def test_where_nothing_is_proven_the_smallest_tolerance_is_one_that_can_be_promised() -> None:
    tolerance = smallest_tolerance(Counts(4, 4, 0), 0.95)
    assert not certificate_of(Counts(4, 4, 0), tolerance, 0.95, DATA, PAYLOAD, look=1).proven
