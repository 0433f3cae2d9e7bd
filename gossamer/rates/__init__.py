# SPDX-License-Identifier: Apache-2.0
"""How many filters each layer keeps: one rule a file.

A rule is a frozen dataclass with `counts(scores, share)`: scores per group in, channels kept per group out.
"""

from __future__ import annotations

from gossamer.rates.budget import counts_within as counts_within
from gossamer.rates.global_threshold import Global as Global
from gossamer.rates.uniform import Uniform as Uniform

METHODS = {"uniform": Uniform, "global": Global}
