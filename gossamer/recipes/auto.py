# SPDX-License-Identifier: Apache-2.0
"""auto: our own recipe. The goal decides what is cut.

bytes          bits: integers are chosen that the coder stores in few bits, first without training, then under a rate
               penalty while the network learns the original's outputs. Zeros and coarse grids come of it by themselves.
latency, macs  whole channels, since only they make arithmetic faster; for latency int8 too, where it is faster.

Both climb a ladder (`gossamer.search.ladder`) until the selection split refuses. Limits instead of a tolerance turn the
question round: `gossamer.recipes.fit`.

Cost: a training of `--epochs` for each rung.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.recipes.fewer_bytes import climb_bytes
from gossamer.recipes.fewer_channels import climb_channels
from gossamer.recipes.fit import fitted
from gossamer.search.candidate import Candidate
from gossamer.search.run import Run


@dataclass(frozen=True)
class Auto:
    """The smallest file, the fastest or the least arithmetic within the tolerance.

    `bits` a weight of the original: what the first training for a smaller file asks for, and the ladder goes on from
    there; 0 leaves it to the ladder, which starts where rounding alone ends. `macs`: the share of the multiply-adds
    that a training leaves before that; 0 finds out how many the network can spare.
    """

    bits: float = 0.0
    macs: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= 32:
            raise ValueError(f"bits of auto must be 0 to 32 a weight, got {self.bits}")
        if not 0 <= self.macs < 1:
            raise ValueError(f"macs of auto must be a share of the multiply-adds below 1, got {self.macs}")

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        if (self.bits or self.macs) and (run.goal.fit or run.goal.minimise != "bytes"):
            raise ValueError(
                f"expected auto without options, which are for --minimise bytes, got bits={self.bits:g} and "
                f"macs={self.macs:g}; leave them out"
            )
        if run.goal.fit:
            return fitted(run)
        return climb_bytes(run, self.bits, self.macs) if run.goal.minimise == "bytes" else climb_channels(run)
