# SPDX-License-Identifier: Apache-2.0
"""The mean drop where images of one area, session or video are not independent: areas are drawn, not images.

    A areas with n_a images and summed differences D_a.  A resample draws A areas, with repetition: areas a_1 ... a_A
    mean drop of a resample = sum_i D_(a_i) / sum_i n_(a_i)          interval: its quantiles over all resamples

The cluster bootstrap, percentile method (B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, section 8
and chapter 13). It is approximate: where areas are few it is too narrow, and rare large losses break it (`betting` says
how much). It stands beside a certificate, and is no part of its proof: but where its one-sided end at the certificate's
level lies beyond the tolerance, what is proven is proven of independent images only, and every text says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
SHARE = 0.95  # of the resamples, that lie between the two ends
FEW = 5  # areas: with fewer the interval means little
DRAWN_AT_ONCE = 2**21  # areas, so that memory stays small


@dataclass(frozen=True)
class ByArea:
    """Of `resamples` over so many `areas` the middle `share` has a mean drop from `low` to `high`, fractions.

    `upper`: the one-sided end at the level of the certificate; None in reports from before it was told.
    """

    low: float
    high: float
    areas: int
    resamples: int = RESAMPLES
    share: float = SHARE
    upper: float | None = None

    def reaches_beyond(self, tolerance: float) -> bool:
        """Whether the drop, where areas and not images are independent, may be larger than the tolerance."""
        return self.upper is not None and self.upper > tolerance

    @property
    def reach(self) -> str:
        """How far the drop may go, in points, never shown smaller than it is."""
        return f"{math.ceil(1e4 * (self.upper or 0.0) - 1e-9) / 100:.2f}"

    @classmethod
    def in_claims(cls, claims: Mapping[str, Any]) -> ByArea | None:
        """What a file says of areas; None where it says nothing, ValueError where that cannot be."""
        value = claims.get("by_area")
        if value is None:
            return None
        try:
            found = cls(**value)
            numbers = [found.low, found.high, found.share, found.upper]
            good = (
                all(type(number) is float for number in numbers) and type(found.areas) is type(found.resamples) is int
            )
        except TypeError:
            good = False
        if not good:
            raise ValueError(f"expected low, high, areas, resamples, share and upper of by_area, got {value!r:.80}")
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON object, for the claims of a file."""
        return asdict(self)

    def __str__(self) -> str:
        ends = f"{100 * self.low:.2f} and {100 * self.high:.2f} points"
        of = f"{100 * self.share:g} % of {self.resamples:,} resamples of {self.areas:,} area{'s' * (self.areas != 1)}"
        little = "; with so few areas that means little" if self.areas < FEW else ""
        return f"by area, approximate: drop between {ends}, {of}{little}"


def by_known_areas(
    differences: npt.ArrayLike, areas: npt.ArrayLike | None, alpha: float | None = None
) -> ByArea | None:
    """`drop_by_area`, or None where areas are not known, or each has one image and says nothing new."""
    if areas is None or len(np.unique(np.asarray(areas))) == len(np.asarray(areas)):
        return None
    return drop_by_area(differences, areas, alpha)


def drop_by_area(differences: npt.ArrayLike, areas: npt.ArrayLike, alpha: float | None = None, seed: int = 0) -> ByArea:
    """From the differences of all images, original minus compressed, (n,), and the area of each, (n,).

    `alpha`: the level of the certificate, at which the one-sided end is told.
    """
    drops, names = np.asarray(differences, float), np.asarray(areas)
    if drops.ndim != 1 or drops.shape != names.shape or not len(drops):
        raise ValueError(f"expected an area for each difference, at least one, got {names.shape} for {drops.shape}")
    _, of_image = np.unique(names, return_inverse=True)
    images = np.bincount(of_image)  # (A,)
    summed = np.bincount(of_image, weights=drops)
    count = len(images)
    rng = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // count)
    means = []
    for start in range(0, RESAMPLES, at_once):
        drawn = rng.integers(0, count, (min(at_once, RESAMPLES - start), count))
        means.append(summed[drawn].sum(axis=1) / images[drawn].sum(axis=1))
    drawn_means = np.concatenate(means)
    low, high = np.quantile(drawn_means, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    upper = None if alpha is None else float(np.quantile(drawn_means, 1 - alpha))
    return ByArea(float(low), float(high), count, upper=upper)
