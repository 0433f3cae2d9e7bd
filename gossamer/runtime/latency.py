# SPDX-License-Identifier: Apache-2.0
"""Milliseconds per batch, measured so that they can be compared; docs/measuring.md gives the reasons.

Warm-up first, then n runs, each timed alone; the median is reported with the 10th and 90th percentile. Two
networks are compared by taking turns in one process, and by the median of the ratios of each turn: what slows the
machine for a while slows both. Every measurement holds the latency lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.device.turns import in_rotation, without_garbage_collection
from gossamer.runtime.lock import latency_lock
from gossamer.runtime.session import Session


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one batch over `n` runs."""

    median: float
    p10: float
    p90: float
    n: int
    threads: int

    @classmethod
    def of(cls, times_ms: Sequence[float] | NDArray[np.float64], threads: int) -> Latency:
        p10, median, p90 = (float(p) for p in np.percentile(times_ms, (10, 50, 90)))
        return cls(median, p10, p90, len(times_ms), threads)

    def __str__(self) -> str:
        spread = f"p10 {self.p10:.3f}, p90 {self.p90:.3f}, n {self.n}, threads {self.threads}"
        return f"{self.median:.3f} ms ({spread})"


@dataclass(frozen=True)
class Ratio:
    """How many times as long one network takes as another, over the rounds of one interleaved measurement."""

    median: float
    p10: float
    p90: float
    n: int

    def __str__(self) -> str:
        return f"{self.median:.2f}x (p10 {self.p10:.2f}, p90 {self.p90:.2f}, n {self.n})"


@dataclass(frozen=True)
class Interleaved(Mapping[str, Latency]):
    """The latencies of networks that took turns, by name.

    >>> times_ms = {"old": np.array([2.0, 4.0, 2.2]), "new": np.array([1.0, 2.0, 1.0])}
    >>> turns = Interleaved(times_ms, threads={"old": 1, "new": 1})
    >>> print(turns["new"])
    1.000 ms (p10 1.000, p90 1.800, n 3, threads 1)
    >>> print(turns.ratio("old", "new"))
    2.00x (p10 2.00, p90 2.16, n 3)
    """

    times_ms: Mapping[str, NDArray[np.float64]]  #: (rounds,) each
    threads: Mapping[str, int]

    def ratio(self, a: str, b: str) -> Ratio:
        """Time of `a` over time of `b`, round by round: 2 means that `b` is twice as fast."""
        ratios = self.times_ms[a] / self.times_ms[b]
        p10, median, p90 = (float(p) for p in np.percentile(ratios, (10, 50, 90)))
        return Ratio(median, p10, p90, len(ratios))

    def __getitem__(self, name: str) -> Latency:
        return Latency.of(self.times_ms[name], self.threads[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.times_ms)

    def __len__(self) -> int:
        return len(self.times_ms)


def measure_ms(session: Session, x: NDArray[np.float32], n: int = 200, warmup: int = 20) -> Latency:
    """The latency of one network on the batch `x`."""
    return interleaved({session.name: session}, x, n, warmup)[session.name]


def interleaved(
    sessions: Mapping[str, Session], x: NDArray[np.float32], rounds: int = 200, warmup: int = 20
) -> Interleaved:
    """Time the networks in turns: each runs once per round, in an order that rotates from round to round."""
    if not sessions or rounds < 1 or warmup < 0:
        raise ValueError(
            f"expected at least one session, rounds >= 1 and warmup >= 0, got {len(sessions)} sessions, "
            f"rounds {rounds} and warmup {warmup}"
        )
    times_ms = {name: np.empty(rounds) for name in sessions}
    with latency_lock(), without_garbage_collection():
        for k, name in in_rotation(list(sessions), rounds, warmup):
            start = time.perf_counter_ns()
            sessions[name].run(x)
            elapsed = time.perf_counter_ns() - start
            if k >= 0:
                times_ms[name][k] = elapsed / 1e6
    return Interleaved(times_ms, {name: session.threads for name, session in sessions.items()})


def thread_counts() -> list[int]:
    """1, 2, 4, ... and the number of cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({cores} | {2**k for k in range(cores.bit_length()) if 2**k <= cores})
