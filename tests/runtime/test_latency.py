# SPDX-License-Identifier: Apache-2.0
"""Latency against a clock that the tests turn: no test here depends on the speed of the machine."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest

from gossamer.runtime import latency
from gossamer.runtime.latency import Latency, interleaved, measure_ms, thread_counts
from gossamer.runtime.session import Array

X = np.zeros((1, 3, 4, 4), np.float32)


class Clock:
    now = 0
    log: list[str]

    def __init__(self) -> None:
        self.log = []

    def perf_counter_ns(self) -> int:
        return self.now


@dataclass
class Timed:
    """A session whose runs take the given milliseconds of the clock."""

    clock: Clock
    name: str
    times_ms: Iterator[float]
    threads: int = 1
    collecting: list[bool] = field(default_factory=list)

    def run(self, *inputs: Array) -> list[Array]:
        self.clock.now += int(next(self.times_ms) * 1e6)
        self.clock.log.append(self.name)
        self.collecting.append(gc.isenabled())
        return [*inputs]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    monkeypatch.setenv("GOSSAMER_LOCK_DIR", str(tmp_path))
    turned = Clock()
    monkeypatch.setattr(latency, "time", turned)
    return turned


def test_warm_up_is_not_counted(clock: Clock) -> None:
    session = Timed(clock, "a", chain(repeat(50.0, 3), (1.0, 2.0, 3.0, 4.0, 5.0)), threads=2)
    assert measure_ms(session, X, n=5, warmup=3) == Latency(3.0, 1.4, 4.6, n=5, threads=2)
    assert gc.isenabled()
    assert not any(session.collecting)


def test_sessions_take_turns_in_a_rotating_order(clock: Clock) -> None:
    interleaved({k: Timed(clock, k, repeat(1.0)) for k in "abc"}, X, rounds=3, warmup=1)
    assert "".join(clock.log) == "cab" + "abc" + "bca" + "cab"


def test_the_ratio_is_of_each_round(clock: Clock) -> None:
    """The machine slows down threefold: the medians know nothing of each other, the ratios stay."""
    slow = [1.0, 1.0, 1.0, 3.0, 3.0]
    turns = interleaved(
        {
            "old": Timed(clock, "old", iter([2 * s for s in slow])),
            "new": Timed(clock, "new", iter([*slow[:4], 6.0])),
        },
        X,
        rounds=5,
        warmup=0,
    )
    ratio = turns.ratio("old", "new")
    assert (ratio.median, ratio.n) == (2.0, 5)
    assert ratio.p10 == pytest.approx(1.4)
    assert (turns["old"].median, turns["new"].median, list(turns)) == (2.0, 1.0, ["old", "new"])


def test_wrong_requests(clock: Clock) -> None:
    with pytest.raises(ValueError, match=r"rounds >= 1 and warmup >= 0, got 0 sessions, rounds 10"):
        interleaved({}, X, rounds=10)
    with pytest.raises(ValueError, match="got 1 sessions, rounds 0 and warmup 20"):
        measure_ms(Timed(clock, "a", repeat(1.0)), X, n=0)


def test_thread_counts_end_with_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6])):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert thread_counts() == expected
