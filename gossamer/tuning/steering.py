# SPDX-License-Identifier: Apache-2.0
"""Steering: how much a penalty weighs, so that what it is about follows a schedule."""

from __future__ import annotations

import math

LEAST = 1e-4
TURNS, MOST_TURN = 30.0, 0.1  # how far a weight can move in all of training, and in a step; logarithms
TOLERATED = 0.1  # relative error at which it moves at full speed
DAMPING = 1.5  # how much more or less it weighs at once, at that error; logarithm


class Steered:
    """A weight that rises while there is more than wanted, and falls while there is less."""

    def __init__(self, first: float) -> None:
        self.weight = first

    def towards(self, wanted: float, now: float, steps: int) -> float:
        """The weight for this step of so many; `wanted` and `now` of whatever is penalised, positive."""
        error = min(max((now / wanted - 1) / TOLERATED, -1.0), 1.0)
        self.weight = max(self.weight * math.exp(min(TURNS / steps, MOST_TURN) * error), LEAST)
        return self.weight * math.exp(DAMPING * error)
