# SPDX-License-Identifier: Apache-2.0
"""Widths: how many channels each group of a run's network keeps at a given cost, and which ones.

How many: the frontier of cost against loss (`frontier`), from what each group was measured to be worth (`sensitivity`)
and from multiply-adds, a table of milliseconds (`latency_table`) or coded bytes. Which ones: those whose filters have
the largest L1 norms, folded with their batch norms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer.filters import GroupMatrices, L1Norm
from gossamer.graph import Group, Network
from gossamer.graph.walk import images_that_fit
from gossamer.quantize.folding import fold_factors
from gossamer.search.board import board_of
from gossamer.search.candidate import deployed
from gossamer.search.frontier import allocate
from gossamer.search.latency_table import (
    LatencyTable,
    fit_table,
    liked_multiple,
    probes,
    samples,
    step_of,
    time_samples,
)
from gossamer.search.measured_table import STAGE, as_stored, taken_over
from gossamer.search.run import Run
from gossamer.search.sensitivity import Sensitivity, measure_sensitivities
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.reconstruction import reconstruct

SENSITIVITY_BATCHES = 4
REFITTING_IMAGES = 512
STEPS = 16  # counts that a group may keep, at most
TENSOR_BYTES = 64  # of a weight's units, bias, place in the table and operator: ResNet-20 at 80 kB has 66 on average
UNCODED_BITS = 32

Keep = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Widths:
    """How many channels each group of the original may keep, what that loses, and what the whole network then costs."""

    network: Network
    options: Mapping[str, list[int]]
    sensitivities: Mapping[str, Sensitivity]
    cost: Callable[[Mapping[str, int]], float]

    @classmethod
    def of(cls, run: Run, *, int8: bool, batches: int = SENSITIVITY_BATCHES, multiple: int = 1) -> Widths:
        """Measured once, on so many batches, and remembered by the run; `int8`: the arithmetic that is timed.

        Where nothing is timed wide groups keep multiples of `multiple`.
        """
        network = run.network
        groups = network.prunable
        may_end = {group.name for group in groups if network.can_end(group.name)}
        sensitivities = _sensitivities(run, may_end, list(islice(run.calibration_batches(), batches)))
        table = _latency_table(run, may_end, int8) if run.goal.minimise == "latency" else None
        liked = table.multiple if table else multiple
        options = {group.name: _options(group, liked, group.name in may_end) for group in groups}
        cost = (lambda counts: table.milliseconds(network, counts)) if table else network.macs_if
        return cls(network, options, sensitivities, cost)

    @classmethod
    def roughly(cls, run: Run, inputs: torch.Tensor, multiple: int) -> Widths:
        """By multiply-adds, measured on these inputs (N, C, H, W) alone; wide groups keep multiples of `multiple`."""
        groups = run.network.prunable
        may_end = {group.name for group in groups if run.network.can_end(group.name)}
        options = {group.name: _options(group, multiple, group.name in may_end) for group in groups}
        return cls(run.network, options, _sensitivities(run, may_end, [inputs]), run.network.macs_if)

    def bytes_if(self, counts: Mapping[str, int], bits_by_layer: Mapping[str, float]) -> float:
        """Bytes of the coded weights, and of what a tensor takes beside, if each named group kept so many channels.

        `bits_by_layer`: coded bits a weight, by layer, as a finished file has them; a layer that is not there is stored
        as it is, in 32. Layers that end with their branch take nothing.
        """
        weights = {name: number for name, number in self.network.weights_if(counts).items() if number}
        bits = sum(number * bits_by_layer.get(name, UNCODED_BITS) for name, number in weights.items())
        return bits / 8 + TENSOR_BYTES * len(weights)

    def in_bytes(self, bits_by_layer: Mapping[str, float]) -> Widths:
        """The same where what is to become small is the coded file: `within` then takes shares of its bytes."""
        return replace(self, cost=lambda counts: self.bytes_if(counts, bits_by_layer))

    def within(
        self, share: float, most: Mapping[str, int], bent: Callable[[str, float], float] | None = None
    ) -> dict[str, int] | None:
        """The least loss at this share of the original's cost, no group wider than `most` says; None where none is.

        `bent`: what is taken for a loss, from the group's name and the measured one.
        """
        options = {
            name: [count for count in counts if count < most.get(name, counts[-1])] + [most.get(name, counts[-1])]
            for name, counts in self.options.items()
        }

        def loss(name: str, count: int) -> float:
            measured = self.sensitivities[name].loss(count)
            return bent(name, measured) if bent else measured

        while True:
            counts = allocate(options, loss, self.cost, share * self.cost({}))
            if counts is None:
                return None
            ended = [name for name, count in counts.items() if count == 0]
            ended.sort(key=lambda name: (most.get(name) != 0, loss(name, 0)))  # those that have ended stay so
            if not (refused := set(ended) - set(self.network.ending(ended))):
                return counts
            for name in refused:
                options[name].remove(0)


def _options(group: Group, liked: int, may_end: bool) -> list[int]:
    """Counts that a group may keep, ascending, at most `STEPS` and none at all."""
    step = step_of(group, liked)
    step *= max(1, group.size // (STEPS * step))
    return [0] * may_end + list(range(step, group.size, step)) + [group.size]


def _sensitivities(run: Run, may_end: set[str], batches: Sequence[torch.Tensor]) -> dict[str, Sensitivity]:
    def compute() -> dict[str, object]:
        scores = scores_of(run.network)
        found: dict[str, object] = {}
        with run.watch.bar("what each group is worth") as step:
            distance = run.task.imitation
            for name, sensitivity in measure_sensitivities(run.network, scores, batches, distance, may_end=may_end):
                found[name] = asdict(sensitivity)
                step(len(found), len(scores), name)
        return found

    stored = run.stage("sensitivities", compute)
    return {name: Sensitivity(tuple(value["counts"]), tuple(value["losses"])) for name, value in stored.items()}


def _latency_table(run: Run, may_end: set[str], int8: bool) -> LatencyTable:
    if (board := board_of(run)) is not None:
        return board.of(int8=int8)

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
        table = taken_over(run, int8=int8)
        if table is None:
            probed = probes(run.network)
            multiple = liked_multiple(run.network, probed, timed(probed))
            counted = list(samples(run.network, may_end, multiple, run.settings.seed))
            table = fit_table(run.network, counted, timed(counted), multiple)
        return as_stored(run, table, int8=int8)

    table = LatencyTable.from_json(run.stage(STAGE, compute)["table"])
    run.note(
        f"{run.goal.runtime} likes channels in multiples of {table.multiple} here; the latency table is off by "
        f"{100 * table.error:.0f} % on networks that it was not made of (median)"
    )
    return table


def narrowed(run: Run, parent: Network, counts: Mapping[str, int]) -> tuple[Keep, Network]:
    """`choose_channels` of a run's network, its layers fitted to what they gave, and its batch norms estimated anew."""
    keep, smaller = choose_channels(run.network, parent, counts)
    if smaller.kept:
        batches = list(run.calibration_batches())
        images = images_that_fit(parent, run.task.example[:1], REFITTING_IMAGES)
        reconstruct(parent, smaller, batches[: max(1, images // len(batches[0]))])
        reestimate_batch_norms(smaller.module, batches)
    return keep, smaller


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
    weights = folded_weights(network)
    return {group.name: L1Norm().score(matrices_of(group, weights)) for group in network.prunable}


def folded_weights(network: Network) -> dict[str, torch.Tensor]:
    """The network's tensors by name, weights as they are deployed: with their batch norms folded in."""
    tensors = network.module.state_dict()
    factors = fold_factors(network.layers, tensors)
    return {name: tensor * factors[name] if name in factors else tensor for name, tensor in tensors.items()}


def matrices_of(group: Group, weights: Mapping[str, torch.Tensor]) -> GroupMatrices:
    """A group as criteria see it, from a network's tensors by name."""
    return GroupMatrices(
        group.name,
        group.size,
        rows=tuple(rows.cpu().numpy() for rows in group.rows(weights)),
        columns=tuple(columns.cpu().numpy() for columns in group.columns(weights)),
        scales=tuple(scales.cpu().numpy() for scales in group.scales(weights)),
    )
