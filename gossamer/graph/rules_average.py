# SPDX-License-Identifier: Apache-2.0
"""Rules for operators that average: norms, softmax, pooling (and its inverse, upsampling), reductions.

Where an average runs over channels, removing some changes what is computed for the others: these labels are
inexact. They can be cut, but silencing a channel is not the same as removing it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from gossamer.graph.calls import Call, Kept, is_tensor
from gossamer.graph.labels import Labelled, support

_SUMS = ("sum", "linalg_vector_norm")


def batch_norm(call: Call) -> Labelled:
    """batch_norm, instance_norm: channels lie along dim 1, averages run over the others."""
    x = call.tensor("input")
    channels = call.vector(x, 1)
    for argument, role in (("weight", "scale"), ("bias", "shift"), ("running_mean", "mean"), ("running_var", "var")):
        _affine(call, argument, 0, role, channels)
    _averaged(call, [x.plane(dim) for dim in range(len(x.shape)) if dim != 1])
    return call.output(x.planes)


def layer_norm(call: Call) -> Labelled:
    """Averages run over the last dims, channels included."""
    x, rank = call.tensor("input"), len(call["normalized_shape"])
    for dim in range(rank):
        vector = call.vector(x, dim - rank)
        _affine(call, "weight", dim, "scale", vector)
        _affine(call, "bias", dim, "shift", vector)
    _averaged(call, [x.plane(len(x.shape) - rank + dim) for dim in range(rank)])
    return call.output(x.planes)


def normalized_shape(call: Call, kept: Kept) -> Mapping[str, Any]:
    """The trailing dims that are left."""
    return {"normalized_shape": list(kept.shape(call.tensor("input"))[-len(call["normalized_shape"]) :])}


def group_norm(call: Call) -> Labelled:
    """Groups of channels go as a whole, which leaves the averages of the others alone: exact."""
    x, groups = call.tensor("input"), call["num_groups"]
    channels = call.vector(x, 1)
    _affine(call, "weight", 0, "scale", channels)
    _affine(call, "bias", 0, "shift", channels)
    if groups == 1:
        _averaged(call, [channels])
    elif channels is not None:
        call.labels.couple(channels.reshape(groups, -1), [1])
    return call.output(x.planes)


def norm_groups(call: Call, kept: Kept) -> Mapping[str, Any]:
    """Groups keep their width; a single group stays one."""
    x, groups = call.tensor("input"), call["num_groups"]
    return {"num_groups": 1 if groups == 1 else kept.shape(x)[1] * groups // x.shape[1]}


def softmax(call: Call) -> Labelled:
    """Labels along the dim alone share one sum; those that vary elsewhere too go together along it."""
    x = call.tensor("self")
    dim = call["dim"] % len(x.shape)
    planes = []
    for plane in x.planes:
        if support(plane) == [dim]:
            _averaged(call, [plane])
        else:
            plane = call.labels.couple(plane, [dim])
        planes.append(plane)
    return call.output(planes)


def pool(call: Call) -> Any:
    """Windows over the last dims, as many as the operator's name says; these stay whole, channels pass."""
    x = next(iter(call.operands.values()))
    name = re.search(r"(\d)d", call.name)
    assert name is not None, f"{call.name} does not say over how many dims it pools"
    window = range(len(x.shape) - int(name.group(1)), len(x.shape))
    planes = []
    for plane in x.planes:
        if all(dim in window for dim in support(plane)):
            call.pin(plane, "a window slides over it")
        else:
            planes.append(call.labels.couple(plane, window))
    return _each(call.result, planes)


def reduction(call: Call) -> Any:
    """mean, sum, amax over dims: labels along these alone are averaged away, others pass.

    A sum reads its channels with weights of one, so that a silent one is the same as none.
    """
    x = call.tensor("self")
    if any(user.target is operator.getitem and user.args[1] == 1 for user in call.node.users if "var" not in call.name):
        return call.protect("removing slots would change the positions found by")
    rank, dims = len(x.shape), call.arguments.get("dim")
    over = {d % rank for d in ([dims] if isinstance(dims, int) else dims or range(rank))}
    planes = []
    for plane in x.planes:
        if set(support(plane)) <= over:
            if call.name in _SUMS and len(support(plane)) == 1:
                call.contracted.append(("self", support(plane)[0]))
            else:
                _averaged(call, [plane])
            continue
        plane = call.labels.couple(plane, sorted(over))
        left = [size for dim, size in enumerate(plane.shape) if dim not in over]
        planes.append(plane if call.arguments.get("keepdim") else plane.reshape(left))
    return _each(call.result, planes)


def _affine(call: Call, argument: str, dim: int, role: str, channels: Tensor | None) -> None:
    """A norm's own tensor lies along the channels."""
    tensor = call[argument]
    if tensor is not None:
        call.role(tensor, dim, role)
        call.unite(channels, call.vector(tensor, dim))


def _averaged(call: Call, planes: Iterable[Tensor | None]) -> None:
    for plane in planes:
        if plane is not None:
            call.labels.mark_inexact(plane, f"the others are normalised with it, at {call.where}")


def _each(result: Any, planes: list[Tensor]) -> Any:
    """The same planes for one result, or for several of one shape (values and indices)."""
    if isinstance(result, list):
        return [_each(part, planes) for part in result]
    return result.with_planes(planes) if is_tensor(result) else result
