# SPDX-License-Identifier: Apache-2.0
"""ONNX as PyTorch's own operators: the same numbers, in the form that converters look for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from gossamer.exporters.ncnn import _without_step
from gossamer.exporters.plain_torch import plain_graph
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.runtime.session import open_session
from gossamer.runtime.weights import serialize
from tests.exporters.networks import BODIES, float_network, images, int8_network, network

ROUNDING = torch.ops.quantized_decomposed
DEQUANTIZE = ROUNDING.dequantize_per_tensor.default


def outputs(graph: torch.fx.GraphModule, x: np.ndarray) -> np.ndarray:
    return np.concatenate([graph(torch.from_numpy(np.ascontiguousarray(image[None]))).numpy() for image in x])


def targets(graph: torch.fx.GraphModule) -> list[object]:
    return [node.target for node in graph.graph.nodes if node.op == "call_function"]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.ptp(b))


@pytest.mark.parametrize("name", BODIES)
def test_a_float_network_gives_the_same(name):
    model, x = float_network(name), images(3)
    graph = plain_graph(model, x[:1], "it")
    assert distance(outputs(graph, x), open_session(model).run(x)[0]) < 1e-6
    assert torch.ops.aten.alias.default not in targets(graph)


@pytest.mark.parametrize("integer_weights", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_an_int8_network_gives_the_same(name, integer_weights):
    model, x = int8_network(name), images(3)
    graph = plain_graph(model, x[:1], "it", integer_weights=integer_weights)
    assert distance(outputs(graph, x), open_session(model).run(x)[0]) < 0.02
    used = targets(graph)
    assert DEQUANTIZE in used
    assert (ROUNDING.quantize_per_channel.default in used) != integer_weights


@pytest.mark.parametrize("name", BODIES)
def test_it_computes_the_integers_of_the_onnx_network_in_float(name):
    """With the sums of ONNX in float, nothing is left but its rounding: every activation is on its grid."""
    from gossamer.runtime.as_torch import OnnxModule

    model, x = int8_network(name), images(3)
    with torch.no_grad():
        expected = OnnxModule(model)(torch.from_numpy(x)).numpy()
    graph = plain_graph(model, x[:1], "it")
    different = np.abs(outputs(graph, x) - expected).max((*range(1, expected.ndim),)) / np.ptp(expected)
    assert np.median(different) < 1e-5, "one image may round to the other side, not most of them"


def test_channels_last():
    model, x = float_network("shortcut"), images(2)
    graph = plain_graph(model, x[:1], "it", channels_last=True)
    pixels = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    assert distance(outputs(graph, pixels), open_session(model).run(x)[0]) < 1e-6


@pytest.mark.parametrize("name", BODIES)
def test_integers_are_signed_and_each_reader_has_its_own_dequantize(name):
    graph = plain_graph(int8_network(name), images(1), "it")
    seen = 0
    for node in graph.graph.nodes:
        if node.target in (DEQUANTIZE, ROUNDING.quantize_per_tensor.default):
            assert node.args[-3:] == (-128, 127, torch.int8)
        if node.target is DEQUANTIZE:
            seen += 1
            assert len(node.users) == 1
    assert seen


def test_weights_of_layers_that_read_floats_become_floats():
    proto = onnx.load_from_string(int8_network("places"))
    first = next(node for node in proto.graph.node if node.op_type == "Conv")
    first.input[0] = "input0"
    counts = [
        targets(plain_graph(model, images(1), "it")).count(ROUNDING.dequantize_per_channel.default)
        for model in (int8_network("places"), serialize(proto))
    ]
    assert counts == [2, 1]


QUANTIZE = ROUNDING.quantize_per_tensor.default
FUSED = (torch.ops.aten.relu.default, torch.ops.aten.hardtanh.default)


@pytest.mark.parametrize(("name", "integer", "all_layers"), [("shortcut", 2, 3), ("dense", 2, 3), ("maps", 3, 4)])
def test_for_xnnpack_integer_layers_give_integers(name, integer, all_layers):
    """What it does not compute in integers, the last layer first of all, reads zeros in ExecuTorch 1.5.1."""
    graph = plain_graph(int8_network(name), images(1), "it")
    weights = graph.graph.find_nodes(op="call_function", target=ROUNDING.dequantize_per_channel.default)
    assert len(weights) == integer
    for weight in weights:
        (layer,) = weight.users
        (behind,) = layer.users
        if behind.target in FUSED:
            (behind,) = behind.users
        assert behind.target is QUANTIZE
    other = plain_graph(int8_network(name), images(1), "it", integer_weights=False)
    assert targets(other).count(ROUNDING.dequantize_per_channel.default) == all_layers


def per_channel(body: str, shapes: dict[str, tuple[int, ...]]) -> int:
    """How many layers have integer weights in an int8 network, (N, 3, 16, 16) -> (N, K, H, W), for XNNPACK."""
    proto = onnx.load_from_string(network("", body, shapes))
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    model, x = quantize_int8(serialize(proto), [images(4)]), images(2)
    graph = plain_graph(model, x[:1], "it")
    assert distance(outputs(graph, x), open_session(model).run(x)[0]) < 0.02
    return targets(graph).count(ROUNDING.dequantize_per_channel.default)


CONV = {"w0": (6, 3, 3, 3), "b0": (6,)}


@pytest.mark.parametrize(
    ("behind", "count"),
    [
        ("b = Relu(a)\n c = Mul(b, b)\n output0 = Sigmoid(c)", 1),
        ("b = Clip(a, low, high)\n c = Mul(b, b)\n output0 = Sigmoid(c)", 1),
        ("c = Mul(a, a)\n output0 = Sigmoid(c)", 1),
        ("b = Clip(a, low)\n c = Mul(b, b)\n output0 = Sigmoid(c)", 0),  # no hardtanh
        ("b = Relu(a)\n c = Sigmoid(a)\n d = Mul(b, c)\n output0 = Sigmoid(d)", 1),
        ("output0 = Sigmoid(a)", 1),
        ("output0 = Relu(a)", 0),
    ],
)
def test_what_stands_behind_a_layer(behind, count):
    assert per_channel(f"a = Conv(input0, w0, b0)\n {behind}", CONV) == count


def test_a_weight_of_two_layers_is_integer_in_both_or_in_none():
    layers = "a = Conv(input0, w0, b0)\n b = Relu(a)\n c = Conv(b, w1, b1)\n d = Relu(c)\n"
    shapes = {**CONV, "w1": (6, 6, 3, 3), "b1": (6,)}
    assert per_channel(f"{layers} e = Conv(d, w1, b1)\n f = Relu(e)\n output0 = Sigmoid(f)", shapes) == 2
    assert per_channel(f"{layers} output0 = Conv(d, w1, b1)", shapes) == 1


@pytest.mark.parametrize(("groups", "count"), [(1, 2), (2, 1)])
def test_up_convolutions_in_groups_compute_in_floats(groups, count):
    body = f"""
    a = Conv(input0, w0, b0)
    b = Relu(a)
    c = ConvTranspose<strides=[2,2], group={groups}>(b, w1, b1)
    d = Relu(c)
    output0 = Sigmoid(d)
    """
    assert per_channel(body, {**CONV, "w1": (6, 4 // groups, 2, 2), "b1": (4,)}) == count


def changed(model: bytes, name: str, value: np.ndarray) -> bytes:
    proto = onnx.load_from_string(model)
    for index, tensor in enumerate(proto.graph.initializer):
        if tensor.name == name:
            proto.graph.initializer[index].CopyFrom(numpy_helper.from_array(value, name))
            return serialize(proto)
    raise AssertionError(f"there is no {name}")


def test_what_pad_puts_in_is_a_number_of_the_grid():
    """Another constant than the zero point, which is 0.0, is moved from integers to what it stands for."""
    model, x = int8_network("shortcut"), images(2)
    pad = next(node for node in onnx.load_from_string(model).graph.node if node.op_type == "Pad")
    grid = {tensor.name: tensor for tensor in onnx.load_from_string(model).graph.initializer}[pad.input[2]]
    zero = numpy_helper.to_array(grid)
    proto = onnx.load_from_string(model)
    proto.graph.initializer.append(numpy_helper.from_array(np.array(zero + 60, np.uint8), "other"))
    next(node for node in proto.graph.node if node.op_type == "Pad").input[2] = "other"
    other = serialize(proto)
    graph = plain_graph(other, x[:1], "it")
    expected = open_session(other).run(x)[0]
    assert distance(open_session(model).run(x)[0], expected) > 0.05
    assert distance(outputs(graph, x), expected) < 0.02


def test_weights_of_minus_128_are_refused():
    model = int8_network("places")
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(model).graph.initializer}
    low = tensors["w0"].copy()
    low.flat[0] = -128
    with pytest.raises(
        ValueError, match="--to it starts from, but: expected int8 weights from -127 to 127, got less in 'w0'"
    ):
        plain_graph(changed(model, "w0", low), images(1), "it")


def test_an_operator_that_is_not_known_is_named():
    model = network("", "a = Mish(input0)\n output0 = ReduceMean<keepdims=0>(a, axes)", {}, {"axes": [2, 3]})
    with pytest.raises(
        ValueError, match=r"--to it starts from, but: .*got 'Mish' \(it makes 'a'\); choose another --to"
    ):
        plain_graph(model, images(1), "it")


def test_two_outputs_are_refused():
    proto = onnx.load_from_string(float_network("places"))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None))
    with pytest.raises(ValueError, match="one input and one output, got 1 and 2"):
        plain_graph(serialize(proto), images(1), "it")


@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("size", [(6, 9, 12), (5, 7, 11)])
def test_slices_with_steps_for_ncnn(axis, start, step, size):
    x = torch.arange(float(np.prod(size))).reshape(1, *size)
    slices = torch.ops.aten.slice.Tensor
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: slices(x, axis, start, 2**63 - 1, step) + 1)(x)
    (node,) = graph.graph.find_nodes(op="call_function", target=slices)
    node.args[0].meta["tensor_meta"] = torch.fx.passes.shape_prop._extract_tensor_metadata(x)
    _without_step(graph.graph, node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    assert torch.equal(graph(x), x[(slice(None),) * axis + (slice(start, None, step),)] + 1)
    left = [node for node in graph.graph.find_nodes(op="call_function", target=slices) if len(node.args) > 4]
    replaced = start < step and (size[0] % step == 0 if axis == 1 else start == 0)
    assert bool(left) != replaced


def test_a_slice_that_ends_early_stays():
    x = torch.zeros(1, 3, 8, 8)
    slices = torch.ops.aten.slice.Tensor
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: slices(x, 2, 0, 5, 2))(x)
    (node,) = graph.graph.find_nodes(op="call_function", target=slices)
    node.args[0].meta["tensor_meta"] = torch.fx.passes.shape_prop._extract_tensor_metadata(x)
    _without_step(graph.graph, node)
    assert node.users, "a pooling would take a row more"
