# SPDX-License-Identifier: Apache-2.0
"""Small networks as ONNX, written down directly: exporting them from PyTorch would take seconds each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from gossamer import container
from gossamer.container import Payload, Tensor
from gossamer.data.preprocess import Preprocess
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.runtime.weights import serialize, split_weights

CLASSES = ("ant", "bee", "cat", "dog", "elk")
PREPROCESS = Preprocess((0.5, 0.4, 0.6), (0.25, 0.2, 0.3), 16)
Shapes = dict[str, tuple[int, ...]]

#: Name -> (operators, shapes of weights, constants, shape of the output). Each has what some converter trips over.
BODIES: dict[str, tuple[str, Shapes, dict[str, list[int]], str]] = {
    # strided slices and padded channels, as the shortcuts of CIFAR-10's ResNets
    "shortcut": (
        """
        a = Conv<pads=[1,1,1,1]>(input0, w0, b0)
        b = Relu(a)
        c = Conv<pads=[1,1,1,1], strides=[2,2]>(b, w1, b1)
        d = Slice(b, starts, ends, axes, steps)
        e = Pad(d, pads)
        f = Add(c, e)
        g = Relu(f)
        h = MaxPool<kernel_shape=[2,2], strides=[2,2]>(g)
        i = GlobalAveragePool(h)
        j = Flatten(i)
        output0 = Gemm<transB=1>(j, w2, b2)
        """,
        {"w0": (6, 3, 3, 3), "b0": (6,), "w1": (10, 6, 3, 3), "b1": (10,), "w2": (5, 10), "b2": (5,)},
        {
            "starts": [0, 0],
            "ends": [2**31 - 1] * 2,
            "axes": [2, 3],
            "steps": [2, 2],
            "pads": [0, 2, 0, 0, 0, 2, 0, 0],
        },
        "N, 5",
    ),
    # a convolution that both a batch norm and a concatenation read, as DenseNet has it
    "dense": (
        """
        a = Conv<pads=[1,1,1,1]>(input0, w0, b0)
        b = BatchNormalization(a, gamma, beta, mean, variance)
        c = Relu(b)
        d = Conv<pads=[1,1,1,1]>(c, w1, b1)
        e = Concat<axis=1>(a, d)
        f = ReduceMean<keepdims=0>(e, axes)
        output0 = MatMul(f, w2)
        """,
        {
            "w0": (4, 3, 3, 3),
            "b0": (4,),
            "gamma": (4,),
            "beta": (4,),
            "mean": (4,),
            "variance": (4,),
            "w1": (4, 4, 3, 3),
            "b1": (4,),
            "w2": (8, 5),
        },
        {"axes": [2, 3]},
        "N, 5",
    ),
    # channels taken in turn, a depthwise convolution, an up-convolution and a resize: maps come out
    "maps": (
        """
        a = Conv<pads=[1,1,1,1], strides=[2,2]>(input0, w0, b0)
        b = Clip(a, low, high)
        c = Slice(b, starts, ends, axes, steps)
        d = Conv<pads=[1,1,1,1], group=3>(c, w1, b1)
        e = ConvTranspose<strides=[2,2]>(d, w2, b2)
        f = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(c, , scales)
        g = Concat<axis=1>(e, f)
        output0 = Conv(g, w3, b3)
        """,
        {
            "w0": (6, 3, 3, 3),
            "b0": (6,),
            "w1": (3, 1, 3, 3),
            "b1": (3,),
            "w2": (3, 4, 2, 2),
            "b2": (4,),
            "w3": (2, 7, 1, 1),
            "b3": (2,),
        },
        {"starts": [1], "ends": [2**31 - 1], "axes": [1], "steps": [2]},
        "N, 2, 16, 16",
    ),
    # rows of places, each with several numbers, as a detector gives them
    "places": (
        """
        a = Conv<pads=[1,1,1,1], strides=[4,4]>(input0, w0, b0)
        b = HardSwish(a)
        c = Conv(b, w1, b1)
        d = Transpose<perm=[0,2,3,1]>(c)
        output0 = Reshape(d, shape)
        """,
        {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (12, 8, 1, 1), "b1": (12,)},
        {"shape": [0, -1, 6]},
        "N, 32, 6",
    ),
    # one head for maps of two sizes, as RetinaNet has it: layers with the same weights
    "heads": (
        """
        a = Conv<pads=[1,1,1,1], strides=[2,2]>(input0, w0, b0)
        b = Relu(a)
        c = Conv<pads=[1,1,1,1], strides=[2,2]>(b, w1, b1)
        d = Relu(c)
        e = Conv<pads=[1,1,1,1]>(b, w2, b2)
        f = Relu(e)
        g = Conv(f, w3, b3)
        h = Transpose<perm=[0,2,3,1]>(g)
        i = Reshape(h, shape)
        j = Conv<pads=[1,1,1,1]>(d, w2, b2)
        k = Relu(j)
        l = Conv(k, w3, b3)
        m = Transpose<perm=[0,2,3,1]>(l)
        n = Reshape(m, shape)
        output0 = Concat<axis=1>(i, n)
        """,
        {
            "w0": (8, 3, 3, 3),
            "b0": (8,),
            "w1": (8, 8, 3, 3),
            "b1": (8,),
            "w2": (8, 8, 3, 3),
            "b2": (8,),
            "w3": (6, 8, 1, 1),
            "b3": (6,),
        },
        {"shape": [0, -1, 6]},
        "N, 80, 6",
    ),
    # an average that a concatenation and a convolution read, and an up-convolution in groups
    "averages": (
        """
        a = Conv<pads=[1,1,1,1]>(input0, w0, b0)
        b = Relu(a)
        c = AveragePool<kernel_shape=[2,2], strides=[2,2]>(b)
        d = Conv<pads=[1,1,1,1]>(c, w1, b1)
        e = Concat<axis=1>(c, d)
        f = ConvTranspose<strides=[2,2], group=2>(e, w2, b2)
        g = Relu(f)
        output0 = Conv(g, w3, b3)
        """,
        {
            "w0": (4, 3, 3, 3),
            "b0": (4,),
            "w1": (4, 4, 3, 3),
            "b1": (4,),
            "w2": (8, 2, 2, 2),
            "b2": (4,),
            "w3": (2, 4, 1, 1),
            "b3": (2,),
        },
        {},
        "N, 2, 16, 16",
    ),
}


def network(
    name: str, body: str = "", shapes: Shapes | None = None, constants: dict[str, list[int]] | None = None
) -> bytes:
    """The ONNX bytes of one of `BODIES`, or of others: (N, 3, 16, 16) -> its output."""
    operators, weights, integers, shape = BODIES.get(name, (body, shapes or {}, constants or {}, "N, 5"))
    ports = f"(float[N, 3, 16, 16] input0) => (float[{shape}] output0)"
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["": 20]> g {ports} {{{operators}}}')
    for index, (weight, sizes) in enumerate(weights.items()):
        values = np.random.default_rng(index).standard_normal(sizes) / np.sqrt(max(1, np.prod(sizes[1:])))
        if weight == "variance":
            values = np.abs(values) + 0.5
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), weight))
    for constant, numbers in integers.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.int64), constant))
    for constant, value in {"low": 0.0, "high": 6.0, "scales": [1.0, 1.0, 2.0, 2.0]}.items():
        if f"{constant})" in operators or f"{constant}," in operators:
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), constant))
    onnx.checker.check_model(model)
    return serialize(model)


@cache
def float_network(name: str) -> bytes:
    return network(name)


@cache
def int8_network(name: str) -> bytes:
    """The same with 8-bit weights and activations."""
    return quantize_int8(network(name), [images(8)])


def images(count: int, seed: int = 1) -> np.ndarray:
    """(count, 3, 16, 16), float32, as the networks read them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return PREPROCESS.apply(pixels)


def write_network(path: Path, model: bytes, classes: tuple[str, ...] = CLASSES, plan: dict | None = None) -> Path:
    """A .gossamer file of an ONNX network."""
    graph, weights = split_weights(model)
    tensors = tuple(Tensor.exact(name, values) for name, values in weights.items())
    container.write(path, Payload(graph, tensors, PREPROCESS.to_json(), classes, plan or {}), {})
    return path
