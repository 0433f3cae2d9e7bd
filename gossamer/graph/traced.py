# SPDX-License-Identifier: Apache-2.0
"""`TracedModule`: the two forms of a network as one module that trains, moves, copies and pickles like any other.

Its parameters and buffers have the names of the user's network. `forward` runs the code generated from the graph
of the present mode; the code is kept as text and compiled through a cache, because functions made at run time can
neither be copied nor pickled.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from gossamer.graph.export import Form


class TracedModule(nn.Module):
    """A network made of generated code; `tensors` become its parameters and buffers under their dotted names.

    `shapes`: per input what follows the batch, None where a size is free. The code has the other sizes written into
    it, so that an image of another size is refused, not computed wrongly.

    `norm_momentum` replaces the momentum of every batch norm while it is a number: set it to 1 / (batches + 1)
    before each batch to re-estimate running statistics as a plain average. None: each norm keeps its own.
    """

    norm_momentum: float | None

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        forms: Mapping[bool, Form],
        transient: Collection[str],
        shapes: Sequence[tuple[int | None, ...]],
    ) -> None:
        super().__init__()
        self._shapes = tuple(shapes)
        self.norm_momentum = None
        for name, tensor in tensors.items():
            path, _, leaf = name.rpartition(".")
            owner = _descend(self, path)
            if isinstance(tensor, nn.Parameter):
                owner.register_parameter(leaf, tensor)
            else:
                owner.register_buffer(leaf, tensor, persistent=name not in transient)
        self._sources = {training: _source(form.graph) for training, form in forms.items()}
        self._outputs = {training: form.outputs for training, form in forms.items()}
        self._arity = sum(node.op == "placeholder" for node in forms[False].graph.nodes)
        self._compile()

    def forward(self, *inputs: Any) -> Any:
        """What the user's network returns, for the same positional inputs."""
        leaves = pytree.tree_leaves(inputs)
        if len(leaves) != self._arity:
            raise ValueError(f"the network takes {self._arity} input tensors, got {len(leaves)}")
        for leaf, expected in zip(leaves, self._shapes, strict=True):
            got = tuple(leaf.shape[1:]) if isinstance(leaf, Tensor) else ()
            if len(got) != len(expected) or any(e not in (None, g) for e, g in zip(expected, got, strict=True)):
                words = ", ".join("any" if size is None else str(size) for size in ("N", *expected))
                raise ValueError(
                    f"the network was traced for inputs ({words}), got {tuple(leaf.shape)}; trace it with an example "
                    "of that size, or with any_size=True"
                )
        return pytree.tree_unflatten(self._run[self.training](self, *leaves), self._outputs[self.training])

    @property
    def operators(self) -> tuple[str, str]:
        """What the evaluation form computes, as text; of weights and their sizes what the operators say."""
        return self._sources[False], str(self._outputs[False])

    def _compile(self) -> None:
        self._run = {training: _compiled(source) for training, source in self._sources.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_run"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._compile()


def norm_momentum(override: float | None, exported: float) -> float:
    """The momentum a batch norm uses now (called by generated code)."""
    return exported if override is None else override


_NAMESPACE: dict[str, Any] = {
    "torch": torch,
    "device": torch.device,
    "inf": float("inf"),
    "nan": float("nan"),
    "NoneType": type(None),
}


def _source(graph: fx.Graph) -> str:
    """The Python text of a graph, with the imports it needs and with the momentum of its norms as an attribute."""
    graph = copy.deepcopy(graph)
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default):
        _, _, _, _, _, training, momentum, *_ = node.args
        if training:
            with graph.inserting_before(node):
                override = graph.get_attr("norm_momentum")
                node.update_arg(6, graph.call_function(norm_momentum, (override, momentum)))
    code = graph.python_code("self")
    imports = [
        f"from {value.__module__} import {value.__qualname__} as {name}"
        for name, value in code.globals.items()
        if name not in _NAMESPACE and callable(value)
    ]
    return "\n".join([*imports, code.src])


@functools.cache
def _compiled(source: str) -> Callable[..., tuple[Any, ...]]:
    namespace = dict(_NAMESPACE)
    exec(compile(source, "<gossamer network>", "exec"), namespace)
    return cast("Callable[..., tuple[Any, ...]]", namespace["forward"])


def _descend(root: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path, made of plain modules where it does not exist yet."""
    module = root
    for name in filter(None, path.split(".")):
        if name not in module._modules:
            module.add_module(name, nn.Module())
        module = cast("nn.Module", module._modules[name])
    return module
