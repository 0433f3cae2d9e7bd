# SPDX-License-Identifier: Apache-2.0
"""Pruning single weights as most papers do: prune while training or before it, train what is left, store it.

What differs between the papers' systems is a `Pruning`. Its rungs ask for ever fewer weights, and the tolerance decides
how far the ladder is climbed, each rung from what the last accepted one left; or one share of them is asked for.

    prune   under the method's plug, for its share of a rung's epochs
    cut     channels that no weight makes or reads any more go from the network
    train   what is left, zeros fixed; store it on a fine grid, entropy-coded
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

from gossamer.graph import Layer, Network
from gossamer.plan import Plan
from gossamer.recipes.fewer_bytes import weights_of
from gossamer.recipes.fine_grids import fine_grid, on_fine_grid
from gossamer.search.candidate import Candidate, coded_layers, reopened
from gossamer.search.idle import in_original, keep_busy, without_idle
from gossamer.search.ladder import climb
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.tuning import Distillation, FixedZeros, Plug
from gossamer.tuning.batch_norm import reestimate_batch_norms

SHARES = (0.6, 0.4, 0.27, 0.18, 0.12, 0.08, 0.053, 0.035, 0.023, 0.015, 0.01)
FIRST = SHARES.index(0.27)  # where too much, the gentler ones are tried
WEIGHT_DECAY = 5e-4


@dataclass(frozen=True)
class Demand:
    """A rung: this share of the original's weights stays. `words`: its name, where something else is asked."""

    kept: float
    words: str = ""

    @property
    def name(self) -> str:
        """Percent of the weights."""
        return self.words or f"{100 * self.kept:.3g} % of the weights"


def asked(kept: float) -> Demand | None:
    """What an option `kept` asks for; None where it is 0, for a ladder."""
    if not 0 <= kept < 1:
        raise ValueError(f"kept must be a share of the weights in (0, 1), or 0 for a ladder, got {kept}")
    return Demand(kept) if kept else None


@dataclass(frozen=True)
class Zeros:
    """What a method is to do: so large a share of a network's weights zero, where `start` are zero already."""

    target: float
    start: float


@dataclass(frozen=True)
class Pruning:
    """How weights are pruned, and what becomes of the network after that.

    `plug`: makes the method's plug for the named layers of a network, or changes the network, in place, and fixes its
    zeros. `only`: the one rung, in place of a ladder. `share`: of the epochs that are trained under the plug.
    """

    plug: Callable[[Run, Network, Sequence[Layer], Zeros], Plug]
    _: KW_ONLY
    only: Demand | None = None
    share: float = 0.6
    distil: bool = False
    weight_decay: float = WEIGHT_DECAY
    trained: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"pruning must be a share of the epochs in (0, 1], got {self.share}")
        if not 0 <= self.weight_decay < 1:
            raise ValueError(f"weight_decay must be in [0, 1), got {self.weight_decay}")


def climb_weights(run: Run, recipe: str, pruning: Pruning) -> list[Candidate]:
    """The unpruned network, then each rung; every candidate in the order tried. `recipe`: its name, for errors."""
    run.goal.must_be_bytes(recipe)
    seconds = run.seconds_of("first candidate", lambda: fine_grid(run))

    def once_if_there_is_time(number: int, name: str, times: int = 1) -> int:
        return int(run.has_time_for(seconds))

    in_time = epochs_in_time(run, measure_pace(run), seconds) if pruning.trained else once_if_there_is_time
    demands = [pruning.only] if pruning.only else [Demand(share) for share in SHARES]
    climbed = climb(
        run,
        demands,
        lambda number, demand, previous, epochs: [_rung(run, pruning, number, demand, previous, epochs)],
        between=lambda low, high: Demand(math.sqrt(low.kept * high.kept)),
        epochs_for=in_time,
        first=0 if pruning.only else FIRST,
    )
    return [fine_grid(run), *climbed]


def _rung(
    run: Run, pruning: Pruning, number: int, demand: Demand, previous: Candidate | None, epochs: int
) -> Candidate:
    """Pruned from `previous`, or the original, cut, trained and written."""
    folder = run.step_folder(number, demand.name)
    if done := Candidate.load(folder):
        return done
    network = reopened(run, previous) if previous else run.network.copy()
    kept = previous.plan.keep() if previous else {}
    layers = coded_layers(run, network)
    name = demand.name
    teach: tuple[Plug, ...] = (Distillation(),) if pruning.distil else ()
    under_plug = max(1, round(pruning.share * epochs)) if pruning.trained else 0

    def train(plug: Plug, some: int, phase: str) -> None:
        """Train some epochs, in place; what is zero in the forward pass is zero afterwards."""
        numerics, decay = measure_pace(run).numerics, pruning.weight_decay
        effective = run.tune(network.module, (plug, *teach), numerics, some, folder, name, phase, weight_decay=decay)
        network.module.load_state_dict(effective, strict=False)

    plug = pruning.plug(run, network, layers, _zeros(run, network, layers, demand))
    if under_plug:
        train(plug, under_plug, "pruning")
    if idle := keep_busy(network):
        kept = in_original(run.network, network, kept, idle)
        network = without_idle(network, idle)
        run.note(f"'{name}': {sum(int((~row).sum()) for row in idle.values())} channels without weights were cut")
    zeros = FixedZeros({layer.name: network.tensors[layer.name].detach() != 0 for layer in coded_layers(run, network)})
    if pruning.trained and epochs > under_plug:
        train(zeros, epochs - under_plug, "training")
    reestimate_batch_norms(network.module, run.calibration_batches())
    return on_fine_grid(run, folder, name, network, Plan().with_channels(kept))


def _zeros(run: Run, network: Network, layers: Sequence[Layer], demand: Demand) -> Zeros:
    """What the demand, a share of the original's weights, means for a network that has fewer already."""
    count = weights_of(run, network)
    zero = sum(int((network.tensors[layer.name] == 0).sum()) for layer in layers)
    target = max(zero / count, 1 - demand.kept * weights_of(run, run.network) / count)
    return Zeros(target, zero / count)
