# SPDX-License-Identifier: Apache-2.0
"""Global: one threshold over the scores of all groups.

Paper: Z. Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017,
arXiv 1708.06519, section 3: the threshold is a percentile of all scores, so groups with many weak channels
lose more.

    t = the n-th largest of all scores, n = share * channels        k_l = the number of i with s_l,i >= t

Cost: one sort of all scores.

Differs from the paper:
1. A score that is the threshold stays; the paper keeps what is above it.
2. No group falls below `floor`, a share of its channels: an emptied layer cuts the network in two.
3. With `scaled`, scores are divided by their group's mean first, for criteria whose scale differs between
   layers (norms do; batch-norm scales do not).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.rates.budget import Facts


@dataclass(frozen=True)
class Global:
    """Keep the best channels wherever they are.

    >>> Global(floor=0.25).counts({"a": np.array([1.0, 1, 1, 9]), "b": np.array([8.0, 8, 8, 8])}, 0.625)
    {'a': 1, 'b': 4}
    """

    floor: float = 0.25
    scaled: bool = False

    needs = "scores"

    def counts(self, facts: Facts, share: float) -> dict[str, int]:
        """Scores per group (K,) and the share kept -> channels kept per group, at least one."""
        scores = dict(facts)
        if not scores:
            return {}
        if self.scaled:
            scores = {name: score / (score.mean() or 1.0) for name, score in scores.items()}
        ranked = np.sort(np.concatenate(list(scores.values())))[::-1]
        threshold = ranked[min(ranked.size, max(1, round(share * ranked.size))) - 1]
        return {
            name: max(1, round(self.floor * score.size), int((score >= threshold).sum()))
            for name, score in scores.items()
        }
