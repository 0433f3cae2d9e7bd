# SPDX-License-Identifier: Apache-2.0
"""Zero single weights: one method a file.

A method is a frozen dataclass with `keep(weights, sparsity)`: weights by name go in, bool arrays come back, True
where a weight stays.
Zeros make the file smaller, not the arithmetic faster; channels do that (see `gossamer.filters`).
"""

from __future__ import annotations

from gossamer.weights.magnitude import Magnitude as Magnitude
from gossamer.weights.quality_factor import QualityFactor as QualityFactor

METHODS = {"magnitude": Magnitude, "quality-factor": QualityFactor}
