# SPDX-License-Identifier: Apache-2.0
"""Where a group keeps no channel, a branch ends: what read it computes a constant, and a tensor takes its place.

A convolution over no channels gives its bias, whatever the image; a batch norm of a constant gives its shift, since a
batch of equal values has no spread; and so on until a live value meets the constant: a residual sum, a concatenation.
There the cut network holds the constant as a parameter, which trains like a bias, and all that computed it is gone;
and so is whatever was computed for nothing else, as what an up-convolution read in a U-Net whose decoder ends there.

Batch norms compute as in training, in both forms: their shift is the mean of the branch over the data, the best
constant there is in its place. In evaluation that equals the silenced original once its batch norms are re-estimated.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from gossamer.graph.calls import RANDOM_FLAGS, Call, bind, operator_name, tensors_of
from gossamer.graph.cost import KINDS
from gossamer.graph.export import Form
from gossamer.graph.labels import Labelled

Fetch = Callable[[str], Tensor]
_BROADCASTING = ("add", "sub", "mul")


@dataclass
class Emptied:
    """One form of a network in which nodes have no channels left.

    `constants`: nodes that live ones read, and their values at batch 1. `gone`: nodes that nobody needs, in order.
    `statistics`: means and variances of what batch norms normalised, by the names of their running statistics.
    """

    constants: dict[fx.Node, Tensor] = field(default_factory=dict)
    gone: list[fx.Node] = field(default_factory=list)
    statistics: dict[str, Tensor] = field(default_factory=dict)


def find_emptied(form: Form, calls: Sequence[Call], shape: Callable[[Any], tuple[int, ...]], fetch: Fetch) -> Emptied:
    """What is constant in a form when results have `shape`; `fetch` gives the cut network's tensors.

    Raises ValueError where an operator can do nothing with a tensor of no channels.
    """
    found = Emptied()
    by_node = {call.node: call for call in calls}
    void: set[fx.Node] = set()
    values: dict[fx.Node, Tensor] = {}
    for node in form.graph.nodes:
        if node.op != "call_function":
            continue
        reads = [argument for argument in node.all_input_nodes if argument.op != "get_attr"]
        call, made = by_node.get(node), _made(node, by_node)
        if made and all(0 in shape(part) for part in made):
            void.add(node)
        elif any(read in void for read in reads):
            if call is not None and call.name in KINDS:
                values[node] = _bias(call, shape(call.result), fetch)
            elif call is None or call.name != "cat" or void.issuperset(reads) or values.keys() & set(reads):
                raise ValueError(f"expected at least one channel {_where(node, call)}, got none: keep one there")
        elif reads and all(read in values for read in reads):
            values[node] = _computed(node, call, values, fetch, found.statistics)
        elif any(read in values for read in reads) and (call is None or call.name not in _BROADCASTING):
            raise ValueError(f"expected a value that depends on the image {_where(node, call)}: keep a channel there")
    found.gone = [node for node in form.graph.nodes if node in void or node in values]
    dead = set(found.gone)
    found.constants = {n: _narrow(value) for n, value in values.items() if any(user not in dead for user in n.users)}
    if any(user.op == "output" for node in found.gone for user in node.users):
        raise ValueError("expected an output that depends on the image, got a constant: keep a channel before it")
    return found


def _made(node: fx.Node, by_node: Mapping[fx.Node, Call]) -> list[Labelled]:
    """The tensors that a node makes, or, of one that takes a part of several, that part."""
    if node.target is operator.getitem:
        whole = next((call for call in map(by_node.get, node.all_input_nodes) if call is not None), None)
        return [] if whole is None else [whole.result[node.args[1]]]
    return tensors_of(by_node[node]) if node in by_node else []


def without(graph: fx.Graph, found: Emptied, copies: Mapping[fx.Node, fx.Node], names: Sequence[str]) -> None:
    """Take what is gone out of the copy of a form; its constants are read under `names`, in their order."""
    dead = {copies[node] for node in found.gone}
    read = [node for node in graph.nodes if node.users]
    for node, name in zip(found.constants, names, strict=True):
        copied = copies[node]
        users = [user for user in copied.users if user not in dead]
        with graph.inserting_before(copied):
            constant = graph.get_attr(name)
        for user in users:
            user.replace_input_with(copied, constant)
            if user.target._schema.is_mutable:  # type: ignore[union-attr]
                user.target = getattr(torch.ops.aten, operator_name(user)).Tensor  # a constant is not written into
    for node in graph.nodes:
        if node.op == "call_function" and operator_name_or_none(node) == "cat":
            node.update_arg(0, [part for part in node.args[0] if part not in dead])
    for node in reversed([copies[node] for node in found.gone]):
        graph.erase_node(node)
    for node in reversed(read):
        if node.op == "call_function" and not node.users and node not in dead:
            graph.erase_node(node)
    gone = {_owner(node) for node in _drop_unread(graph)}
    for node in list(graph.find_nodes(op="get_attr")):
        if _owner(node) in gone and all(_counts(user) for user in node.users):
            for user in list(node.users):
                graph.erase_node(user)
    _drop_unread(graph)


def operator_name_or_none(node: fx.Node) -> str | None:
    """The operator's name, None for arithmetic on sizes."""
    return operator_name(node) if isinstance(node.target, torch._ops.OpOverload) else None


def _bias(call: Call, shape: tuple[int, ...], fetch: Fetch) -> Tensor:
    """What a layer gives for no channels at all: its bias, everywhere."""
    weight, bias = (call.written[name] for name in ("weight", "bias"))
    if any(isinstance(part, fx.Node) and part.op != "get_attr" for part in (weight, bias)):
        raise ValueError(f"expected a weight that is a parameter {call.where}, as its channels are all to go")
    values = fetch(str(weight.target)).new_zeros((1, *shape[1:]))
    if bias is None:
        return values
    channels = fetch(str(bias.target)).detach()
    return values + (channels if call.name == "linear" else channels.reshape(-1, *[1] * (len(shape) - 2)))


def _computed(
    node: fx.Node, call: Call | None, values: Mapping[fx.Node, Tensor], fetch: Fetch, statistics: dict[str, Tensor]
) -> Tensor:
    """What a node computes from constants."""
    if call is None or call.name == "sym_size":
        raise ValueError(
            f"expected a size that does not come from a constant {_where(node, call)}: keep a channel there"
        )

    def value(read: fx.Node) -> Tensor:
        return fetch(str(read.target)).detach() if read.op == "get_attr" else values[read]

    arguments = bind(node, lambda given: fx.map_arg(given, value))
    if call.name in RANDOM_FLAGS:
        arguments[RANDOM_FLAGS[call.name]] = False
    if call.name == "batch_norm":
        x = arguments["input"]
        dims = [dim for dim in range(x.dim()) if dim != 1]
        for name, statistic in (("running_mean", x.mean(dims)), ("running_var", x.var(dims, correction=0))):
            if isinstance(call.written[name], fx.Node):
                statistics[str(call.written[name].target)] = statistic
        pair = torch.cat([x, x])  # a batch of one value has no variance
        arguments |= {
            "input": pair,
            "training": True,
            "running_mean": None,
            "running_var": None,
            "cudnn_enabled": False,
        }
    with torch.no_grad():
        result = node.target(**arguments)  # type: ignore[operator]
    if not isinstance(result, Tensor):
        raise ValueError(f"expected an operator with one result {call.where}, as what it reads is to go, got several")
    return result[:1]


def _narrow(value: Tensor) -> Tensor:
    """A parameter of one value per channel where the constant is the same in every place."""
    if value.dim() > 2:
        first = value.flatten(2)[..., :1].reshape(*value.shape[:2], *[1] * (value.dim() - 2))
        if torch.equal(first.expand_as(value), value):
            value = first
    return nn.Parameter(value.detach().clone())


def _where(node: fx.Node, call: Call | None) -> str:
    return f"at {call.where if call is not None else node.meta.get('where', node.name)}"


def unread(before: Mapping[bool, Form], after: Mapping[bool, Form]) -> set[str]:
    """The names of tensors that forms read before, and no form reads after."""
    read = [
        {str(node.target) for form in forms.values() for node in form.graph.find_nodes(op="get_attr")}
        for forms in (before, after)
    ]
    return read[0] - read[1]


def _drop_unread(graph: fx.Graph) -> list[fx.Node]:
    """Take out the tensors that no node reads; returns them."""
    found = [node for node in graph.find_nodes(op="get_attr") if not node.users]
    for node in found:
        graph.erase_node(node)
    return found


def _owner(node: fx.Node) -> str:
    """The module of a tensor."""
    return str(node.target).rpartition(".")[0]


def _counts(node: fx.Node) -> bool:
    """Whether a node only counts the batches that a norm has seen: nothing reads it."""
    return operator_name_or_none(node) == "add" and not node.users
