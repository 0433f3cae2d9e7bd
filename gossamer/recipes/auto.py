# SPDX-License-Identifier: Apache-2.0
"""auto: our own recipe. The goal decides what is cut.

bytes          zeros and coarse integer grids, grown together while the network learns the original's outputs:
               entropy coding turns both into a small file.
latency, macs  whole channels, since only they make arithmetic faster; then int8, where it is faster.

Both climb a ladder (`gossamer.search.ladder`) until the selection split refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.recipes.fewer_bytes import climb_bytes
from gossamer.recipes.fewer_channels import climb_channels
from gossamer.search.candidate import Candidate
from gossamer.search.run import Run


@dataclass(frozen=True)
class Auto:
    """The smallest file, the fastest or the least arithmetic within the tolerance."""

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        return climb_bytes(run) if run.goal.minimise == "bytes" else climb_channels(run)
