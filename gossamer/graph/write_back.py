# SPDX-License-Identifier: Apache-2.0
"""Write back: a cut network as an object of the user's own class, where its forward runs unchanged at the new widths.

Parameters and buffers go into a copy of the user's module by their names, and attributes that state a width
(`out_channels`, `num_features`, ...) follow from their shapes. Then both run. Only a copy that computes the same is
handed out: a forward with a width written into it (`x.view(n, 512)`, `x[:, :64]`) is another network now, and the
error says which line holds the number.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils import _pytree as pytree

from gossamer.graph.export import Form, first_line, user_line
from gossamer.graph.modes import evaluating

TOLERANCE = 1e-4  # relative, in float32; widths that differ are off by much more
_LINES_SHOWN = 3


def write_back(
    model: nn.Module,
    smaller: nn.Module,
    tensors: Mapping[str, Tensor],
    before: Mapping[bool, Form],
    after: Mapping[bool, Form],
    example: Sequence[Any],
) -> nn.Module:
    """A copy of `model` with `tensors` (by all their names), checked against `smaller`, the cut network as traced.

    `before` and `after` are the forms of the original and of the cut network. Raises ValueError where the copy fails
    or computes something else, with the lines of forward that hold a width.
    """
    groups = _conv_groups(after)
    own = copy.deepcopy(model)
    copies = {id(tensor): copied(tensor) for tensor in tensors.values()}  # what is shared stays shared
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        module = own.get_submodule(path) if _has_submodule(own, path) else None
        if module is None or leaf not in {**module._parameters, **module._buffers}:
            continue  # a constant of the cut network
        (module._parameters if leaf in module._parameters else module._buffers)[leaf] = copies[id(tensor)]  # type: ignore[assignment]
    for name, module in own.named_modules():
        for kind, resized in _WIDTHS:
            if isinstance(module, kind):
                for attribute, value in resized(module, groups.get(f"{name}.weight".lstrip("."))).items():
                    setattr(module, attribute, value)
    _compare(own, smaller, example, _rewritten(before[False], after[False]))
    return own


def _has_submodule(root: nn.Module, path: str) -> bool:
    return path == "" or path in dict(root.named_modules(remove_duplicate=False))


def copied(tensor: Tensor) -> Tensor:
    """A tensor of its own with the same values; a parameter stays one."""
    values = tensor.detach().clone()
    return nn.Parameter(values, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values


# --- attributes that state a width


def _convolution(module: Any, groups: int | None) -> dict[str, Any]:
    first, second = module.weight.shape[:2]
    groups = module.groups if groups is None else groups
    if isinstance(module, _ConvTransposeNd):
        return {"in_channels": first, "out_channels": second * groups, "groups": groups}
    return {"in_channels": second * groups, "out_channels": first, "groups": groups}


def _linear(module: Any, groups: int | None) -> dict[str, Any]:
    return {"out_features": module.weight.shape[0], "in_features": module.weight.shape[1]}


def _batch_norm(module: Any, groups: int | None) -> dict[str, Any]:
    vector = module.weight if module.weight is not None else module.running_mean
    return {} if vector is None else {"num_features": len(vector)}


def _group_norm(module: Any, groups: int | None) -> dict[str, Any]:
    if module.weight is None:
        return {}
    count = len(module.weight)
    wide = module.num_channels // module.num_groups
    return {"num_channels": count, "num_groups": 1 if module.num_groups == 1 else count // wide}


def _layer_norm(module: Any, groups: int | None) -> dict[str, Any]:
    return {} if module.weight is None else {"normalized_shape": tuple(module.weight.shape)}


def _prelu(module: Any, groups: int | None) -> dict[str, Any]:
    return {"num_parameters": len(module.weight)}


_WIDTHS: list[tuple[type[nn.Module], Callable[[Any, int | None], dict[str, Any]]]] = [
    (_ConvNd, _convolution),
    (nn.Linear, _linear),
    (_BatchNorm, _batch_norm),
    (_InstanceNorm, _batch_norm),
    (nn.GroupNorm, _group_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.PReLU, _prelu),
]


def _conv_groups(forms: Mapping[bool, Form]) -> dict[str, int]:
    """The groups of each convolution whose weight is a parameter, by the parameter's name."""
    found: dict[str, int] = {}
    for form in forms.values():
        for node in form.graph.nodes:
            if node.op == "call_function" and "conv" in str(node.target) and isinstance(node.args[1], fx.Node):
                names = [argument.name for argument in node.target._schema.arguments]
                at = names.index("groups")
                given = node.args[at] if len(node.args) > at else node.kwargs.get("groups", 1)
                if isinstance(given, int):
                    found.setdefault(str(node.args[1].target), given)
    return found


# --- does it compute the same?


def _compare(own: nn.Module, smaller: nn.Module, example: Sequence[Any], lines: Sequence[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = pytree.tree_map_only(Tensor, lambda leaf: _inputs(leaf, generator), tuple(example))
    words = f"; widths are written there: {', '.join(lines[:_LINES_SHOWN])}" if lines else ""
    hint = 'use the traced network (into="network"), or take widths from the tensors in that line'
    try:
        with evaluating(smaller, own), torch.no_grad():
            expected = pytree.tree_leaves(smaller(*inputs))
            got = pytree.tree_leaves(own(*inputs))
    except Exception as error:
        raise ValueError(
            f"expected a forward that runs at the new widths, got {type(error).__name__} at {user_line(error)}: "
            f"{first_line(error)}{words}; {hint}"
        ) from error
    pairs = [(a, b) for a, b in zip(expected, got, strict=True) if isinstance(a, Tensor)]
    if any(a.shape != b.shape for a, b in pairs):
        raise ValueError(f"expected the outputs of the cut network, got other shapes{words}; {hint}")
    each = [float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in pairs]
    off = float(np.max(each, initial=0.0))  # Python's max would let NaN through
    if not off < TOLERANCE:
        raise ValueError(
            f"expected a forward that computes the same at the new widths, got a relative difference of {off:.1e}"
            f"{words}; {hint}"
        )


def _inputs(leaf: Tensor, generator: torch.Generator) -> Tensor:
    if not leaf.is_floating_point():
        return torch.cat([leaf[:1]] * 3)
    return torch.randn((3, *leaf.shape[1:]), generator=generator).to(leaf.device, leaf.dtype)


def _rewritten(before: Form, after: Form) -> list[str]:
    """Where the cut had to count a size again, other than the groups of convolutions and the widths of norms."""
    found: dict[str, None] = {}
    originals = {node.name: node for node in before.graph.nodes}
    for node in after.graph.nodes:
        old = originals.get(node.name)
        if old is None or node.op != "call_function" or "conv" in str(node.target) or "norm" in str(node.target):
            continue
        if repr((old.args, old.kwargs)) != repr((node.args, node.kwargs)):
            found.setdefault(str(node.meta.get("where") or old.meta.get("where")))
    return list(found)
