# SPDX-License-Identifier: Apache-2.0
"""Evidence: what criteria and rules of published methods see of a network, gathered as far as they need it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.filters import Criterion
from gossamer.graph import Group, Layer, Network
from gossamer.graph.groups import Member
from gossamer.graph.walk import images_that_fit, walk
from gossamer.rates import Facts, Rule
from gossamer.search.first_order import loss_changes
from gossamer.search.run import EVALUATIONS, Run
from gossamer.search.sensitivity import silenced
from gossamer.search.tail import Tail
from gossamer.search.widths import matrices_of

CHANGE_BATCHES = 16
BATCH = 128

Scores = dict[str, NDArray[np.floating]]


def untied(network: Network) -> list[Group]:
    """The groups that may be cut and that no sum ties to other layers, as most papers cut ResNets.

    Each is made by one layer; a depthwise convolution between that layer and what reads it makes no channels anew, nor
    does a layer of fewer positions, which gates them (squeeze and excitation).
    """
    layers = {layer.name: layer for layer in network.layers}
    return [group for group in network.prunable if len(_makers(group, layers)) <= 1]


def _makers(group: Group, layers: Mapping[str, Layer]) -> list[Member]:
    """What makes the channels of others; where no layer does, whatever has rows."""
    rows = [member for member in group.members if member.role == "row"]
    made = {
        id(member): layer.macs / math.prod(layer.shape)  # positions that it is computed at
        for member in rows
        if (layer := layers.get(member.tensor)) and not layer.depthwise
    }
    return [member for member in rows if made.get(id(member)) == max(made.values())] if made else rows


def scores_by(
    run: Run, criterion: Criterion, network: Network, groups: Sequence[Group], images: int, stage: str = ""
) -> Scores:
    """The criterion's scores (K,) of each group, on at most so many images of the selection split where it asks.

    Those of criteria that ask are remembered by the run, under `stage` and the group's name. OutOfTime where they do
    not fit into the goal's hours.
    """
    needs, tensors = criterion.needs, network.module.state_dict()
    changes: Mapping[str, NDArray[np.float64]] = {}
    if "changes" in needs:
        generator = torch.Generator().manual_seed(run.settings.seed)
        size = min(run.settings.batch_size, len(run.task.train), _images_that_fit(run, network))
        batches = run.task.batches(run.task.train, size, generator=generator)
        changes = loss_changes(network, _first(batches, CHANGE_BATCHES), run.task.loss)

    def of(group: Group) -> NDArray[np.floating]:
        matrices = matrices_of(group, tensors)
        if "changes" in needs:
            matrices = replace(matrices, changes=changes[group.name])
        if "asked" in needs:
            matrices = replace(matrices, asked=asked_of(run, network, group, images))
        return criterion.score(matrices)

    def listed(group: Group) -> list[float]:
        return [float(score) for score in of(group)]

    found: Scores = {}
    with run.watch.bar("scoring filters") as step:
        for group in groups:
            if "asked" not in needs:
                found[group.name] = of(group)
            else:
                if not run.has_time_for(0):
                    raise OutOfTime
                found[group.name] = np.array(run.stage(f"{stage} scores of {group.name}", partial(listed, group)))
            step(len(found), len(groups), group.name)
    return found


class OutOfTime(Exception):
    """The goal's hours are over before all filters are scored."""


def facts_for(rule: Rule, scores: Scores, network: Network, groups: Sequence[Group]) -> Facts:
    """What the rule needs to see: the scores, or the filters that make each group's channels, side by side.

    A depthwise convolution makes no channels: of MobileNetV2's hidden width the rule sees the expansion alone.
    """
    if rule.needs == "scores":
        return scores
    tensors, layers = network.module.state_dict(), {layer.name: layer for layer in network.layers}
    return {
        group.name: np.hstack([member.matrix(tensors).numpy() for member in _makers(group, layers)]) for group in groups
    }


def asked_of(run: Run, network: Network, group: Group, images: int) -> Tail:
    """What the network answers on the first images of the selection split, without some channels of the group."""
    task = run.task
    size = min(BATCH, images, len(task.selection), _images_that_fit(run, network))
    batches = _first(task.batches(task.selection, size), min(images, len(task.selection)) // size)
    network.module.eval()
    asked = partial(run.count, EVALUATIONS)
    tail = Tail(network, group, batches, task.loss, task.quality, len(task.classes), when_asked=asked)
    if tail.images < size * (min(images, len(task.selection)) // size):
        run.note(f"'{group.name}' is asked about on {tail.images} images: more do not fit into memory")
    return tail


def error_without(
    run: Run, network: Network, groups: Sequence[Group], images: int
) -> Callable[[Mapping[str, NDArray[np.bool_]]], float]:
    """What the network lacks in quality on the first selection images when groups keep only some channels."""
    task, named = run.task, {group.name: group for group in groups}
    size = min(BATCH, images, len(task.selection), _images_that_fit(run, network))
    count = min(images, len(task.selection)) // size

    def error(keep: Mapping[str, NDArray[np.bool_]]) -> float:
        network.module.eval()
        run.count(EVALUATIONS)
        lacking, asked = 0.0, 0
        with ExitStack() as stack, torch.no_grad():
            for name, row in keep.items():
                if not row.all():
                    stack.enter_context(silenced(network, named[name], row))
            for inputs, targets in _first(task.batches(task.selection, size), count):
                lacking += float((1 - task.quality(network.module(inputs).numpy(), targets.numpy())).sum())
                asked += len(targets)
        return lacking / asked

    return error


def _images_that_fit(run: Run, network: Network) -> int:
    return images_that_fit(network, run.task.example[:1], BATCH)


def _first(batches: Iterator[tuple[Tensor, Tensor]], count: int) -> Iterator[tuple[Tensor, Tensor]]:
    return (batch for _, batch in zip(range(count), batches, strict=False))


def activity(network: Network, groups: Sequence[Group], batch: Tensor) -> Scores:
    """The mean absolute activation of each channel, (K,), where layers read it; a batch of inputs (N, C, H, W).

    Of a group that no layer reads as it is (a grouped convolution's ragged weight), 1 for all.
    """
    found: dict[str, list[NDArray[np.floating]]] = {group.name: [] for group in groups}
    kinds = {layer.name: layer.kind for layer in network.layers}
    for stop in walk(network, [batch]):
        (x,) = stop.inputs
        across = range(x.ndim - 1) if kinds[stop.use.layer] == "linear" else (0, *range(2, x.ndim))
        slots = x.abs().mean(tuple(across)).double().numpy()
        for group in groups:
            for member in group.members:
                if member.role == "column" and member.tensor == stop.use.layer and not member.ragged:
                    found[group.name].append(slots[member.index].mean(axis=1))
    sizes = {group.name: group.size for group in groups}
    return {name: np.mean(rows, axis=0) if rows else np.ones(sizes[name]) for name, rows in found.items()}
