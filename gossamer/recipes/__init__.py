# SPDX-License-Identifier: Apache-2.0
"""Published systems, and `auto`, ours: each composes methods and searches with them.

A recipe is a frozen dataclass with `search(run)`; its fields are its options.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Protocol

from gossamer.near import meant
from gossamer.options import read_options
from gossamer.recipes.active_stepwise import ActiveStepwise as ActiveStepwise
from gossamer.recipes.adversarial_selection import AdversarialSelection as AdversarialSelection
from gossamer.recipes.auto import Auto as Auto
from gossamer.recipes.deep_compression import DeepCompression as DeepCompression
from gossamer.recipes.filter_pruning import FilterPruning as FilterPruning
from gossamer.recipes.greedy_car import GreedyCar as GreedyCar
from gossamer.recipes.importance_weights import ImportanceWeights as ImportanceWeights
from gossamer.recipes.information_richness import InformationRichness as InformationRichness
from gossamer.recipes.layer_entropy import LayerEntropy as LayerEntropy
from gossamer.recipes.learned_thresholds import LearnedThresholds as LearnedThresholds
from gossamer.recipes.network_slimming import NetworkSlimming as NetworkSlimming
from gossamer.recipes.post_training import PostTraining as PostTraining
from gossamer.recipes.slim_then_sparsify import SlimThenSparsify as SlimThenSparsify
from gossamer.recipes.weight_pruning import WeightPruning as WeightPruning
from gossamer.search.candidate import Candidate
from gossamer.search.run import Run


class Recipe(Protocol):
    """What every recipe can do."""

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        ...


RECIPES = {
    "auto": Auto,
    "deep-compression": DeepCompression,
    "post-training": PostTraining,
    "slim-then-sparsify": SlimThenSparsify,
    "filter-pruning": FilterPruning,
    "network-slimming": NetworkSlimming,
    "importance-weights": ImportanceWeights,
    "greedy-car": GreedyCar,
    "adversarial-selection": AdversarialSelection,
    "layer-entropy": LayerEntropy,
    "information-richness": InformationRichness,
    "weight-pruning": WeightPruning,
    "active-stepwise": ActiveStepwise,
    "learned-thresholds": LearnedThresholds,
}


def recipe_named(text: str) -> Recipe:
    """The recipe that a command line names: `name`, or `name:option=value,option=value`.

    >>> recipe_named("deep-compression:fc_bits=6,coder=adaptive").fc_bits
    6
    """
    name, _, given = text.partition(":")
    if name not in RECIPES:
        raise ValueError(f"expected a recipe of {', '.join(RECIPES)}, got '{name}'{meant(name, RECIPES)}")
    recipe: Any = RECIPES[name]
    defaults = {field.name: field.default for field in fields(recipe)}
    return recipe(**read_options(given, defaults, name))  # type: ignore[no-any-return]
