# SPDX-License-Identifier: Apache-2.0
"""What a network takes on a board, step by step: each number of threads takes its turn in every round.

    turns = Turns(lambda model, threads: open_session(model, "onnxruntime", threads), (1, 4))
    deployed = open_deployed(path, kind, turns.open)
    milliseconds = in_turns(deployed, turns, picture, rounds=50)

Steps are those of `Times`: from the stored picture to what the network reads, the network, from its output to the
answer. Turns, warm-up and percentiles are those of docs/measuring.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.device.deployed import Deployed, read_frame
from gossamer.device.figures import Times
from gossamer.device.frames import ms_since
from gossamer.device.stored import Session
from gossamer.device.turns import in_rotation, without_garbage_collection

WARM_UP = 5
STEPS = tuple(step.name for step in fields(Times))


@dataclass(frozen=True)
class Spread:
    """Milliseconds over the rounds."""

    median_ms: float
    p10_ms: float
    p90_ms: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Spread:
        p10, median, p90 = (float(value) for value in np.percentile(times_ms, (10, 50, 90)))
        return cls(median, p10, p90)


class Turns:
    """One network in several sessions, each with its number of threads; `threads` says which of them answers.

    It keeps the ONNX bytes, and how long after its making they came: that is the decoding of the file.
    """

    def __init__(self, open_session: Callable[[bytes, int], Session], threads: Sequence[int]) -> None:
        self._open_session, self._start = open_session, time.perf_counter()
        self._sessions: dict[int, Session] = {}
        self.counts = tuple(threads)
        self.threads = threads[0]
        self.model = b""
        self.decode_ms = 0.0

    def open(self, model: bytes) -> Session:
        """An `Opener`."""
        self.model, self.decode_ms = model, ms_since(self._start)
        self._sessions = {count: self._open_session(model, count) for count in self.counts}
        return self

    def run(self, *inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """(N, C, H, W) -> outputs, of the session whose turn it is."""
        return self._sessions[self.threads].run(*inputs)


def in_turns(deployed: Deployed, turns: Turns, picture: Path, rounds: int) -> dict[int, dict[str, Spread]]:
    """What each step takes, by number of threads; they run once a round each, in an order that rotates."""
    times: dict[int, list[Times]] = {count: [] for count in turns.counts}
    with without_garbage_collection():
        for k, count in in_rotation(turns.counts, rounds, WARM_UP):
            turns.threads = count
            taken = deployed.look(read_frame(picture))[1]
            if k >= 0:
                times[count].append(taken)
    return {
        count: {step: Spread.of([getattr(each, step) for each in taken]) for step in STEPS}
        for count, taken in times.items()
    }
