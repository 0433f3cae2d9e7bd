# SPDX-License-Identifier: Apache-2.0
"""Information richness: layers whose weights are large and spread evenly keep more; outliers are drawn in first.

Source: Y. Wei, thesis, Jiangnan University, chapter 4: constraints on abnormal information richness.

    e_l = H(W_l)                         entropy (`gossamer.measure.entropy`)
    n_l = mean |W_l|                     average L1 norm of a filter, by its number of weights
    box plot: both are clipped to [Q1 - 1.5 IQR, Q3 + 1.5 IQR] over the layers, then divided by their largest
    R_l = b e_l + (1 - b) n_l            or, with `fusion` "product", e_l n_l
    r_l = (R_l / max_j R_j)^g            g is what a budget turns

Cost: a pass over the weights.

Differs from the source: reconstructed from the thesis's abstract.
1. The norm is divided by the number of weights of a filter; without that it would follow the fan-in alone.
2. `outliers`: "clip", as above; "exempt" leaves outlying layers whole, the other reading of a constraint.
3. No rate falls below `floor`. The layer of the largest richness always stays whole: a budget may be out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.measure.entropy import entropy
from gossamer.rates.budget import Facts, as_counts, power

WHISKER = 1.5  # interquartile ranges
FUSIONS, OUTLIERS = ("sum", "product"), ("clip", "exempt")


@dataclass(frozen=True)
class InformationRichness:
    """Groups keep a share that their filters' entropy and size give. `balance`: of entropy against size, in [0, 1]."""

    balance: float = 0.5
    fusion: str = "sum"
    outliers: str = "clip"
    floor: float = 0.1
    needs = "filters"

    def __post_init__(self) -> None:
        for name, known in (("fusion", FUSIONS), ("outliers", OUTLIERS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} of information-richness must be one of {', '.join(known)}, got '{getattr(self, name)}'"
                )
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance of information-richness must be in [0, 1], got {self.balance}")

    def counts(self, facts: Facts, share: float) -> dict[str, int]:
        """Filters per group (K, features); the exponent is 1 at share 0.5."""
        entropies = np.array([entropy(filters) for filters in facts.values()])
        norms = np.array([np.abs(filters).mean(dtype=np.float64) for filters in facts.values()])
        kept = np.clip(self.rates(entropies, norms) ** power(share), self.floor, 1)
        return as_counts(dict(zip(facts, kept.tolist(), strict=True)), facts)

    def rates(self, entropies: NDArray[np.floating], norms: NDArray[np.floating]) -> NDArray[np.floating]:
        """Both indicators (L,) -> shares kept (L,), before exponent and floor."""
        if not len(entropies):
            return entropies
        (e, odd_entropy), (n, odd_norm) = (_box_plot(values) for values in (entropies, norms))
        e, n = e / (e.max() or 1.0), n / (n.max() or 1.0)
        richness = e * n if self.fusion == "product" else self.balance * e + (1 - self.balance) * n
        rates: NDArray[np.floating] = richness / (richness.max() or 1.0)
        return np.where(odd_entropy | odd_norm, 1.0, rates) if self.outliers == "exempt" else rates


def _box_plot(values: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Values (L,) drawn in to the whiskers, and which of them lay beyond."""
    first, third = np.quantile(values, [0.25, 0.75])
    reach = WHISKER * (third - first)
    clipped = np.clip(values, first - reach, third + reach)
    return clipped, clipped != values
