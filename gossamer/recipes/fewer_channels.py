# SPDX-License-Identifier: Apache-2.0
"""Fewer channels: whole filters go, so that arithmetic gets less and the network faster.

A rung asks for a share of the original's multiply-adds, or of its milliseconds as a table of this runtime predicts them
(`latency_table`). How many channels each group keeps, none at all included, is where the frontier of cost against loss
lies there (`frontier`, `sensitivity`); which ones, the L1 norm of their filters says, folded with their batch norms.
The cut network is tuned from the last accepted one, distilled from the original. Where latency is the goal, each rung
is written twice, in float32 and in int8 arithmetic, and both are timed in the runtime: a rung that is not faster than
the original is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer.filters import GroupMatrices, L1Norm
from gossamer.graph import Group, Network
from gossamer.plan import Plan
from gossamer.quantize.folding import fold_factors
from gossamer.runtime.saturation import LARGEST, largest_weight
from gossamer.search.candidate import Candidate, deployed, finish
from gossamer.search.frontier import allocate
from gossamer.search.ladder import climb
from gossamer.search.latency_table import (
    LatencyTable,
    fit_table,
    liked_multiple,
    probes,
    samples,
    step_of,
    time_samples,
)
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.search.sensitivity import Sensitivity, measure_sensitivities
from gossamer.tuning import Distillation
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.checkpoint import load_weights

SENSITIVITY_BATCHES = 4
STEPS = 16  # counts that a group may keep, at most

Keep = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Demand:
    """A rung: at most this share of what the original costs."""

    share: float
    of: str

    @property
    def name(self) -> str:
        """Percent of the multiply-adds, or of the time."""
        return f"{100 * self.share:.0f} % of the {self.of}"


SHARES = (0.92, 0.82, 0.7, 0.5, 0.36, 0.26, 0.19, 0.14)
FIRST = SHARES.index(0.7)  # where too much, the gentler ones are tried


def between(low: Demand, high: Demand) -> Demand:
    """The demand half-way."""
    return Demand(round((low.share + high.share) / 2, 3), low.of)


def climb_channels(run: Run) -> list[Candidate]:
    """The uncut network in int8 first, then the ladder."""
    pace = measure_pace(run)

    def uncut() -> list[Candidate]:
        return _written(run, run.step_folder(0, "uncut"), "uncut", run.network, Plan())

    seconds = run.seconds_of("first candidate", uncut)
    safe = uncut()
    widths = Widths.of(run, int8=safe[-1].plan.int8)
    of = "time" if run.goal.minimise == "latency" else "MACs"
    return safe + climb(
        run,
        [Demand(share, of) for share in SHARES],
        lambda number, demand, previous, epochs: _cut_and_tuned(run, widths, number, demand, previous, epochs),
        between=between,
        epochs_for=epochs_in_time(run, pace, seconds),
        first=FIRST,
    )


@dataclass(frozen=True)
class Widths:
    """How many channels each group of the original may keep, what that loses, and what the whole network then costs."""

    network: Network
    options: Mapping[str, list[int]]
    sensitivities: Mapping[str, Sensitivity]
    cost: Callable[[Mapping[str, int]], float]

    @classmethod
    def of(cls, run: Run, *, int8: bool) -> Widths:
        """Measured once and remembered by the run; `int8`: the arithmetic that is timed."""
        network = run.network
        groups = network.prunable
        may_end = {group.name for group in groups if network.can_end(group.name)}
        sensitivities = _sensitivities(run, may_end)
        table = _latency_table(run, may_end, int8) if run.goal.minimise == "latency" else None
        liked = table.multiple if table else 1
        options = {group.name: _options(group, liked, group.name in may_end) for group in groups}
        cost = (lambda counts: table.milliseconds(network, counts)) if table else network.macs_if
        return cls(network, options, sensitivities, cost)

    def within(self, share: float, most: Mapping[str, int]) -> dict[str, int] | None:
        """The least loss at this share of the original's cost, no group wider than `most` says; None where none is."""
        options = {
            name: [count for count in counts if count < most.get(name, counts[-1])] + [most.get(name, counts[-1])]
            for name, counts in self.options.items()
        }
        loss = lambda name, count: self.sensitivities[name].loss(count)  # noqa: E731
        return allocate(options, loss, self.cost, share * self.cost({}))


def _options(group: Group, liked: int, may_end: bool) -> list[int]:
    """Counts that a group may keep, ascending, at most `STEPS` and none at all."""
    step = step_of(group, liked)
    step *= max(1, group.size // (STEPS * step))
    return [0] * may_end + list(range(step, group.size, step)) + [group.size]


def _sensitivities(run: Run, may_end: set[str]) -> dict[str, Sensitivity]:
    def compute() -> dict[str, object]:
        batches = list(islice(run.calibration_batches(), SENSITIVITY_BATCHES))
        scores = scores_of(run.network)
        found: dict[str, object] = {}
        with run.watch.bar("what each group is worth") as step:
            for name, sensitivity in measure_sensitivities(run.network, scores, batches, may_end=may_end):
                found[name] = asdict(sensitivity)
                step(len(found), len(scores), name)
        return found

    stored = run.stage("sensitivities", compute)
    return {name: Sensitivity(tuple(value["counts"]), tuple(value["losses"])) for name, value in stored.items()}


def _latency_table(run: Run, may_end: set[str], int8: bool) -> LatencyTable:
    def timed(counted: list[dict[str, int]]) -> list[float]:
        with run.watch.bar("a latency table") as step:
            return time_samples(
                run.network,
                counted,
                lambda network: deployed(network, run.task, int8=int8),
                runtime=run.goal.runtime,
                threads=run.settings.threads,
                inputs=run.task.example[:1].numpy(),
                progress=step,
            )

    def compute() -> dict[str, object]:
        probed = probes(run.network)
        multiple = liked_multiple(run.network, probed, timed(probed))
        counted = list(samples(run.network, may_end, multiple, run.settings.seed))
        return fit_table(run.network, counted, timed(counted), multiple).to_json()

    table = LatencyTable.from_json(run.stage("latency table", compute))
    run.note(
        f"{run.goal.runtime} likes channels in multiples of {table.multiple} here; the latency table is off by "
        f"{100 * table.error:.0f} % on networks that it was not made of (median)"
    )
    return table


def _cut_and_tuned(
    run: Run, widths: Widths, number: int, demand: Demand, previous: Candidate | None, epochs: int
) -> list[Candidate]:
    """One rung: cut from `previous` (or the original) to what `demand` asks, tuned and written."""
    folder = run.step_folder(number, demand.name)
    if finished := _load_written(run, folder, demand.name):
        return finished
    parent, before = _parent(run, previous)
    counts = widths.within(demand.share, {name: int(keep.sum()) for name, keep in before.items()})
    if counts is None:
        run.note(f"no choice of channels takes {demand.name}")
        return []
    keep, smaller = choose_channels(run.network, parent, counts)
    reestimate_batch_norms(smaller.module, run.calibration_batches())
    run.tune(smaller.module, (Distillation(),), measure_pace(run).numerics, epochs, folder, demand.name)
    reestimate_batch_norms(smaller.module, run.calibration_batches())
    return _written(run, folder, demand.name, smaller, Plan().with_channels(keep))


def _parent(run: Run, previous: Candidate | None) -> tuple[Network, Keep]:
    """The network that a rung starts from, with its trained values, and what it kept."""
    if previous is None:
        return run.network.copy(), {}
    keep = previous.plan.keep()
    network = run.network.cut(keep)
    load_weights(previous.folder / "weights.safetensors", network.module)
    return network, keep


def choose_channels(original: Network, parent: Network, counts: Mapping[str, int]) -> tuple[Keep, Network]:
    """What to keep of each group of the original, `counts` channels of what `parent` has; and `parent` cut to it."""
    places, worth = original.channels_of(parent), scores_of(parent)
    scores = {group.name: np.full(group.size, -np.inf) for group in original.groups if group.name in counts}
    for name, channels in places.items():
        for (group, place), score in zip(channels, worth.get(name, np.ones(len(channels))), strict=True):
            if group in scores:
                scores[group][place] = score
    groups = {group.name: group for group in original.groups}
    keep = {name: groups[name].best(scores[name], count) for name, count in counts.items()}
    inside = {
        name: np.array([keep[group][place] if group in keep else True for group, place in channels], np.bool_)
        for name, channels in places.items()
    }
    smaller = parent.cut({name: row for name, row in inside.items() if not row.all()})
    return {name: row for name, row in keep.items() if not row.all()}, smaller


def scores_of(network: Network) -> dict[str, NDArray[np.floating]]:
    """What each channel of each group that may be cut is worth beside the others of its group, (K,)."""
    tensors = network.module.state_dict()
    factors = fold_factors(network.layers, tensors)
    weights = {name: tensor * factors[name] if name in factors else tensor for name, tensor in tensors.items()}
    return {group.name: L1Norm().score(matrices_of(group, weights)) for group in network.prunable}


def matrices_of(group: Group, weights: Mapping[str, torch.Tensor]) -> GroupMatrices:
    """A group as criteria see it, from a network's tensors by name."""
    return GroupMatrices(
        group.name,
        group.size,
        rows=tuple(rows.cpu().numpy() for rows in group.rows(weights)),
        columns=tuple(columns.cpu().numpy() for columns in group.columns(weights)),
        scales=tuple(scales.cpu().numpy() for scales in group.scales(weights)),
    )


def _written(run: Run, folder: Path, name: str, network: Network, plan: Plan) -> list[Candidate]:
    """The network as float32 and, where latency is the goal, as int8; the better one last."""
    if "int8" in _variants(run) and largest_weight() < LARGEST:
        run.note(
            f"this processor cuts off sums of two products of bytes, so int8 weights keep to {largest_weight()}; on "
            f"one with VNNI they could use {LARGEST}"
        )
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
