# SPDX-License-Identifier: Apache-2.0
"""A network as two plain graphs of ATen operators, one for training and one for evaluation.

`torch.export` specialises on the mode: dropout, batch norm and auxiliary heads differ between the two forms, so
both are exported, with a dynamic batch. They share the network's tensors by name and are analysed together. Each
form is then made plain: no guards (they would pin sizes that a cut changes), no nested graphs, and rewritten so that
more can be cut (`rewrites`).
"""

from __future__ import annotations

import copy
import functools
import io
import logging
import operator
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from gossamer.graph.rewrites import fold_weights, rewrite

aten = torch.ops.aten


@dataclass(frozen=True)
class Form:
    """One form of a network: a graph over flat inputs and outputs, and the structure of its outputs.

    `get_attr` nodes name the network's tensors; an operator's node has `meta["where"]`, words for people.
    """

    graph: fx.Graph
    outputs: pytree.TreeSpec


@dataclass(frozen=True)
class Exported:
    """Both forms (`forms[True]` trains) and the constants they use beside the network's own tensors.

    `folded`: new values of parameters that the network standardised in its forward; `absorbed`: names of parameters
    that are in these values now.
    """

    forms: Mapping[bool, Form]
    constants: Mapping[str, Tensor]
    folded: Mapping[str, Tensor]
    absorbed: frozenset[str]


def export_forms(
    model: nn.Module, example: tuple[Any, ...], *, zeros: bool = False, any_size: bool = False
) -> Exported:
    """Export copies of `model` in both modes; raises ValueError naming the line that cannot be exported.

    With `zeros`, norms over channels go on as if removed channels were there and zero. With `any_size`, images
    (N, C, H, W) may have another height and width than the example.
    """
    owned = canonical_names(model)
    forms: dict[bool, Form] = {}
    constants: dict[str, Tensor] = {}
    for training, mode in ((True, "training"), (False, "evaluation")):
        inputs = pytree.tree_map_only(Tensor, _batch_of_two, example)
        shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
        batch = torch.export.Dim("batch")
        for leaf in pytree.tree_leaves(inputs):
            if isinstance(leaf, Tensor):
                shapes[leaf] = {0: batch} | ({2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO} if any_size else {})
        try:
            with _without_logs():
                module = torch.export.export(_clone(model, training), inputs, dynamic_shapes=shapes).module()
        except Exception as error:
            raise ValueError(_cannot_export(error, mode, model, inputs)) from error
        forms[training] = _plain(module, owned, f"constants.{mode}_form", constants, zeros)
    tensors = {name: tensor for name, tensor in _named_tensors(model) if owned[name] == name}
    return Exported(forms, constants, *fold_weights([form.graph for form in forms.values()], tensors))


@contextmanager
def _without_logs() -> Iterator[None]:
    """Torch logs and prints pages about a network that it cannot export; the error that follows is a sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def canonical_names(model: nn.Module) -> dict[str, str]:
    """Every name of a parameter or buffer -> the first name of the same tensor (shared modules have several)."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in _named_tensors(model)}


def _named_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]


def _clone(model: nn.Module, training: bool) -> nn.Module:
    clone = copy.deepcopy(model).train(training)
    for module in clone.modules():
        # A cumulative average divides by a count that export cannot see; `norm_momentum` does it from outside.
        if getattr(module, "track_running_stats", False) and getattr(module, "momentum", 0) is None:
            module.momentum = 0.1  # type: ignore[assignment]
    return clone


def _batch_of_two(leaf: Tensor) -> Tensor:
    """Export specialises on batch 1, and confuses inputs that are one tensor: always two examples, always fresh."""
    if leaf.dim() == 0 or leaf.shape[0] == 0:
        raise ValueError(
            f"every example input must hold at least one example, shape (N, C, H, W), got shape {tuple(leaf.shape)}"
        )
    return torch.cat([leaf[:1], leaf[:1]]).detach()


# --- from an exported module to a plain graph


def _plain(
    module: fx.GraphModule, owned: Mapping[str, str], prefix: str, constants: dict[str, Tensor], zeros: bool
) -> Form:
    """The graph of an exported module, made plain as the header says; its own constants go to `constants`."""

    def tensor_name(target: str, tensor: Tensor) -> str:
        if target in owned:
            return owned[target]
        constants[f"{prefix}.{target}"] = tensor
        return f"{prefix}.{target}"

    graph = fx.Graph()
    graph.output(tuple(_copy(module, graph, {}, tensor_name)))
    rewrite(graph, prefix, constants, zeros)
    for node in graph.nodes:
        node.meta = {"where": node.meta.get("where", "")}
    graph.lint()
    return Form(graph, cast("pytree.TreeSpec", module._out_spec))


def _copy(
    source: fx.GraphModule,
    graph: fx.Graph,
    values: dict[fx.Node, Any],
    tensor_name: Callable[[str, Tensor], str],
) -> Any:
    """Append the nodes of `source` to `graph`, nested graphs inlined; returns the outputs of `source`."""
    outputs: Any = ()
    for node in source.graph.nodes:
        if node in values or node.op == "call_module" or "_assert" in str(node.target):
            continue  # an input of a nested graph, or a guard
        if node.op == "output":
            outputs = fx.map_arg(node.args[0], values.__getitem__)
        elif node.op == "get_attr":
            value = functools.reduce(getattr, node.target.split("."), source)
            is_nested = isinstance(value, fx.GraphModule)
            values[node] = value if is_nested else graph.get_attr(tensor_name(node.target, cast("Tensor", value)))
            if not is_nested:
                values[node].meta = {"val": value}
        elif isinstance(node.target, torch._ops.HigherOrderOperator):
            values[node] = _inline(node, graph, values, tensor_name)
        elif node.target is operator.getitem and isinstance(values[node.args[0]], tuple):
            values[node] = values[node.args[0]][node.args[1]]  # of inlined results
        else:
            values[node] = graph.node_copy(node, values.__getitem__)
            values[node].meta = {"where": _where(node), "val": node.meta.get("val")}
    return outputs


def _inline(
    node: fx.Node,
    graph: fx.Graph,
    values: dict[fx.Node, Any],
    tensor_name: Callable[[str, Tensor], str],
) -> tuple[fx.Node, ...]:
    """The body of a `torch.no_grad()` or `torch.autocast` region as nodes of `graph`.

    An autocast region loses its own settings: the network computes in the precision that surrounds it.
    """
    operands = list(node.args)
    nested = next((i for i, a in enumerate(operands) if isinstance(values.get(a), fx.GraphModule)), None)  # type: ignore[arg-type]
    name = str(node.target)
    if nested is None or not name.startswith("wrap_with_"):
        raise ValueError(
            f"the network cannot be exported: expected plain operators, got '{name}' {_where(node)}; "
            "write that line without control flow that depends on data"
        )
    body: fx.GraphModule = values[operands[nested]]  # type: ignore[index]
    places = [inner for inner in body.graph.nodes if inner.op == "placeholder"]
    given = [values[operand] for operand in operands[nested + 1 :]]  # type: ignore[index]
    outputs = _copy(body, graph, dict(zip(places, given, strict=True)), tensor_name)
    if name == "wrap_with_set_grad_enabled" and operands[0] is False:
        outputs = [graph.call_function(aten.detach.default, (output,)) for output in outputs]
    return tuple(outputs)


# --- words for people


def _where(node: fx.Node) -> str:
    """`in 'layer1.0' (resnet.py:93)`: the module and the line of the user's code that a node comes from."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    path = modules[-1][0] if modules else ""
    lines = re.findall(r'File "(.+?)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in lines if not _inside_torch(file)]
    words = f"in '{path}'" if path else "in the network's forward"
    return f"{words} ({Path(own[-1][0]).name}:{own[-1][1]})" if own else words


def _inside_torch(file: str) -> bool:
    return file.startswith((f"{Path(torch.__file__).parent}/", "<"))


def _cannot_export(error: Exception, mode: str, model: nn.Module, inputs: tuple[Any, ...]) -> str:
    """The message for a network that `torch.export` refuses, with the line of the user's own code."""
    try:
        with torch.no_grad():
            _clone(model, mode == "training")(*inputs)
    except Exception as own_error:
        return (
            f"expected a network that runs on its example, got {type(own_error).__name__} in {mode} mode at "
            f"{user_line(own_error)}: {first_line(own_error)}; check the shape of the example"
        )
    return (
        f"the network cannot be exported in {mode} mode: expected a forward that traces for any batch size, got "
        f"{type(error).__name__} at {user_line(error)}: {first_line(error)}; replace Python control flow on tensor "
        "values there (torch.where, torch.cond), or trace the part of the network before it"
    )


def user_line(error: Exception) -> str:
    """The innermost line of the user's own code in an error's traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not _inside_torch(f.filename) and f.filename != __file__]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} `{own[-1].line}`" if own else "its forward"


def first_line(error: Exception) -> str:
    """The first line of an error's message that says anything."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
