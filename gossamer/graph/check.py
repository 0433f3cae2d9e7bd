# SPDX-License-Identifier: Apache-2.0
"""Is a cut exact? The original with the removed channels silenced must equal the cut network.

Silenced: wherever a weight sums over channels, the removed ones are multiplied by zero, which is the same as
zeroing the slices of that weight that read them. Everything runs in float64 on weights and norm statistics drawn
at random (but re-estimated for norms on a branch that has ended): at initialisation, scales of zero and means of zero
hide wrong cuts, and a tolerance of 1e-5 lets two swapped slices pass. Both forms are compared, the
training form with batch statistics and without dropout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from gossamer.graph.analysis import Analysis
from gossamer.graph.calls import RANDOM_FLAGS, bind, operator_name
from gossamer.graph.export import Form, first_line
from gossamer.graph.surgery import Cut

_SMALLEST_EFFECT = 1e-7


def cut_error(
    analysis: Analysis,
    original: Mapping[bool, Form],
    smaller: Mapping[bool, Form],
    tensors: Mapping[str, Tensor],
    cut: Cut,
    cut_tensors: Mapping[str, Tensor],
    example: Sequence[Any],
    seed: int,
) -> float:
    """The largest difference between the silenced original and the cut network, relative to the largest output.

    Raises ValueError where the cut network does not run, or where silencing changes nothing, so that the
    comparison would prove nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: _drawn(tensors[name], name, analysis, generator) for name in analysis.tensors}
    inputs = _random_inputs(pytree.tree_leaves(example), generator)
    drawn |= _statistics(original[True], drawn, inputs, analysis, generator, seed)
    # Integers (an index of channels) are part of what is checked, not of what is drawn.
    left = cut.tensors(drawn) | {name: t.cpu() for name, t in cut_tensors.items() if not t.is_floating_point()}
    branches: dict[str, Tensor] = dict(cut.branches(original, left))
    if branches:
        for name, statistic in cut.statistics(original, left).items():
            kept = torch.from_numpy(cut.dim(analysis.tensors[name], 0))
            drawn[name] = drawn[name].masked_scatter(kept, statistic)
        left |= branches
    error = effect = 0.0
    for training in (False, True):
        silence = {
            (call.node, argument): _factor(cut.dim(call[argument], dim), dim, len(call[argument].shape))
            for call in analysis.calls[training]
            for argument, dim in call.contracted
        }
        silenced = _outputs(original[training], drawn, inputs, silence, seed)
        try:
            cut_down = _outputs(smaller[training], left, inputs, {}, seed)
        except Exception as problem:
            raise ValueError(
                f"expected a cut network that runs, got {type(problem).__name__}: {first_line(problem)}; this is an "
                "error in Gossamer's graph rules: please report it with the network"
            ) from problem
        error = max(error, _difference(silenced, cut_down))
        if effect < _SMALLEST_EFFECT:
            effect = _difference(silenced, _outputs(original[training], drawn, inputs, {}, seed))
    if effect < _SMALLEST_EFFECT and any(
        name in left and left[name].shape != tensor.shape for name, tensor in drawn.items()
    ):
        raise ValueError(
            f"expected a cut that changes the outputs, got a relative change of {effect:.1e}: the comparison would "
            "prove nothing; check a larger cut"
        )
    return error


def _outputs(
    form: Form,
    tensors: Mapping[str, Tensor],
    inputs: Sequence[Any],
    silence: Mapping[tuple[fx.Node, str], Tensor],
    seed: int,
) -> list[Tensor]:
    """The float outputs of one form; tensors are copied first, since a training form updates its statistics."""
    outputs = _run(form, {name: tensor.clone() for name, tensor in tensors.items()}, inputs, silence, seed)
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _run(
    form: Form,
    tensors: Mapping[str, Tensor],
    inputs: Sequence[Any],
    silence: Mapping[tuple[fx.Node, str], Tensor],
    seed: int,
    momentum: float | None = None,
) -> Any:
    """The outputs of one form; a training form updates the running statistics among `tensors`."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copies = [pytree.tree_map_only(Tensor, Tensor.clone, x) for x in inputs]
        return _Double(form.graph, tensors, silence, momentum).run(*copies)


class _Double(fx.Interpreter):
    """Runs a graph in float64, deterministic, with some arguments of some operators multiplied by a factor.

    `momentum` replaces that of the batch norms.
    """

    def __init__(
        self,
        graph: fx.Graph,
        tensors: Mapping[str, Tensor],
        silence: Mapping[tuple[fx.Node, str], Tensor],
        momentum: float | None,
    ) -> None:
        super().__init__(torch.nn.Module(), graph=graph)
        self._tensors = tensors
        self._silence = silence
        self._momentum = momentum

    def fetch_attr(self, target: str) -> Tensor:
        return self._tensors[target]

    def run_node(self, n: fx.Node) -> Any:
        if not isinstance(n.target, torch._ops.OpOverload):
            return super().run_node(n)
        arguments = bind(n, lambda given: _plain(fx.map_arg(given, self.env.__getitem__)))
        for name in arguments:
            if (n, name) in self._silence:
                arguments[name] = arguments[name] * _tiled(self._silence[n, name], arguments[name])
        name = operator_name(n)
        if name in RANDOM_FLAGS:
            arguments[RANDOM_FLAGS[name]] = False
        if name == "bernoulli" and isinstance(arguments.get("p"), float):
            arguments["p"] = 1.0  # stochastic depth
        if name == "batch_norm" and self._momentum is not None:
            arguments["momentum"] = self._momentum
        return n.target(**arguments)


def _statistics(
    form: Form,
    drawn: Mapping[str, Tensor],
    inputs: Sequence[Any],
    analysis: Analysis,
    generator: torch.Generator,
    seed: int,
) -> dict[str, Tensor]:
    """Running means and variances near those of these weights on these inputs, as after training.

    Drawn without regard to the activations, they let a deep network's outputs grow by powers of ten, and its rounding
    errors with them (EfficientNetV2-L: 1e15).
    """
    roles = {name: role for (name, _), role in analysis.roles.items() if role in ("mean", "var")}
    seen = {name: tensor.clone() for name, tensor in drawn.items()}
    _run(form, seen, inputs, {}, seed, momentum=1.0)
    found = {}
    for name, role in roles.items():
        shift = torch.rand(seen[name].shape, generator=generator, dtype=torch.float64) + 0.5
        found[name] = seen[name] * shift if role == "mean" else seen[name].clamp_min(1e-2) * shift
    return found


def _tiled(factor: Tensor, value: Tensor) -> Tensor:
    """The factor as often as needed where a reshape has put the examples of a batch beside the channels."""
    return factor.repeat([v // f if f > 1 else 1 for f, v in zip(factor.shape, value.shape, strict=True)])


def _plain(value: Any) -> Any:
    """Float types become float64, devices the CPU."""
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value


def _drawn(tensor: Tensor, name: str, analysis: Analysis, generator: torch.Generator) -> Tensor:
    """A float64 tensor like a trained one, but nowhere zero: weights by fan-in, variances and scales near one."""
    if not tensor.is_floating_point():
        return tensor.detach().cpu()
    roles = {dim: role for (owner, dim), role in analysis.roles.items() if owner == name}
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    uniform = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5
    if set(roles.values()) & {"scale", "var"}:
        return uniform
    if set(roles.values()) & {"shift", "mean", "bias"}:
        return noise / 2
    rows = [dim for dim, role in roles.items() if role == "row"]
    if rows:
        return noise * math.sqrt(2 * tensor.shape[rows[0]] / tensor.numel())
    vanishing = isinstance(tensor, torch.nn.Parameter) and float(tensor.detach().abs().max()) < 1e-2
    return uniform if vanishing else tensor.detach().double().cpu()


def _random_inputs(leaves: Sequence[Any], generator: torch.Generator) -> list[Any]:
    """Inputs like the example's. Integers are repeated, since any others might be no valid index."""
    pixels = min((math.prod(leaf.shape[2:]) for leaf in leaves if isinstance(leaf, Tensor)), default=1)
    # Batch statistics over two or three values amplify rounding: where images end as one pixel, examples must do.
    batch = min(max(2**15 // pixels, 4), 32)
    inputs: list[Any] = []
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            inputs.append(leaf)
        elif leaf.is_floating_point():
            inputs.append(torch.randn((batch, *leaf.shape[1:]), generator=generator, dtype=torch.float64))
        else:
            inputs.append(torch.cat([leaf[:1].cpu()] * batch))
    return inputs


def _factor(keep: NDArray[np.bool_], dim: int, rank: int) -> Tensor:
    return torch.from_numpy(keep).double().reshape([-1 if d == dim else 1 for d in range(rank)])


def _difference(expected: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    """The largest difference of any output, relative to the largest value of that output."""
    pairs = list(zip(expected, got, strict=True))
    if any(a.shape != b.shape or not bool((a.isfinite() & b.isfinite()).all()) for a, b in pairs):
        return float("inf")
    return max((float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in pairs), default=0.0)
