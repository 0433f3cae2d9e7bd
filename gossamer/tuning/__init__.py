# SPDX-License-Identifier: Apache-2.0
"""The one training loop, and what plugs into it."""

from __future__ import annotations

from gossamer.tuning.active_stepwise import ActiveStepwise as ActiveStepwise
from gossamer.tuning.adversarial_alignment import AdversarialAlignment as AdversarialAlignment
from gossamer.tuning.batch_norm import reestimate_batch_norms as reestimate_batch_norms
from gossamer.tuning.batch_norm_l1 import BatchNormL1 as BatchNormL1
from gossamer.tuning.data_parallel import data_parallel as data_parallel
from gossamer.tuning.distillation import Distillation as Distillation
from gossamer.tuning.dynamic_surgery import DynamicSurgery as DynamicSurgery
from gossamer.tuning.fixed_zeros import FixedZeros as FixedZeros
from gossamer.tuning.grafting import Grafting as Grafting
from gossamer.tuning.grafting import graft as graft
from gossamer.tuning.importance_weights import ImportanceWeights as ImportanceWeights
from gossamer.tuning.learned_thresholds import LearnedThresholds as LearnedThresholds
from gossamer.tuning.loop import Diverged as Diverged
from gossamer.tuning.loop import Settings as Settings
from gossamer.tuning.loop import effective_weights as effective_weights
from gossamer.tuning.loop import tune as tune
from gossamer.tuning.numerics import Numerics as Numerics
from gossamer.tuning.numerics import fastest_numerics as fastest_numerics
from gossamer.tuning.plug import Batch as Batch
from gossamer.tuning.plug import Clock as Clock
from gossamer.tuning.plug import Learned as Learned
from gossamer.tuning.plug import Plug as Plug
from gossamer.tuning.rate_penalty import RatePenalty as RatePenalty
from gossamer.tuning.sparsify import Sparsify as Sparsify
from gossamer.tuning.trained_codebook import TrainedCodebook as TrainedCodebook

METHODS = {
    "distillation": Distillation,
    "sparsify": Sparsify,
    "fixed-zeros": FixedZeros,
    "trained-codebook": TrainedCodebook,
    "rate-penalty": RatePenalty,
    "batch-norm-l1": BatchNormL1,
    "importance-weights": ImportanceWeights,
    "grafting": Grafting,
    "adversarial-alignment": AdversarialAlignment,
    "active-stepwise": ActiveStepwise,
    "dynamic-surgery": DynamicSurgery,
    "learned-thresholds": LearnedThresholds,
}
