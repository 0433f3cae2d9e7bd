# SPDX-License-Identifier: Apache-2.0
"""How many filters each layer keeps: one rule a file.

A rule is a frozen dataclass. Most have a dial, `counts(facts, share)`: scores or filters per group in, by what the rule
`needs`, channels kept per group out; a budget turns the dial (`budget`). `error-tolerance` asks the network for its
error instead, and `harmonic-mean` chooses among networks that were already found.
"""

from __future__ import annotations

from gossamer.rates.budget import Facts as Facts
from gossamer.rates.budget import Rule as Rule
from gossamer.rates.budget import counts_at as counts_at
from gossamer.rates.budget import counts_within as counts_within
from gossamer.rates.budget import share_of as share_of
from gossamer.rates.energy import Energy as Energy
from gossamer.rates.error_tolerance import ErrorTolerance as ErrorTolerance
from gossamer.rates.global_threshold import Global as Global
from gossamer.rates.harmonic_mean import HarmonicMean as HarmonicMean
from gossamer.rates.information_richness import InformationRichness as InformationRichness
from gossamer.rates.layer_entropy import LayerEntropy as LayerEntropy
from gossamer.rates.uniform import Uniform as Uniform

METHODS = {
    "uniform": Uniform,
    "global": Global,
    "energy": Energy,
    "layer-entropy": LayerEntropy,
    "information-richness": InformationRichness,
    "error-tolerance": ErrorTolerance,
    "harmonic-mean": HarmonicMean,
}
