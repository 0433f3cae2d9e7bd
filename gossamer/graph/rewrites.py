# SPDX-License-Identifier: Apache-2.0
"""Rewrites: the same network, written so that more of it can be cut, or so that a cut only changes sizes.

    view(...)                        reshape(...): does not fail under channels_last
    chunk(x, n), split(x, n)         split with the sizes written out
    x[:, ::2], x[:, index]           index_select with the positions written out
    einsum of two tensors            permutes and a matmul (rewrites_product.py)
    channel shuffles                 index_select: any channel can go, where a reshape couples one of each half
    weights standardised in forward  the standardised weights themselves: no mean runs over what a cut removes
    norms over channels              sums over channels, divided by the original number of them (on request)

All keep what the network computes; the last two keep it up to rounding. They run on the graphs as exported, where
`node.meta["val"]` still has shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from gossamer.graph.rewrites_product import einsum_as_matmul

aten = torch.ops.aten

_LAYOUTS = {
    aten.reshape.default,
    aten.transpose.int,
    aten.permute.default,
    aten.swapaxes.default,
    aten.contiguous.default,
    aten.clone.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
}
_UNREAD = {*_LAYOUTS, aten.select.int, aten.slice.Tensor}
"""Erased where nothing reads it: ends of rewritten chains, and traces of questions such as weight[0].numel()."""
_MOVES = {aten.transpose.int, aten.permute.default, aten.swapaxes.default}
_AVERAGES = {
    "aten::batch_norm",
    "aten::layer_norm",
    "aten::mean",
    "aten::var",
    "aten::std",
    "aten::var_mean",
    "aten::std_mean",
}


def rewrite(graph: fx.Graph, prefix: str, constants: dict[str, Tensor], zeros: bool) -> None:
    """Apply all rewrites that need one graph alone, in place; new constants are named `prefix`. ..."""

    def constant(node: fx.Node, value: Tensor) -> fx.Node:
        name = f"{prefix}.{node.name}_index"
        constants[name] = value
        with node.graph.inserting_before(node):
            return node.graph.get_attr(name)

    for node in list(graph.nodes):
        _with_sizes_written_out(node)
        einsum_as_matmul(node)
        for select in (_stride, _listed, _shuffle):
            if (found := select(node)) is not None:
                x, dim, index = found
                index = constant(node, index) if isinstance(index, Tensor) else index
                node.target, node.args, node.kwargs = aten.index_select.default, (x, dim, index), {}
        if zeros:
            _as_if_zero(node)
    for node in reversed(list(graph.nodes)):
        if node.target in _UNREAD and not node.users:
            graph.erase_node(node)


def _with_sizes_written_out(node: fx.Node) -> None:
    if node.target in (aten.view.default, aten._unsafe_view.default):
        node.target = aten.reshape.default
    elif node.target in (aten.chunk.default, aten.split.Tensor, aten.tensor_split.sections):
        dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
        sizes = [part.shape[dim] for part in node.meta["val"]]
        if all(isinstance(size, int) for size in sizes):
            node.target = aten.split_with_sizes.default
            node.args, node.kwargs = (node.args[0], sizes, dim), {}


# --- positions written out


def _stride(node: fx.Node) -> tuple[Any, int, Tensor] | None:
    """A stride along channels, x[:, ::2]."""
    if node.target is not aten.slice.Tensor:
        return None
    arguments: list[Any] = [*node.args, *(0, None, None, 1)[len(node.args) - 1 :]]
    x, dim, start, end, step = arguments
    if step == 1 or dim != 1:
        return None
    value = x.meta["val"]
    return x, dim, torch.arange(*slice(start, end, step).indices(value.shape[1]), device=value.device)


def _listed(node: fx.Node) -> tuple[Any, int, fx.Node] | None:
    """One list of positions that the network owns, x[:, self.order]."""
    if node.target is not aten.index.Tensor:
        return None
    x, indices = cast("tuple[Any, Sequence[fx.Node | None]]", node.args)
    given = [(dim, index) for dim, index in enumerate(indices) if index is not None]
    if len(given) != 1 or given[0][1].op != "get_attr":
        return None
    value = given[0][1].meta["val"]
    return (x, *given[0]) if value.dtype == torch.int64 and value.dim() == 1 else None


def _shuffle(node: fx.Node) -> tuple[Any, int, Tensor] | None:
    """The end of reshapes and transposes that permute channels and nothing else."""
    if node.target is aten.channel_shuffle.default:
        (x, groups), value = cast("tuple[Any, int]", node.args), node.meta["val"]
        return x, 1, torch.arange(value.shape[1], device=value.device).reshape(groups, -1).t().reshape(-1)
    chain = _layout_chain(node)
    if len(chain) < 3 or not any(link.target in _MOVES for link in chain):
        return None
    x, value = chain[0].args[0], node.meta["val"]
    shape = [_hint(size) for size in value.shape]
    if [_hint(size) for size in x.meta["val"].shape] != shape or len(shape) < 2:  # type: ignore[union-attr]
        return None
    channels = torch.arange(shape[1])
    values: dict[Any, Any] = {x: channels.reshape(-1, *[1] * (len(shape) - 2)).expand(shape)}
    for link in chain:
        values[link] = link.target(*fx.map_arg(link.args, lambda n: values[n] if n in values else _hint(n.meta["val"])))  # type: ignore[operator]
    order = values[node].movedim(1, 0).reshape(len(channels), -1)[:, 0]
    moved = order.reshape(-1, *[1] * (len(shape) - 2)).expand(shape)
    is_permutation = bool((order.sort().values == channels).all()) and bool((values[node] == moved).all())
    if not is_permutation or bool((order == channels).all()):
        return None
    return x, 1, order.to(value.device)


def _layout_chain(node: fx.Node) -> list[fx.Node]:
    """The layout operators that end in a reshape, each read by the next alone; first to last."""
    chain: list[fx.Node] = []
    while node.target in _LAYOUTS and (not chain or len(node.users) == 1):
        chain.insert(0, node)
        node = cast("fx.Node", node.args[0])
    while chain and chain[0].target in _MOVES:  # what a shuffle begins with is a reshape
        chain.pop(0)
    return chain if chain and chain[-1].target not in _MOVES else []


def _hint(size: Any) -> int:
    """A size as it is in the example."""
    return int(cast("Any", size.node).hint) if isinstance(size, torch.SymInt) else int(size)


# --- norms over channels, as if removed channels were there and zero


def _as_if_zero(node: fx.Node) -> None:
    """Write an average over channels as a sum divided by the original number: removed channels count as zeros."""
    if node.target is aten.mean.dim:
        _as_sum(node)
    elif node.target is aten.layer_norm.default:
        x, shape, weight, bias, eps = _given(node, None, None, 1e-5)
        _normalised(node, x, list(range(-len(shape), 0)), [(weight, None), (bias, None)], eps)
    elif node.target is aten.group_norm.default and node.args[1] == 1:
        x, _, weight, bias, eps = _given(node, None, None, 1e-5)
        rank = x.meta["val"].dim()
        affine = [(part, [-1] + [1] * (rank - 2)) for part in (weight, bias)]
        _normalised(node, x, list(range(1, rank)), affine, eps)


def _given(node: fx.Node, *defaults: Any) -> list[Any]:
    """The first five arguments of a norm, those left out by their defaults."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    given = [*node.args, *defaults[len(node.args) - 2 :]]
    return [node.kwargs.get(name, value) for name, value in zip(names[:5], given, strict=False)]


def _as_sum(node: fx.Node) -> None:
    x, dims, *rest = node.args
    value = x.meta["val"]  # type: ignore[union-attr]
    over = [dim % value.dim() for dim in ([dims] if isinstance(dims, int) else cast("Sequence[int]", dims or []))]
    if over not in ([1], [value.dim() - 1]) or not isinstance(value.shape[over[0]], int):
        return  # an average over an image
    with node.graph.inserting_before(node):
        total = node.graph.call_function(aten.sum.dim_IntList, (x, over, *rest), dict(node.kwargs))
    total.meta = dict(node.meta)
    node.target, node.args, node.kwargs = aten.mul.Tensor, (total, 1 / value.shape[over[0]]), {}


def _normalised(
    node: fx.Node, x: fx.Node, dims: list[int], affine: Sequence[tuple[fx.Node | None, list[int] | None]], eps: float
) -> None:
    """(x - m) / sqrt(E[x^2] - m^2 + eps) weight + bias, with means that are sums over `dims` times 1 / number."""
    value, graph = x.meta["val"], node.graph
    if not all(isinstance(value.shape[dim], int) for dim in dims):
        return
    count = 1
    for dim in dims:
        count *= value.shape[dim]

    def add(target: Any, *arguments: Any, **options: Any) -> fx.Node:
        made = graph.call_function(target, arguments, options)
        made.meta = dict(node.meta)
        return made

    with graph.inserting_before(node):
        mean = add(aten.mul.Tensor, add(aten.sum.dim_IntList, x, dims, True), 1 / count)
        square = add(aten.mul.Tensor, add(aten.sum.dim_IntList, add(aten.mul.Tensor, x, x), dims, True), 1 / count)
        variance = add(aten.clamp_min.default, add(aten.sub.Tensor, square, add(aten.mul.Tensor, mean, mean)), 0.0)
        result = add(
            aten.mul.Tensor, add(aten.sub.Tensor, x, mean), add(aten.rsqrt.default, add(aten.add.Tensor, variance, eps))
        )
        for (part, shape), target in zip(affine, (aten.mul.Tensor, aten.add.Tensor), strict=True):
            if part is not None:
                result = add(target, result, part if shape is None else add(aten.reshape.default, part, shape))
    node.replace_all_uses_with(result)
    graph.erase_node(node)


# --- weights that are standardised in forward


def fold_weights(graphs: Sequence[fx.Graph], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], frozenset[str]]:
    """Replace weights that every graph computes from parameters alone, with an average among the operators.

    Returns the values of these weights under the names of the parameters, and the names of parameters (gains, say)
    that are in the values now and nowhere else. What is used elsewhere too is left alone.
    """
    found: dict[str, list[tuple[fx.Node, Tensor]]] = {}
    for graph in graphs:
        for name, node in _standardised(graph, tensors):
            found.setdefault(name, []).append((node, _computed(node, tensors)))
    folded, absorbed = {}, set()
    for name, places in found.items():
        values = [value for _, value in places]
        everywhere = len({node.graph for node, _ in places}) == len(graphs) == len(places)
        same = all(v.shape == tensors[name].shape and torch.allclose(v, values[0], atol=1e-6) for v in values)
        if not (everywhere and same):
            continue
        folded[name] = values[0]
        for node, _ in places:
            unused = [*_ancestors(node), node]
            absorbed |= {str(link.target) for link in unused if link.op == "get_attr"} - {name}
            with node.graph.inserting_before(node):
                node.replace_all_uses_with(node.graph.get_attr(name))
            for dead in reversed(unused):
                if not dead.users:
                    dead.graph.erase_node(dead)
    used = {node.target for graph in graphs for node in graph.find_nodes(op="get_attr")}
    return folded, frozenset(absorbed - used)


def _standardised(graph: fx.Graph, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, fx.Node]]:
    """Nodes computed from parameters alone with an average among the operators, with the largest parameter's name."""
    static: set[fx.Node] = set()
    for node in graph.nodes:
        is_parameter = node.op == "get_attr" and isinstance(tensors.get(node.target), torch.nn.Parameter)
        is_computed = node.op == "call_function" and bool(node.all_input_nodes) and static >= set(node.all_input_nodes)
        if is_parameter or is_computed:
            static.add(node)
    for node in static:
        if node.op == "get_attr" or static >= set(node.users):
            continue
        before = _ancestors(node)
        if not any(_schema_name(link) in _AVERAGES for link in [*before, node]):
            continue
        parameters = [link for link in before if link.op == "get_attr"]
        largest = max(parameters, key=lambda link: tensors[link.target].numel())  # type: ignore[index]
        if all(set(link.users) <= {*before, node} for link in before):
            yield str(largest.target), node


def _ancestors(node: fx.Node) -> list[fx.Node]:
    """Everything a node is computed from, in the order of the graph."""
    seen: set[fx.Node] = set()
    stack = list(node.all_input_nodes)
    while stack:
        link = stack.pop()
        if link not in seen:
            seen.add(link)
            stack += link.all_input_nodes
    return [link for link in node.graph.nodes if link in seen]


def _computed(node: fx.Node, tensors: Mapping[str, Tensor]) -> Tensor:
    values: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for link in [*_ancestors(node), node]:
            if link.op == "get_attr":
                values[link] = tensors[str(link.target)]
            else:
                arguments = fx.map_arg((link.args, link.kwargs), values.__getitem__)
                values[link] = link.target(*arguments[0], **arguments[1])  # type: ignore[operator]
    value = values[node]
    return value if isinstance(value, Tensor) else pytree.tree_leaves(value)[0]


def _schema_name(node: fx.Node) -> str:
    schema = getattr(node.target, "_schema", None)
    return "" if schema is None else str(schema.name)
