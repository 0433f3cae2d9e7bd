# SPDX-License-Identifier: Apache-2.0
"""Tail: the part of a network that depends on which channels of one group are there, run again and again.

What comes before is computed once for all images and kept: a group of 512 channels is asked about many thousand times
by greedy removal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from gossamer.filters import Answers
from gossamer.graph import Group, Network
from gossamer.search.sensitivity import silenced


@dataclass(frozen=True)
class Kept:
    """One batch: what the tail reads of the rest of the network, and the labels (N,)."""

    values: dict[fx.Node, Tensor | None]
    targets: Tensor


class Tail:
    """What a network answers, on the same images, with some channels of a group read as zero."""

    def __init__(
        self,
        network: Network,
        group: Group,
        batches: Iterable[tuple[Tensor, Tensor]],
        right: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.bool_]],
        classes: int,
    ) -> None:
        """`batches` of inputs (N, C, H, W) and targets (N,); `right` as a task's."""
        self._network, self._group, self._right, self._classes = network, group, right, classes
        self._module = fx.GraphModule(network.module, network.evaluation_graph)
        read = {member.tensor for member in group.members if member.role == "column"}
        self._tail: set[fx.Node] = set()
        for node in self._module.graph.nodes:
            if (node.op == "get_attr" and node.target in read) or self._tail.intersection(node.all_input_nodes):
                self._tail.add(node)
        with torch.no_grad():
            self._kept = [Kept(self._values(inputs), targets) for inputs, targets in batches]

    def _values(self, inputs: Tensor) -> dict[fx.Node, Tensor | None]:
        """What the tail reads of what comes before it; None for the rest, which need not be computed again."""
        interpreter = fx.Interpreter(self._module)
        interpreter.garbage_collect_values = False
        interpreter.run(inputs)
        needed = {before for node in self._tail for before in node.all_input_nodes} - self._tail
        return {
            node: value if node in needed else None
            for node, value in interpreter.env.items()
            if node not in self._tail and node.op != "output"
        }

    def __call__(self, keep: NDArray[np.bool_]) -> Answers:
        """With the channels that `keep`, bool (K,), leaves; the network is put back afterwards."""
        losses, right, labels = [], [], []
        with torch.no_grad(), silenced(self._network, self._group, keep):
            for kept in self._kept:
                interpreter = fx.Interpreter(self._module)
                (outputs,) = torch.utils._pytree.tree_leaves(interpreter.run(initial_env=dict(kept.values)))
                losses.append(torch.nn.functional.cross_entropy(outputs, kept.targets, reduction="none"))
                right.append(self._right(outputs.numpy(), kept.targets.numpy()))
                labels.append(kept.targets.numpy())
        good, of = np.concatenate(right), np.concatenate(labels)
        count = np.bincount(of, minlength=self._classes)
        hits = np.bincount(of, good, minlength=self._classes)
        by_class = np.divide(hits, count, out=np.full(self._classes, np.nan), where=count > 0)
        return Answers(float(good.mean()), float(torch.cat(losses).mean()), by_class)
