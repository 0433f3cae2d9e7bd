# SPDX-License-Identifier: Apache-2.0
"""Evidence: what criteria and rules of published methods see of a network, gathered as far as they need it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.filters import Criterion, GroupMatrices
from gossamer.graph import Group, Network
from gossamer.graph.groups import Member
from gossamer.graph.walk import images_that_fit, walk
from gossamer.rates import Facts, Rule
from gossamer.search.first_order import loss_changes
from gossamer.search.run import Run
from gossamer.search.sensitivity import silenced
from gossamer.search.tail import Tail
from gossamer.search.widths import matrices_of

CHANGE_BATCHES = 16
BATCH = 128

Scores = dict[str, NDArray[np.floating]]


def untied(network: Network) -> list[Group]:
    """The groups that may be cut and that no sum ties to other layers, as most papers cut ResNets.

    Each is made by one layer; a depthwise convolution between that layer and what reads it makes no channels anew.
    """
    tensors = network.module.state_dict()
    return [group for group in network.prunable if len(_makers(group, tensors)) <= 1]


def _makers(group: Group, tensors: Mapping[str, Tensor]) -> list[Member]:
    """What produces the channels of others; where nothing does, whatever has rows."""
    rows = [member for member in group.members if member.role == "row"]
    return [member for member in rows if tensors[member.tensor].shape[1:2] != (1,)] or rows


def scores_by(run: Run, criterion: Criterion, network: Network, groups: Sequence[Group], images: int) -> Scores:
    """The criterion's scores (K,) of each group, on at most so many images of the selection split where it asks."""
    with run.watch.bar("scoring filters") as step:
        found: Scores = {}
        for group, matrices in _matrices(run, criterion.needs, network, groups, images):
            found[group.name] = criterion.score(matrices)
            step(len(found), len(groups), group.name)
        return found


def facts_for(rule: Rule, scores: Scores, network: Network, groups: Sequence[Group]) -> Facts:
    """What the rule needs to see: the scores, or the filters that make each group's channels, side by side.

    A depthwise convolution makes no channels: of MobileNetV2's hidden width the rule sees the expansion alone.
    """
    if rule.needs == "scores":
        return scores
    tensors = network.module.state_dict()
    return {
        group.name: np.hstack([member.matrix(tensors).numpy() for member in _makers(group, tensors)])
        for group in groups
    }


def _matrices(
    run: Run, needs: str, network: Network, groups: Sequence[Group], images: int
) -> Iterator[tuple[Group, GroupMatrices]]:
    tensors = network.module.state_dict()
    changes: Mapping[str, NDArray[np.float64]] = {}
    if needs == "changes":
        generator = torch.Generator().manual_seed(run.settings.seed)
        batches = run.task.batches(run.task.train, min(BATCH, len(run.task.train)), generator=generator)
        changes = loss_changes(network, _first(batches, CHANGE_BATCHES), run.task.loss)
    for group in groups:
        matrices = matrices_of(group, tensors)
        if needs == "changes":
            matrices = replace(matrices, changes=changes[group.name])
        if needs == "asked":
            matrices = replace(matrices, asked=asked_of(run, network, group, images))
        yield group, matrices


def asked_of(run: Run, network: Network, group: Group, images: int) -> Tail:
    """What the network answers on the first images of the selection split, without some channels of the group."""
    task = run.task
    size = min(BATCH, images_that_fit(network, task.example[:1], BATCH))
    batches = task.batches(task.selection, size)
    few = _first(batches, max(1, min(images, len(task.selection)) // size))
    network.module.eval()
    return Tail(network, group, few, task.right, len(task.classes))


def error_without(
    run: Run, network: Network, groups: Sequence[Group], images: int
) -> Callable[[Mapping[str, NDArray[np.bool_]]], float]:
    """The share of the first selection images that the network gets wrong when groups keep only some channels."""
    task, named = run.task, {group.name: group for group in groups}
    batches = list(_first(task.batches(task.selection, BATCH), max(1, min(images, len(task.selection)) // BATCH)))

    def error(keep: Mapping[str, NDArray[np.bool_]]) -> float:
        network.module.eval()
        wrong = 0
        with ExitStack() as stack, torch.no_grad():
            for name, row in keep.items():
                if not row.all():
                    stack.enter_context(silenced(network, named[name], row))
            for inputs, targets in batches:
                wrong += int((~task.right(network.module(inputs).numpy(), targets.numpy())).sum())
        return wrong / sum(len(targets) for _, targets in batches)

    return error


def _first(batches: Iterator[tuple[Tensor, Tensor]], count: int) -> Iterator[tuple[Tensor, Tensor]]:
    return (batch for _, batch in zip(range(count), batches, strict=False))


def activity(network: Network, groups: Sequence[Group], batch: Tensor) -> Scores:
    """The mean absolute activation of each channel, (K,), where layers read it; a batch of inputs (N, C, H, W).

    Of a group that no layer reads as it is (a grouped convolution's ragged weight), 1 for all.
    """
    found: dict[str, list[NDArray[np.floating]]] = {group.name: [] for group in groups}
    for stop in walk(network, [batch]):
        (x,) = stop.inputs
        slots = (x.abs().flatten(2).mean((0, 2)) if x.ndim > 2 else x.abs().mean(0)).double().numpy()
        for group in groups:
            for member in group.members:
                if member.role == "column" and member.tensor == stop.use.layer and not member.ragged:
                    found[group.name].append(slots[member.index].mean(axis=1))
    sizes = {group.name: group.size for group in groups}
    return {name: np.mean(rows, axis=0) if rows else np.ones(sizes[name]) for name, rows in found.items()}
