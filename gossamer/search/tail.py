# SPDX-License-Identifier: Apache-2.0
"""Tail: the part of a network that depends on which channels of one group are there, run again and again.

What comes before is computed once for all images and kept: a group of 512 channels is asked about many thousand times
by greedy removal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from gossamer.filters import Answers
from gossamer.graph import Group, Network
from gossamer.graph.walk import MOST_BYTES
from gossamer.kinds import Quality
from gossamer.search.sensitivity import silenced


@dataclass(frozen=True)
class Kept:
    """One batch: what the tail reads of the rest of the network, and the labels (N,)."""

    values: dict[fx.Node, Any]
    targets: Tensor


class Tail:
    """What a network answers, on the same images, with some channels of a group read as zero."""

    def __init__(
        self,
        network: Network,
        group: Group,
        batches: Iterable[tuple[Tensor, Tensor]],
        loss: Callable[[Tensor, Tensor], Tensor],
        quality: Callable[[NDArray[np.float32], NDArray[np.int64]], Quality],
        classes: int,
        most_bytes: float = MOST_BYTES,
        when_asked: Callable[[], None] = lambda: None,
    ) -> None:
        """`batches` of inputs (N, C, H, W) and targets (N,); `loss` and `quality` as a task's.

        Of what comes before the tail no more than `most_bytes` are kept: batches that do not fit are left out, the
        first is always there. `when_asked` is called at each question.
        """
        self._network, self._group, self._classes = network, group, classes
        self._loss, self._quality, self._when_asked = loss, quality, when_asked
        self._module = fx.GraphModule(network.module, network.evaluation_graph)
        read = {member.tensor for member in group.members if member.role == "column"}
        self._tail: dict[fx.Node, None] = {}  # in forward order
        for node in self._module.graph.nodes:
            if (node.op == "get_attr" and node.target in read) or any(
                before in self._tail for before in node.all_input_nodes
            ):
                self._tail[node] = None
        self._needed = {before for node in self._tail for before in node.all_input_nodes} - self._tail.keys()
        self._mutates = any(
            isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable for node in self._tail
        )
        self._kept: list[Kept] = []
        kept_bytes = 0
        with torch.no_grad():
            for inputs, targets in batches:
                kept = Kept(self._before(inputs), targets)
                kept_bytes += sum(value.nbytes for value in kept.values.values() if isinstance(value, Tensor))
                if self._kept and kept_bytes > most_bytes:
                    break
                self._kept.append(kept)

    @property
    def images(self) -> int:
        """How many images are asked about."""
        return sum(len(kept.targets) for kept in self._kept)

    def _before(self, inputs: Tensor) -> dict[fx.Node, Any]:
        """What the tail reads of what comes before it; the tail itself is not run."""
        interpreter = fx.Interpreter(self._module, garbage_collect_values=False)
        interpreter.args_iter = iter((inputs,))
        waiting = {node: sum(user not in self._tail for user in node.users) for node in self._module.graph.nodes}
        for node in self._module.graph.nodes:
            if node in self._tail or node.op == "output":
                continue
            interpreter.env[node] = interpreter.run_node(node)
            for used in node.all_input_nodes:
                waiting[used] -= 1
                if not waiting[used] and used not in self._needed:
                    del interpreter.env[used]
        return {node: interpreter.env[node] for node in self._needed if node.op != "get_attr"}

    def __call__(self, keep: NDArray[np.bool_]) -> Answers:
        """With the channels that `keep`, bool (K,), leaves; the network is put back afterwards."""
        self._when_asked()
        losses, qualities, labels = [], [], [np.zeros(0, np.int64)]
        with torch.no_grad(), silenced(self._network, self._group, keep):
            for kept in self._kept:
                outputs = self._outputs(kept)
                losses.append(float(self._loss(outputs, kept.targets)) * len(outputs))
                qualities.append(self._quality(outputs.numpy(), kept.targets.numpy()))
                if kept.targets.ndim == 1:  # images have classes, not pixels or objects
                    labels.append(kept.targets.numpy())
        good, of = np.concatenate(qualities), np.concatenate(labels)
        by_class = np.full(self._classes, np.nan)
        if len(of):
            count = np.bincount(of, minlength=self._classes)
            hits = np.bincount(of, good, minlength=self._classes)
            np.divide(hits, count, out=by_class, where=count > 0)
        return Answers(float(good.mean()), sum(losses) / len(good), by_class)

    def _outputs(self, kept: Kept) -> Tensor:
        interpreter = fx.Interpreter(self._module, garbage_collect_values=False)
        for node, value in kept.values.items():  # an operator in place would change what the next question reads
            interpreter.env[node] = value.clone() if self._mutates and isinstance(value, Tensor) else value
        for node in self._needed:
            if node.op == "get_attr":
                interpreter.env[node] = interpreter.run_node(node)
        for node in self._tail:
            interpreter.env[node] = interpreter.run_node(node)
        (outputs,) = pytree.tree_leaves(interpreter.env[next(reversed(self._tail))])
        found: Tensor = outputs
        return found
