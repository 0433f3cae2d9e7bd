# SPDX-License-Identifier: Apache-2.0
"""Patience: how often something that fits is bettered before it is left as it is."""

from __future__ import annotations

from gossamer.search.candidate import Candidate

STALE = 2  # attempts in a row that better nothing


class Patience:
    """Until `STALE` attempts in a row are no better than the `best` quality before them."""

    def __init__(self, best: float) -> None:
        self.best, self.stale = best, 0

    @property
    def left(self) -> bool:
        """Whether another attempt is worth its time; where every answer is right, none is."""
        return self.stale < STALE and self.best < 1

    def saw(self, found: Candidate) -> bool:
        """Whether the outcome of an attempt is better than all before; one that misses a limit is not."""
        better = found.verdict.accepted and found.quality > self.best
        self.best, self.stale = (found.quality, 0) if better else (self.best, self.stale + 1)
        return better
