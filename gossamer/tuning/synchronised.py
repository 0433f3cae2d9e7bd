# SPDX-License-Identifier: Apache-2.0
"""Synchronised batch norm: the statistics of the whole batch, of which every process sees a part.

Paper: S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
Shift", ICML 2015, arXiv 1502.03167, algorithm 1; sums run over the parts P of all processes, n values in all:

    m = sum_P n_P m_P / n        v = sum_P (n_P v_P + n_P (m_P - m)^2) / n        y = w (x - m) / sqrt(v + eps) + b
    dx = w / sqrt(v + eps) (g - sum g / n - u sum(g u) / n),  u = (x - m) / sqrt(v + eps)

torch.nn.SyncBatchNorm is a module and for GPUs only; the batch norms of an exported network are calls of an operator.
They are met above automatic differentiation, because the sums of the backward pass run over all processes too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Add = Callable[[Tensor], Tensor]
"""The sum of a tensor over all processes, in each of them; changes its argument."""


class SynchronisedBatchNorm(TorchFunctionMode):
    """The context in which batch norms of exported networks, where they train, see the batch of all processes."""

    def __init__(self, add: Add) -> None:
        super().__init__()
        self.add = add

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function; ValueError for norms that would learn from a part of the batch alone."""
        if function is torch.ops.aten.instance_norm.default and args[3] is not None and args[5]:
            raise ValueError(
                "expected instance norms without running statistics, got one with them; train in one process"
            )
        if function is F.batch_norm and (kwargs or {}).get("training", args[5:6] == (True,)):
            raise ValueError(
                "expected batch norms of an exported network, got that of a module; give gossamer.trace of it"
            )
        if function is torch.ops.aten.batch_norm.default and args[5]:
            x, weight, bias, running_mean, running_var, _, momentum, eps, _ = args
            return _Normalised.apply(x, weight, bias, running_mean, running_var, momentum, eps, self.add)
        return function(*args, **(kwargs or {}))


class _Normalised(torch.autograd.Function):
    """x (N, C, ...) of this process -> (N, C, ...), normalised by the statistics of all; these go on running."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
        add: Add,
    ) -> Tensor:
        """The formula of the header; running statistics are changed in place, the variance without bias."""
        own_var, own_mean = torch.var_mean(_precise(x), _others(x), correction=0)  # (C,)
        own_count = x.numel() / len(own_mean)
        sums = add(torch.cat([own_count * own_mean, own_mean.new_tensor([own_count])]))
        count, mean = sums[-1], sums[:-1] / sums[-1]
        var = add(own_count * (own_var + (own_mean - mean).square())) / count
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((var * count / (count - 1)).to(running_var), momentum)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps), count)
        ctx.add = add
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of x knows of all processes; those of weight and bias are this process's own share."""
        x, weight, mean, inverse, count = ctx.saved_tensors
        gradient, shape = _precise(gradients[0]), (1, -1, *[1] * (x.ndim - 2))
        normalised = (_precise(x) - mean.view(shape)) * inverse.view(shape)
        own = torch.stack([gradient.sum(_others(x)), (gradient * normalised).sum(_others(x))])  # (2, C)
        mean_gradient, slope = ctx.add(own.clone()) / count
        scale = inverse if weight is None else inverse * weight
        back = scale.view(shape) * (gradient - mean_gradient.view(shape) - normalised * slope.view(shape))
        own = own if weight is None else own.to(weight.dtype)
        wanted = ctx.needs_input_grad
        return back.to(x.dtype), own[1] if wanted[1] else None, own[0] if wanted[2] else None, *[None] * 5


def _precise(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _others(x: Tensor) -> list[int]:
    """All dimensions but that of the channels."""
    return [0, *range(2, x.ndim)]
