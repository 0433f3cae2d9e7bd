# SPDX-License-Identifier: Apache-2.0
"""Many candidates, many runs, one promise: simulated with planted drops; and the ledger's memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from bisect import bisect
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gossamer.certify import METHOD, Certificate, Counts, level, p_value
from gossamer.certify.ledger import Ledger, fixed_sequence
from gossamer.certify.sequence import order_hash

ROOT = Path(__file__).resolve().parents[2]
DATA, OTHER_DATA = "d" * 64, "e" * 64
A, B, C = "a" * 64, "b" * 64, "c" * 64
N, TOLERANCE, TRIALS = 200, 0.04, 2000


@cache
def largest_proven_b(c: int, alpha: float) -> int:
    """The most images that may turn wrong for a proof when `c` turn right; -1 if none may."""
    return bisect(range(N - c + 1), False, key=lambda b: p_value(Counts(N, b, c), TOLERANCE, alpha) > alpha) - 1


def proves(counts: Counts, alpha: float) -> bool:
    return counts.b <= largest_proven_b(counts.c, alpha)


def issued(counts: Counts, *, payload: str = A, data: str = DATA, look: int = 1) -> Certificate:
    """A certificate without the (slow) bound, which no rule of sequence or ledger reads."""
    alpha = level(0.95, look)
    return Certificate(
        TOLERANCE, 0.95, counts.n, counts.b, counts.c, counts.drop, TOLERANCE, TOLERANCE, 0.0, proves(counts, alpha),
        METHOD, data, payload, look, alpha,
    )  # fmt: skip


def draws(drop: float, seed: int) -> Iterator[Counts]:
    """Endless counts of a network whose true drop is `drop`; 1.5 % of the images turn right."""
    rng = np.random.default_rng(seed)
    while True:
        b, c, _ = rng.multinomial(N, [0.015 + drop, 0.015, 0.97 - drop])
        yield Counts(N, int(b), int(c))


def most(alpha: float) -> float:
    """The largest rate to be expected of a true rate of `alpha`, three deviations out."""
    return alpha + 3 * math.sqrt(alpha * (1 - alpha) / TRIALS)


def test_a_planted_drop_is_proven_as_often_as_the_level_allows() -> None:
    at_tolerance = draws(TOLERANCE, seed=0)
    wrong = sum(proves(next(at_tolerance), 0.05) for _ in range(TRIALS)) / TRIALS
    harmless = draws(0.0, seed=1)
    right = sum(proves(next(harmless), 0.05) for _ in range(TRIALS)) / TRIALS
    assert 0.02 <= wrong <= most(0.05)
    assert right >= 0.85


def test_five_retries_through_the_ledger_stay_honest(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json")
    looks = [
        ledger.record(DATA, order_hash([name * 64], DATA, TOLERANCE, 0.95, "accuracy"), [name * 64]) for name in "abcde"
    ]
    assert looks == [1, 2, 3, 4, 5]
    source = draws(TOLERANCE, seed=2)
    honest = naive = 0
    for _ in range(TRIALS):
        tries = [next(source) for _ in looks]
        honest += any(proves(counts, level(0.95, look)) for counts, look in zip(tries, looks, strict=True))
        naive += any(proves(counts, 0.05) for counts in tries)
    assert honest / TRIALS <= most(0.05)
    assert naive / TRIALS >= 0.12


@pytest.mark.parametrize("true_drops", [(0.0, 0.02, 0.04, 0.05), (0.04,) * 5], ids=["rising", "all at it"])
def test_a_fixed_sequence_keeps_the_level_for_all_candidates(true_drops: tuple[float, ...]) -> None:
    sources = {f"{i}": draws(drop, seed=10 + i) for i, drop in enumerate(true_drops)}
    names = list(sources)
    wrong = best_of_all = delivered_good = 0
    for _ in range(TRIALS):
        seen = {name: issued(next(source)) for name, source in sources.items()}
        _, delivered = fixed_sequence(names, seen.__getitem__)
        wrong += delivered is not None and true_drops[int(delivered)] >= TOLERANCE
        delivered_good += delivered is not None and true_drops[int(delivered)] < TOLERANCE
        best_of_all += any(made.proven for name, made in seen.items() if true_drops[int(name)] >= TOLERANCE)
    assert wrong / TRIALS <= most(level(0.95))
    if true_drops[0] == 0.0:
        assert delivered_good / TRIALS >= 0.8
    else:
        assert best_of_all / TRIALS >= 0.08  # picking among all that pass breaks the promise


def test_a_fixed_sequence_stops_at_the_first_failure() -> None:
    results = {"safe": Counts(N, 0, 2), "good": Counts(N, 1, 2), "bold": Counts(N, 20, 2), "mad": Counts(N, 0, 9)}
    tested: list[str] = []

    def test(name: str) -> Certificate:
        tested.append(name)
        return issued(results[name])

    certificates, delivered = fixed_sequence(list(results), test)
    assert tested == ["safe", "good", "bold"]
    assert [made.proven for made in certificates] == [True, True, False]
    assert delivered == "good"
    assert fixed_sequence(["bold", "safe"], test)[1] is None
    assert fixed_sequence(["safe", "good"], test)[1] == "good"


@pytest.mark.parametrize("names", [[], ["x", "x"], "xy"])
def test_candidates_must_be_distinct_names(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected at least one candidate, each named once, got"):
        fixed_sequence(names, lambda _: issued(Counts(N, 0, 0)))
    with pytest.raises(ValueError, match=r"expected at least one candidate, each named once, got"):
        order_hash(names, DATA, TOLERANCE, 0.95, "accuracy")


def test_the_order_hash_commits_to_order_split_and_promise() -> None:
    hashes = {
        order_hash([A, B], DATA, 0.01, 0.95, "accuracy"),
        order_hash([B, A], DATA, 0.01, 0.95, "accuracy"),
        order_hash([A], DATA, 0.01, 0.95, "accuracy"),
        order_hash([A, B, C], DATA, 0.01, 0.95, "accuracy"),
        order_hash([A, B], OTHER_DATA, 0.01, 0.95, "accuracy"),
        order_hash([A, B], DATA, 0.02, 0.95, "accuracy"),
        order_hash([A, B], DATA, None, 0.95, "accuracy"),
        order_hash([A, B], DATA, 0.01, 0.99, "accuracy"),
        order_hash([A, B], DATA, 0.01, 0.95, "IoU"),
        order_hash([A, B], DATA, 0.01, 0.95, "Dice"),
    }
    assert len(hashes) == 10
    assert all(len(digest) == 64 for digest in hashes)
    assert order_hash((A, B), DATA, 0.01, 0.95, "accuracy") in hashes


def test_runs_are_counted_per_split_and_survive_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.json"
    ledger = Ledger.open(path)
    assert ledger.next_look(DATA) == 1
    assert ledger.record(DATA, A, [B]) == 1
    assert ledger.record(OTHER_DATA, A, [B]) == 1
    assert Ledger.open(path).next_look(DATA) == 2
    assert Ledger.open(path).record(DATA, B, [B]) == 2
    assert ledger.next_look(DATA) == 3
    assert ledger.next_look("f" * 64) == 1


def test_a_resumed_run_is_the_same_look_and_a_changed_one_is_not(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json")
    assert ledger.record(DATA, A, [B, C]) == 1
    before = ledger.path.read_bytes()
    assert ledger.record(DATA, A, [B, C]) == 1
    assert ledger.path.read_bytes() == before
    assert ledger.record(DATA, A, [B, A]) == 2  # another payload under the same names
    assert ledger.record(DATA, B, [B, C]) == 3  # another order
    assert ledger.record(DATA, A, [B, C]) == 1


def test_certificates_are_kept_once(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json")
    look = ledger.record(DATA, A, [B, C])
    first, second = (issued(Counts(N, 1, 1), payload=payload, look=look) for payload in (B, C))
    for made in (first, second, first):
        ledger.add(made)
    assert Ledger.open(ledger.path).certificates(DATA) == [first, second]
    assert ledger.certificates(OTHER_DATA) == []


def test_a_certificate_without_a_recorded_run_is_refused(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json")
    ledger.record(DATA, A, [B])
    for payload, data, look in ((C, DATA, 1), (B, OTHER_DATA, 1), (B, DATA, 2), (B, DATA, 0)):
        with pytest.raises(ValueError, match=rf"has no look {look} at split {data[:12]} with payload {payload[:12]}"):
            ledger.add(replace(issued(Counts(N, 1, 1), payload=payload, data=data), look=look))
    assert ledger.certificates(DATA) == []


def test_other_counts_for_the_same_payload_are_refused(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json")
    ledger.record(DATA, A, [B])
    ledger.add(issued(Counts(N, 1, 1), payload=B))
    with pytest.raises(ValueError, match=r"already has another certificate for payload bbbbbbbbbbbb in look 1; the"):
        ledger.add(issued(Counts(N, 0, 1), payload=B))


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"version": 2, "splits": {}},
        {"version": 1},
        {"version": 1, "splits": {DATA: 3}},
        {"version": 1, "splits": {DATA: [{"order": A}]}},
    ],
)
def test_a_damaged_ledger_is_an_error_and_never_a_fresh_start(tmp_path: Path, content: object) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"expected a ledger of version 1 in .*ledger.json, got something else"):
        Ledger.open(path)


def test_a_truncated_ledger_is_an_error(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json")
    ledger.record(DATA, A, [B])
    ledger.path.write_bytes(ledger.path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"expected JSON in .*ledger.json"):
        ledger.next_look(DATA)


def test_names_that_are_no_hashes_are_refused(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.json")
    with pytest.raises(ValueError, match=r"data_sha256 must be 64 lower-case hexadecimal digits, got 'x'"):
        ledger.next_look("x")
    with pytest.raises(ValueError, match=r"order must be 64 lower-case hexadecimal digits, got 'x'"):
        ledger.record(DATA, "x", [B])
    with pytest.raises(ValueError, match=r"payload must be 64 lower-case hexadecimal digits, got 'x'"):
        ledger.record(DATA, A, ["x"])
    with pytest.raises(ValueError, match=r"data_sha256 must be 64 lower-case hexadecimal digits, got 'x'"):
        order_hash([A], "x", TOLERANCE, 0.95, "accuracy")
    assert not ledger.path.exists()


RECORD = """
import sys
from pathlib import Path
from gossamer.certify.ledger import Ledger

path, name, turns = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
(path.parent / f"{name} is ready").touch()
while len(list(path.parent.glob("* is ready"))) < 2:
    pass
ledger = Ledger.open(path)
for turn in range(turns):
    ledger.record("d" * 64, f"{turn:02d}{name}".rjust(64, "0"), ["a" * 64])
"""


def test_two_runs_that_end_at_once_both_count(tmp_path: Path) -> None:
    path, turns = tmp_path / "ledger.json", 40
    writers = [subprocess.Popen([sys.executable, "-c", RECORD, path, name, str(turns)], cwd=ROOT) for name in "ab"]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    assert Ledger.open(path).next_look(DATA) == 2 * turns + 1
    assert not list(tmp_path.glob("*.part"))
