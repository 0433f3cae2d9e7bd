# SPDX-License-Identifier: Apache-2.0
"""Uniform: every group keeps the same share of its channels.

Cost: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.rates.budget import Facts, as_counts


@dataclass(frozen=True)
class Uniform:
    """The plainest rule, and the control of every other.

    >>> import numpy as np
    >>> Uniform().counts({"a": np.ones(8), "b": np.ones(3)}, 0.5)
    {'a': 4, 'b': 2}
    """

    needs = "scores"

    def counts(self, facts: Facts, share: float) -> dict[str, int]:
        """Anything per group, K long, and the share kept -> channels kept per group, at least one."""
        return as_counts(dict.fromkeys(facts, share), facts)
