# SPDX-License-Identifier: Apache-2.0
"""Layer entropy: a layer whose weights spread evenly over their range keeps more of its filters.

Paper: Y. Wei, Y. Chen, Acta Electronica Sinica 50(10), 2022, 2398-2408, doi 10.12263/DZXB.20201372.

    power        r_l = (H_l / max_j H_j)^g               g = 1 has no parameter; g is what a budget turns
    minmax       r_l = ((H_l - min H) / (max H - min H))^g
    neighbour    r_l = (H_l / max(H_{l-1}, H_l, H_{l+1}))^g

H: `gossamer.measure.entropy`.

Cost: a pass over the weights.

Differs from the paper: reconstructed from its abstract, which sets the rate of every layer in one shot from the
relation between layer entropies.
1. The three relations are our readings; `power` is the likeliest, `neighbour` the most literal.
2. The largest entropy is taken over all layers that are pruned; a maximum for each stage would leave the layers that
   are alone in theirs, as in MobileNetV2, whole.
3. No rate falls below `floor`. The layer of the largest entropy always stays whole: a budget may be out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.measure.entropy import entropy
from gossamer.rates.budget import Facts, as_counts, power

RELATIONS = ("power", "minmax", "neighbour")


@dataclass(frozen=True)
class LayerEntropy:
    """Groups in forward order keep a share that their filters' entropy gives."""

    relation: str = "power"
    floor: float = 0.1
    needs = "filters"

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ValueError(f"relation of layer-entropy must be one of {', '.join(RELATIONS)}, got '{self.relation}'")

    def counts(self, facts: Facts, share: float) -> dict[str, int]:
        """Filters per group (K, features), in forward order; the exponent is 1 at share 0.5."""
        rates = self.rates(np.array([entropy(filters) for filters in facts.values()]))
        kept = np.clip(rates ** power(share), self.floor, 1)
        return as_counts(dict(zip(facts, kept.tolist(), strict=True)), facts)

    def rates(self, entropies: NDArray[np.floating]) -> NDArray[np.floating]:
        """Entropies (L,) -> shares kept (L,), before exponent and floor; 1 where all are the same."""
        if not len(entropies):
            return entropies
        if self.relation == "minmax":
            span = np.ptp(entropies)
            return (entropies - entropies.min()) / span if span else np.ones_like(entropies)
        beside = np.full_like(entropies, entropies.max())
        if self.relation == "neighbour":
            padded = np.pad(entropies, 1, mode="edge")
            beside = np.maximum(np.maximum(padded[:-2], padded[2:]), entropies)
        return entropies / np.maximum(beside, 1e-30)
