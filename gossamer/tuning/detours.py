# SPDX-License-Identifier: Apache-2.0
"""Detours: convolutions that a CPU computes faster in another way.

    3x3, many channels, in float32     with a quarter of the multiplications (`winograd`)
    many channels on small maps        as products of matrices (`small_maps`)
    depthwise, strided, in bfloat16    backward in float32: 144 channels of 32x32, stride 2, 128 images took 137 ms in
                                       bfloat16 and 12 in float32 (two cores; stride 1: 18 and 23)

They stand below automatic differentiation, so no network is changed: in this context every convolution passes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gossamer.tuning import small_maps, winograd


class Detours(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The context in which convolutions take another way where that is faster."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for every operator."""
        if function is torch.ops.aten.convolution.default:
            x, weight, bias, stride, padding, dilation, transposed, _, groups = args
            if winograd.gains(x, weight, stride, padding, dilation, transposed, groups):
                return winograd.forward(x, weight, bias, padding)
            if small_maps.gains(x, weight, stride, padding, dilation, transposed, groups):
                return small_maps.forward(x, weight, bias, stride, padding)
        elif function is torch.ops.aten.convolution_backward.default:
            gradient, x, weight, biases, stride, padding, dilation, transposed, _, groups, wanted = args
            if winograd.gains(x, weight, stride, padding, dilation, transposed, groups):
                return winograd.backward(gradient, x, weight, padding, wanted)
            if small_maps.gains(x, weight, stride, padding, dilation, transposed, groups):
                return small_maps.backward(gradient, x, weight, stride, padding, wanted)
            if _strided_depthwise(x, weight, stride, groups):
                found = function(gradient.float(), x.float(), weight.float(), biases, *args[4:])
                return tuple(None if value is None else value.to(x.dtype) for value in found)
        return function(*args, **(kwargs or {}))


def may_gain(module: nn.Module) -> bool:
    """Whether a module has weights of the kinds that detours are for."""
    return any(
        parameter.ndim == 4 and (parameter.numel() >= small_maps.FEWEST_WEIGHTS or parameter.shape[1] == 1)
        for parameter in module.parameters()
    )


def _strided_depthwise(x: Tensor, weight: Tensor, stride: Sequence[int], groups: int) -> bool:
    bfloat16 = x.dtype == torch.bfloat16 and x.device.type == "cpu"
    return bfloat16 and groups > 1 and weight.shape[1] == 1 and max(stride) > 1
