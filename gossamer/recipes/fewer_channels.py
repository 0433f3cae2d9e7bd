# SPDX-License-Identifier: Apache-2.0
"""Fewer channels: whole filters go, so that arithmetic gets less and the network faster.

A rung asks for a share of the original's multiply-adds. Channels are scored by the L1 norm of their filters
(folded with their batch norms) and fall under one threshold over all groups; channels that a sum ties together
through many layers are cut only where the others do not suffice. The cut network is tuned from the last accepted
one, distilled from the original. Where latency is the goal, each rung is written twice, in float32 and in int8
arithmetic, and both are timed in the runtime: a rung that is not faster than the original is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer.filters import GroupMatrices, L1Norm
from gossamer.graph import Group, Network
from gossamer.plan import Plan
from gossamer.quantize.folding import fold_factors
from gossamer.rates import Global, counts_within
from gossamer.search.candidate import Candidate, finish
from gossamer.search.ladder import climb
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.tuning import Distillation
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.checkpoint import load_weights

LIKED_BY_RUNTIMES = 8  # channels: both runtimes compute them in vectors of 8 or 16


@dataclass(frozen=True)
class Demand:
    """A rung: at most this share of the original's multiply-adds."""

    share: float

    @property
    def name(self) -> str:
        """Percent of the multiply-adds."""
        return f"{100 * self.share:.0f} % of the MACs"


LADDER = tuple(Demand(share) for share in (0.7, 0.5, 0.36, 0.26, 0.19, 0.14))


def between(low: Demand, high: Demand) -> Demand:
    """The demand half-way."""
    return Demand(round((low.share + high.share) / 2, 3))


def climb_channels(run: Run) -> list[Candidate]:
    """The uncut network in int8 first, then the ladder."""
    pace = measure_pace(run)

    def uncut() -> list[Candidate]:
        return _written(run, run.step_folder(0, "uncut"), "uncut", run.network, Plan())

    seconds = run.seconds_of("first candidate", uncut)
    safe = uncut()
    return safe + climb(
        run,
        LADDER,
        lambda number, demand, previous, epochs: _cut_and_tuned(run, number, demand, previous, epochs),
        between=between,
        epochs_for=epochs_in_time(run, pace, seconds),
    )


def _cut_and_tuned(run: Run, number: int, demand: Demand, previous: Candidate | None, epochs: int) -> list[Candidate]:
    """One rung: cut from `previous` (or the original) to what `demand` asks, tuned and written."""
    folder = run.step_folder(number, demand.name)
    network, plan = _parent(run, previous)
    if finished := _load_written(run, folder, demand.name):
        return finished
    keep = choose_channels(network, demand.share * run.network.macs)
    smaller = network.cut(keep)
    plan = plan.with_channels(_in_original(run.network, plan, keep))
    reestimate_batch_norms(smaller.module, run.calibration_batches())
    run.tune(smaller.module, (Distillation(),), measure_pace(run).numerics, epochs, folder, demand.name)
    reestimate_batch_norms(smaller.module, run.calibration_batches())
    return _written(run, folder, demand.name, smaller, plan)


def _parent(run: Run, previous: Candidate | None) -> tuple[Network, Plan]:
    """The network that a rung starts from, with its trained values, and its plan."""
    if previous is None:
        return run.network.copy(), Plan()
    plan = previous.plan
    network = run.network.cut(plan.keep()) if plan.channels else run.network.copy()
    load_weights(previous.folder / "weights.safetensors", network.module)
    return network, Plan(channels=plan.channels)


def choose_channels(network: Network, macs: float) -> dict[str, NDArray[np.bool_]]:
    """What to keep of each group so that at most `macs` multiply-adds are left."""
    factors = fold_factors(network.layers, network.module.state_dict())
    weights = {
        name: tensor * factors[name] if name in factors else tensor
        for name, tensor in network.module.state_dict().items()
    }
    groups = [group for group in network.groups if group.removable and group.exact]
    alone = [group for group in groups if len(group.rows(weights)) == 1]
    for chosen in (alone, groups):  # channels tied through a sum carry the whole network: they go last
        scores = {group.name: L1Norm().score(matrices_of(group, weights)) for group in chosen}
        multiples = {group.name: _multiple(group) for group in chosen}
        counts = counts_within(Global(scaled=True), scores, network.macs_if, macs, multiples)
        if network.macs_if(counts) <= macs:
            break
    return {group.name: group.best(scores[group.name], counts[group.name]) for group in chosen}


def _multiple(group: Group) -> int:
    """Round to what runtimes like where the group is wide enough to lose anything at all."""
    liked = LIKED_BY_RUNTIMES if group.size >= 2 * LIKED_BY_RUNTIMES else 1
    return int(np.lcm(liked, group.multiple_of))


def matrices_of(group: Group, weights: Mapping[str, torch.Tensor]) -> GroupMatrices:
    """A group as criteria see it, from a network's tensors by name."""
    return GroupMatrices(
        group.name,
        group.size,
        rows=tuple(rows.cpu().numpy() for rows in group.rows(weights)),
        columns=tuple(columns.cpu().numpy() for columns in group.columns(weights)),
        scales=tuple(scales.cpu().numpy() for scales in group.scales(weights)),
    )


def _in_original(original: Network, plan: Plan, keep: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """`keep` of a network that `plan` cut, in the channels of the original."""
    before = plan.keep()
    merged = {}
    for group in original.groups:
        if group.name in keep or group.name in before:
            row = before.get(group.name, np.ones(group.size, np.bool_)).copy()
            row[row] = keep.get(group.name, np.ones(int(row.sum()), np.bool_))
            merged[group.name] = row
    return merged


def _written(run: Run, folder: Path, name: str, network: Network, plan: Plan) -> list[Candidate]:
    """The network as float32 and, where latency is the goal, as int8; the better one last."""
    found = []
    for variant in _variants(run):
        inside = folder / variant
        done = Candidate.load(inside)
        int8 = variant == "int8"
        found.append(done or finish(run, inside, f"{name}, {variant}", network, replace(plan, int8=int8)))
    return sorted(found, key=_worth)


def _load_written(run: Run, folder: Path, name: str) -> list[Candidate]:
    """What `_written` returned, if all of it is there."""
    found = [Candidate.load(folder / variant) for variant in _variants(run)]
    complete = [candidate for candidate in found if candidate is not None]
    return sorted(complete, key=_worth) if len(complete) == len(found) else []


def _variants(run: Run) -> tuple[str, ...]:
    return ("float32", "int8") if run.goal.minimise == "latency" else ("float32",)


def _worth(candidate: Candidate) -> tuple[bool, float]:
    """Accepted after refused, faster after slower."""
    return candidate.verdict.accepted, candidate.speedup or 0.0
