# SPDX-License-Identifier: Apache-2.0
"""Running the evaluation form node by node: all batches stop together in front of every layer.

Where they stop, weights may be changed: the layer is computed with what it holds when the walk goes on. So a method
that treats one layer after the other, each on what the layers before it now give, passes through the network once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from gossamer.graph.as_matrix import MatrixForm
from gossamer.graph.calls import bind, operator_name
from gossamer.graph.cost import KINDS

if TYPE_CHECKING:
    from gossamer.graph.network import Network

MOST_BYTES = 6 * 2**30  # of values held while two networks stand in front of a layer

_Values = dict[fx.Node, Any]


@dataclass(frozen=True)
class Use:
    """A layer where it is used: names of its weight and bias, and the matrices it is."""

    layer: str
    bias: str | None
    form: MatrixForm


@dataclass(frozen=True)
class Stop:
    """The walk in front of a layer, and what enters it: one tensor (N, ...) for each batch.

    `held`: numbers held for all batches meanwhile.
    """

    use: Use
    inputs: Sequence[Tensor]
    held: int


def walk(network: Network, batches: Sequence[Tensor]) -> Iterator[Stop]:
    """Run batches of inputs (N, C, H, W) through the evaluation form, stopping in front of every use of a layer.

    Layers whose weight the network computes from its parameters are run, not stopped at. No gradients.
    """
    run = _Run(network)
    values: list[_Values] = [{run.input: batch} for batch in batches]
    waiting: list[fx.Node] = []
    for node in run.nodes:
        if use := run.use(node):
            with torch.no_grad():
                for batch in values:
                    run.compute(waiting, batch)
            waiting = []
            held = sum(value.numel() for batch in values for value in batch.values() if isinstance(value, Tensor))
            yield Stop(use, [batch[node.args[0]] for batch in values], held)
        waiting.append(node)


def images_that_fit(network: Network, example: Tensor, wanted: int) -> int:
    """How many of `wanted` images can stand in front of the layers of two such networks at once; at least one.

    `example`: one of them, (1, C, H, W).
    """
    held = max((stop.held for stop in walk(network, [example])), default=1)
    return min(wanted, max(1, int(MOST_BYTES // (2 * 4 * held))))


def with_taps(network: Network, inputs: Tensor, tap: Callable[[Use, Tensor], Tensor]) -> Tensor:
    """The network's (first) output; the output of each layer is replaced by what `tap` makes of it."""
    run = _Run(network)
    values: _Values = {run.input: inputs}
    for node in run.nodes:
        use = run.use(node)
        run.compute([node], values)
        if use:
            values[node] = tap(use, values[node])
    result: Tensor = run.output(values)
    return result


class _Run:
    """The evaluation graph, its tensors fetched as late as possible and its values dropped as early."""

    def __init__(self, network: Network) -> None:
        graph, self._module = network.evaluation_graph, network.module
        placeholders = graph.find_nodes(op="placeholder")
        if len(placeholders) != 1:
            raise ValueError(f"expected a network with one input tensor, got one with {len(placeholders)}")
        self.input: fx.Node = placeholders[0]
        self._out: fx.Node = graph.output_node()
        self.nodes = [node for node in graph.nodes if node.op == "call_function"]
        last: dict[fx.Node, fx.Node] = {}
        for node in self.nodes:
            last |= dict.fromkeys(node.all_input_nodes, node)
        last |= dict.fromkeys(self._out.all_input_nodes, self._out)
        self._done: dict[fx.Node, list[fx.Node]] = {}
        for value, node in last.items():
            self._done.setdefault(node, []).append(value)

    def use(self, node: fx.Node) -> Use | None:
        """What a node is as a layer; None where it is none, or its weight is no tensor of the network."""
        kind = KINDS.get(operator_name(node)) if isinstance(node.target, torch._ops.OpOverload) else None
        if kind is None:
            return None
        arguments = bind(node, lambda given: given)
        weight, bias = arguments["weight"], arguments["bias"]
        if weight.op != "get_attr":
            return None
        shape = self._fetch(weight).shape
        return Use(
            str(weight.target),
            str(bias.target) if bias is not None and bias.op == "get_attr" else None,
            MatrixForm.of(kind, shape, arguments),
        )

    def compute(self, nodes: Sequence[fx.Node], values: _Values) -> None:
        """Compute nodes in order from `values`, and into them."""

        def value(node: fx.Node) -> Any:
            return self._fetch(node) if node.op == "get_attr" else values[node]

        for node in nodes:
            args, kwargs = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
            values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
            for used in self._done.get(node, ()):
                values.pop(used, None)

    def output(self, values: _Values) -> Any:
        """The first output."""
        return next(values[node] for node in self._out.all_input_nodes)

    def _fetch(self, node: fx.Node) -> Any:
        owner: Any = self._module
        for part in str(node.target).split("."):
            owner = getattr(owner, part)
        return owner
