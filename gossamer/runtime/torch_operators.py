# SPDX-License-Identifier: Apache-2.0
"""What the operators of an exported network compute, in PyTorch and with gradients: one table by ONNX name.

An entry takes the operator (its attributes and where it stands) and its inputs in the order of ONNX; an input left out
is None. Meanings are those of https://onnx.ai/onnx/operators/, as far as PyTorch's exporter uses them. Rounding to a
grid has the gradient of the identity (Bengio et al. 2013, arXiv 1308.3432), clipping to its ends none outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F


class NotTrainable(ValueError):
    """A network has an operator, or a form of one, that is not here."""


@dataclass(frozen=True)
class Operator:
    """One operator of a graph; `attributes` as plain values."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, node: onnx.NodeProto) -> Operator:
        """The operator of a node; NotTrainable if nothing is known of its kind."""
        if node.op_type not in OPERATORS:
            raise NotTrainable(
                f"expected operators that can be trained through, got '{node.op_type}' (it makes '{node.output[0]}')"
            )
        attributes = {entry.name: _plain(onnx.helper.get_attribute_value(entry)) for entry in node.attribute}
        return cls(node.op_type, tuple(node.input), tuple(node.output), attributes)

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def __call__(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """The outputs."""
        result = OPERATORS[self.kind](self, *inputs)
        return result if isinstance(result, tuple) else (result,)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return torch.from_numpy(numpy_helper.to_array(value).copy())
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


# -- convolutions and products ---------------------------------------------------------------------------------


def _conv(op: Operator, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, padding = _padded(op, x, weight.ndim - 2, 0.0)
    compute = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[weight.ndim - 2]
    ones = [1] * (weight.ndim - 2)
    stride, dilation = op.get("strides", ones), op.get("dilations", ones)
    result: Tensor = compute(x, weight, bias, stride, padding, dilation, op.get("group", 1))
    return result


def _conv_transpose(op: Operator, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = weight.ndim - 2
    before, behind = _pads(op, dims)
    compute = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[dims]
    ones, more = [1] * dims, op.get("output_padding", [0] * dims)
    stride, dilation = op.get("strides", ones), op.get("dilations", ones)
    # padding here takes away, perhaps not alike on both sides, which PyTorch cannot
    whole: Tensor = compute(x, weight, bias, stride, 0, more, op.get("group", 1), dilation)
    kept = [slice(a, size - b) for a, b, size in zip(before, behind, whole.shape[2:], strict=True)]
    return whole[(slice(None), slice(None), *kept)]


def _gemm(op: Operator, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = a.T if op.get("transA", 0) else a, b.T if op.get("transB", 0) else b
    product: Tensor = op.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + op.get("beta", 1.0) * c


def _pads(op: Operator, dims: int) -> tuple[list[int], list[int]]:
    """Zeros in front of and behind each dimension of the image."""
    if op.get("auto_pad", "NOTSET") != "NOTSET":
        raise NotTrainable(f"expected padding in numbers, got '{op.get('auto_pad', '')}' in {op.kind}")
    pads = op.get("pads", [0] * 2 * dims)
    return pads[:dims], pads[dims:]


def _padded(op: Operator, x: Tensor, dims: int, value: float) -> tuple[Tensor, list[int]]:
    """The input with its padding, where that is not alike on both sides, and the padding still to be done."""
    before, behind = _pads(op, dims)
    if before == behind:
        return x, before
    return F.pad(x, _torch_pads(before, behind), value=value), [0] * dims


def _torch_pads(before: Sequence[int], behind: Sequence[int]) -> list[int]:
    """Padding in the order of PyTorch, which begins with the last dimension."""
    return [size for pair in zip(reversed(before), reversed(behind), strict=True) for size in pair]


# -- pooling and resizing --------------------------------------------------------------------------------------


def _max_pool(op: Operator, x: Tensor) -> Tensor:
    kernel = op.attributes["kernel_shape"]
    x, padding = _padded(op, x, len(kernel), -torch.inf)
    compute = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(kernel)]
    ones = [1] * len(kernel)
    stride, dilation = op.get("strides", ones), op.get("dilations", ones)
    result: Tensor = compute(x, kernel, stride, padding, dilation, bool(op.get("ceil_mode", 0)))
    return result


def _average_pool(op: Operator, x: Tensor) -> Tensor:
    kernel = op.attributes["kernel_shape"]
    before, behind = _pads(op, len(kernel))
    if before != behind:
        raise NotTrainable(f"expected an average over windows padded alike on both sides, got {before} and {behind}")
    compute: Any = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(kernel)]
    stride = op.get("strides", [1] * len(kernel))
    result: Tensor = compute(
        x, kernel, stride, before, bool(op.get("ceil_mode", 0)), bool(op.get("count_include_pad", 0))
    )
    return result


def _resize(op: Operator, x: Tensor, *asked: Tensor | None) -> Tensor:
    scales, sizes = (*asked, None, None, None)[1:3]
    if sizes is not None and sizes.numel():
        size = sizes.tolist()[2:]
    else:
        assert scales is not None
        wanted = [n * scale for n, scale in zip(x.shape[2:], scales.tolist()[2:], strict=True)]
        size = [round(n) for n in wanted]
        if any(abs(n - whole) > 1e-3 for n, whole in zip(wanted, size, strict=True)):
            raise NotTrainable(f"expected a resize to whole sizes, got {wanted}")  # then scale is not size by size
    mode, place = op.get("mode", "nearest"), op.get("coordinate_transformation_mode", "half_pixel")
    if mode == "nearest" and place == "asymmetric" and op.get("nearest_mode", "round_prefer_floor") == "floor":
        return F.interpolate(x, size)
    if mode == "linear" and place in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        linear = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
        return F.interpolate(x, size, mode=linear, align_corners=place == "align_corners")
    raise NotTrainable(f"expected a resize to the nearest or a linear one as PyTorch has them, got {mode} with {place}")


# -- layout ----------------------------------------------------------------------------------------------------


def _reshape(op: Operator, x: Tensor, shape: Tensor) -> Tensor:
    sizes = shape.tolist()
    if not op.get("allowzero", 0):
        sizes = [x.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(op: Operator, x: Tensor) -> Tensor:
    axis = op.get("axis", 1)
    return x.flatten(1) if axis == 1 else x.reshape(int(torch.tensor(x.shape[:axis]).prod()), -1)


def _squeeze(op: Operator, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.reshape(-1).tolist()))


def _unsqueeze(op: Operator, x: Tensor, axes: Tensor) -> Tensor:
    places = axes.reshape(-1).tolist()
    for place in sorted(place % (x.ndim + len(places)) for place in places):
        x = x.unsqueeze(place)
    return x


def _pad(op: Operator, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
    sizes = pads.tolist()
    before, behind = [0] * x.ndim, [0] * x.ndim
    for place, axis in enumerate(range(x.ndim) if axes is None else axes.tolist()):
        before[axis], behind[axis] = sizes[place], sizes[len(sizes) // 2 + place]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[op.get("mode", "constant")]
    if mode == "constant":
        return F.pad(x, _torch_pads(before, behind), value=0.0 if value is None else float(value))
    return F.pad(x, _torch_pads(before[2:], behind[2:]), mode)


def _slice(
    op: Operator, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    places = list(range(len(starts))) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    index = [slice(None)] * x.ndim
    for axis, start, end, stride in zip(places, starts.tolist(), ends.tolist(), strides, strict=True):
        index[axis] = slice(start, end, stride)
    return x[tuple(index)]


def _split(op: Operator, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = op.get("axis", 0)
    if sizes is not None:
        return torch.split_with_sizes(x, sizes.tolist(), axis)
    return torch.chunk(x, len(op.outputs), axis)


def _gather(op: Operator, x: Tensor, index: Tensor) -> Tensor:
    axis = op.get("axis", 0) % x.ndim
    taken = x.index_select(axis, index.reshape(-1) % x.shape[axis])
    return taken.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _cast(op: Operator, x: Tensor) -> Tensor:
    kinds = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.INT64: torch.int64}
    if op.attributes["to"] not in kinds:
        raise NotTrainable(f"expected a cast to float32 or int64, got type {op.attributes['to']}")
    return x.to(kinds[op.attributes["to"]])


# -- numbers, and grids of integers ----------------------------------------------------------------------------


def _clip(op: Operator, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(None if low is None else float(low), None if high is None else float(high))


def _reduce_mean(op: Operator, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = list(range(x.ndim)) if axes is None else axes.reshape(-1).tolist()
    return x.mean(dims, keepdim=bool(op.get("keepdims", 1)))


def _batch_norm(op: Operator, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, shift, eps=op.get("epsilon", 1e-5))


def _layer_norm(op: Operator, x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
    shape = x.shape[op.get("axis", -1) :]
    return F.layer_norm(
        x, shape, scale.expand(shape), None if shift is None else shift.expand(shape), op.get("epsilon", 1e-5)
    )


def rounded(x: Tensor) -> Tensor:
    """The nearest integers, halves to even, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def _quantize(op: Operator, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Integers as float32, so that gradients pass."""
    kind = torch.uint8 if zero is None else zero.dtype
    ends = torch.iinfo(kind)
    axis = op.get("axis", 1)
    integers = rounded(x / along(scale, x, axis)) + (0.0 if zero is None else along(zero.float(), x, axis))
    return integers.clamp(ends.min, ends.max)


def _dequantize(op: Operator, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    axis = op.get("axis", 1)
    return (x.float() - (0.0 if zero is None else along(zero.float(), x, axis))) * along(scale, x, axis)


def along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """One number, or one for each place of `axis`, broadcastable to x."""
    if values.numel() == 1:
        return values.reshape([1] * x.ndim)
    return values.reshape([-1 if dim == axis % x.ndim else 1 for dim in range(x.ndim)])


OPERATORS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": lambda op, a, b: a @ b,
    "Add": lambda op, a, b: a + b,
    "Sub": lambda op, a, b: a - b,
    "Mul": lambda op, a, b: a * b,
    "Div": lambda op, a, b: a / b if a.is_floating_point() else a // b,
    "Pow": lambda op, a, b: a**b,
    "Sqrt": lambda op, x: x.sqrt(),
    "Relu": lambda op, x: F.relu(x),
    "LeakyRelu": lambda op, x: F.leaky_relu(x, op.get("alpha", 0.01)),
    "PRelu": lambda op, x, slope: torch.where(x >= 0, x, slope * x),
    "Elu": lambda op, x: F.elu(x, op.get("alpha", 1.0)),
    "Sigmoid": lambda op, x: x.sigmoid(),
    "HardSigmoid": lambda op, x: (op.get("alpha", 0.2) * x + op.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda op, x: F.hardswish(x),
    "Gelu": lambda op, x: F.gelu(x, approximate=op.get("approximate", "none")),
    "Tanh": lambda op, x: x.tanh(),
    "Erf": lambda op, x: x.erf(),
    "Softmax": lambda op, x: x.softmax(op.get("axis", -1)),
    "Clip": _clip,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda op, x: x.mean(list(range(2, x.ndim)), keepdim=True),
    "ReduceMean": _reduce_mean,
    "Resize": _resize,
    "Concat": lambda op, *parts: torch.cat(parts, op.attributes["axis"]),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": lambda op, x: x.permute(op.get("perm", list(reversed(range(x.ndim))))),
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Expand": lambda op, x, shape: x * torch.ones(shape.tolist(), dtype=x.dtype, device=x.device),
    "Shape": lambda op, x: torch.tensor(x.shape[op.get("start", 0) : op.get("end", None)], device=x.device),
    "Cast": _cast,
    "Identity": lambda op, x: x,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
}
