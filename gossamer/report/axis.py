# SPDX-License-Identifier: Apache-2.0
"""Axes of the plots: a range, linear or logarithmic, and ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """What an axis shows, from `low` to `high`, and how its numbers are written."""

    label: str
    low: float
    high: float
    show: Callable[[float], str]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies between the ends: 0 at `low`, 1 at `high`; values outside are set to the end."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        return min((value - low) / (high - low), 1.0)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values within the range."""
        return log_ticks(self.low, self.high, count) if self.log else linear_ticks(self.low, self.high, count)


def fitted(
    label: str, values: Sequence[float], show: Callable[[float], str], zero: bool = False, log: bool = False
) -> Axis:
    """An axis around values, with air at both ends.

    With `zero` it starts at zero, as where lengths of bars are compared; with `log` it is logarithmic if the
    values span more than a factor of four.
    """
    low, high = min(values), max(values)
    if zero:
        return Axis(label, 0.0, high * 1.05 or 1.0, show)
    if log and low > 0 and high / low > 4:
        return Axis(label, low / (high / low) ** 0.08, high * (high / low) ** 0.08, show, log=True)
    flat = high - low <= 1e-6 * abs(high)  # equal but for rounding: an axis needs an extent
    air = 0.05 * abs(high) or 1.0 if flat else 0.08 * (high - low)
    return Axis(label, low - air, high + air, show)


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten.

    >>> linear_ticks(0.3, 9.1, 5)
    [2.0, 4.0, 6.0, 8.0]
    """
    rough = (high - low) / count
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.7 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return [round(i * step, digits) for i in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """1, 2 and 5 times powers of ten, or only some of them where that were too many.

    >>> log_ticks(70, 1_200, 5)
    [100.0, 200.0, 500.0, 1000.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(m) * 10.0**d for d in decades for m in digits if low <= m * 10.0**d <= high]
        if len(ticks) <= count + 1:
            break
    return ticks[:: math.ceil(len(ticks) / (count + 1))] if ticks else [low, high]


def decimals(axis_ticks: Sequence[float]) -> int:
    """Digits after the point that tell neighbouring ticks apart.

    >>> decimals([91.0, 91.5, 92.0])
    1
    """
    return next((d for d in range(5) if all(abs(round(t, d) - t) < 1e-9 for t in axis_ticks)), 5)
