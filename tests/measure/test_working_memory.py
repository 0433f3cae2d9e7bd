# SPDX-License-Identifier: Apache-2.0
"""Working memory against numbers worked out by hand: 4 bytes a number, 1 where it is an integer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import numpy_helper, parser

from gossamer.graph import trace
from gossamer.measure.working_memory import working_memory
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.runtime.export import export_onnx
from gossamer.search.latency_table import blindly_cut
from gossamer.zoo.cifar_resnet import CifarResNet

IMAGE = 4 * 4  # pixels of the hand-made networks, whose input is (N, 4, 4, 4): 256 bytes in float32


def network(body: str, outputs: str = "float[N, C, H, W] y", **weights: tuple[int, ...]) -> bytes:
    """A network in the text form of ONNX; weights by name and shape, all zero, integers where the name ends so."""
    text = f'<ir_version: 9, opset_import: ["": 20]> network (float[N, 4, 4, 4] x) => ({outputs}) {{{body}}}'
    proto = parser.parse_model(text)
    for name, shape in weights.items():
        kind = next((kind for kind in ("uint8", "int8") if name.endswith(f"_{kind}")), "float32")
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, kind), name))
    return bytes(proto.SerializeToString())


def test_a_chain_needs_what_one_operator_reads_and_makes():
    chain = network(
        "a = Conv(x, w1) b = Relu(a) c = Conv(b, w2) y = Conv(c, w3)",
        w1=(8, 4, 1, 1),
        w2=(16, 8, 1, 1),
        w3=(2, 16, 1, 1),
    )
    found = working_memory(chain)
    assert found.bytes == 4 * IMAGE * (8 + 16)  # the input is gone by then
    assert found.operator == "Conv c"
    assert found.tensors == {"a": 4 * IMAGE * 8, "c": 4 * IMAGE * 16}


def test_the_other_branch_of_a_residual_sum_is_needed_later():
    block = "a = Conv(x, w1) r = Relu(a) b = Conv(r, w2) c = Conv(b, w3) y = Add(c, r)"
    found = working_memory(network(block, w1=(4, 4, 1, 1), w2=(16, 4, 1, 1), w3=(4, 16, 1, 1)))
    assert found.bytes == 4 * IMAGE * (4 + 16 + 4)  # r waits while c is made from b
    assert (found.operator, set(found.tensors)) == ("Conv c", {"a", "b", "c"})


def test_a_concatenation_needs_its_parts_and_itself():
    joined = "a = Conv(x, w1) b = Conv(x, w2) y = Concat<axis=1>(a, b)"
    found = working_memory(network(joined, w1=(6, 4, 1, 1), w2=(3, 4, 1, 1)))
    assert found.bytes == 4 * IMAGE * (6 + 3 + 9)
    assert found.operator == "Concat y"


@pytest.mark.parametrize(
    ("body", "channels"),
    [
        ("a = Conv(x, w) y = Relu(a)", 4 + 8),
        ("a = Conv(x, w) y = Sigmoid(a)", 4 + 8),
        ("a = Conv(x, w) b = Relu(a) y = Add(a, b)", 8 + 8 + 8),  # a is read again: not written over
        ("a = Conv(x, w) b = Exp(a) y = Exp(b)", 8 + 8),  # no activation function
        ("a = Conv(x, w) b = Sigmoid(a) y = Mul(a, b)", 8 + 8 + 8),  # a gate
    ],
)
def test_activations_are_computed_in_place_where_nothing_else_reads(body, channels):
    assert working_memory(network(body, w=(8, 4, 1, 1))).bytes == 4 * IMAGE * channels


def test_a_view_is_the_memory_it_looks_at():
    flat = "a = Conv(x, w) v = Flatten(a) b = Relu(v) y = Gemm(b, g)"
    assert working_memory(network(flat, "float[N, C] y", w=(8, 4, 1, 1), g=(128, 2))).bytes == 4 * IMAGE * (4 + 8)
    both = "a = Conv(x, w) v = Flatten(a) b = Relu(v) c = Flatten(a) y = Add(b, c)"
    found = working_memory(network(both, "float[N, C] y", w=(8, 4, 1, 1)))
    assert found.bytes == 4 * IMAGE * (8 + 8 + 8)  # written over, c would be lost


def test_an_output_stays_to_the_end():
    body = "y = Conv(x, w1) a = Conv(x, w2) z = Conv(a, w3)"
    weights = {"w1": (8, 4, 1, 1), "w2": (2, 4, 1, 1), "w3": (16, 2, 1, 1)}
    found = working_memory(network(body, "float[N, C, H, W] y, float[N, D, H, W] z", **weights))
    assert found.bytes == 4 * IMAGE * (8 + 2 + 16)


def test_shapes_are_known_before_anything_runs():
    body = "a = Conv(x, w) s = Shape(x) b = Conv(a, v) y = Reshape(b, s)"
    assert working_memory(network(body, w=(8, 4, 1, 1), v=(4, 8, 1, 1))).bytes == 4 * IMAGE * (4 + 8)


PAIRS = """
    xq = QuantizeLinear(x, s, z_uint8) xf = DequantizeLinear(xq, s, z_uint8)
    wf = DequantizeLinear(w_int8, s) a = Conv(xf, wf) b = Relu(a)
    bq = QuantizeLinear(b, s, z_uint8) bf = DequantizeLinear(bq, s, z_uint8)
"""
SCALES = {"s": (), "z_uint8": ()}


def test_between_pairs_there_are_only_integers():
    body = PAIRS + "vf = DequantizeLinear(v_int8, s) c = Conv(bf, vf) y = QuantizeLinear(c, s, z_uint8)"
    model = network(body, "uint8[N, C, H, W] y", w_int8=(8, 4, 1, 1), v_int8=(2, 8, 1, 1), **SCALES)
    assert working_memory(model).bytes == IMAGE * (4 + 8)


def test_what_comes_out_of_integers_unquantized_is_float():
    body = PAIRS + "vf = DequantizeLinear(v_int8, s) y = Conv(bf, vf)"
    found = working_memory(network(body, w_int8=(8, 4, 1, 1), v_int8=(2, 8, 1, 1), **SCALES))
    assert found.bytes == IMAGE * 8 + 4 * IMAGE * 2


def test_an_operator_that_reads_floats_too_needs_the_float_form():
    body = PAIRS + "c = Conv(bf, v) e = Exp(c) f = Conv(e, u) y = Add(bf, f)"
    model = network(body, w_int8=(8, 4, 1, 1), v=(8, 8, 1, 1), u=(8, 8, 1, 1), **SCALES)
    assert working_memory(model).bytes == 4 * IMAGE * 8 * 3  # the form, e and f


def test_a_quantized_float_has_a_buffer_of_its_own():
    body = "a = Conv(x, w) e = Exp(a) q = QuantizeLinear(e, s, z_uint8) y = DequantizeLinear(q, s, z_uint8)"
    assert working_memory(network(body, w=(8, 4, 1, 1), **SCALES)).bytes == IMAGE * 8 * (4 + 4)


def test_a_shape_that_depends_on_values_is_refused():
    body = "a = NonZero(x) y = Cast<to=1>(a)"
    message = "expected shapes that follow from the input's, got none for 'a', made by NonZero"
    with pytest.raises(ValueError, match=message):
        working_memory(network(body, "float[C, M] y"))


# --- ResNet-20 on images of 32 x 32 ----------------------------------------------------------------------------

STAGE_1 = 32 * 32  # places of each channel


@pytest.fixture(scope="module")
def resnet20():
    torch.manual_seed(0)
    return trace(CifarResNet(20), torch.randn(2, 3, 32, 32))


@pytest.fixture(scope="module")
def resnet20_onnx(resnet20):
    return export_onnx(resnet20.module, resnet20.example)


def test_resnet20(resnet20_onnx):
    """In the first stage a sum needs the block's input, what its branch gave, and itself; 16 channels each."""
    assert working_memory(resnet20_onnx).bytes == 4 * 3 * 16 * STAGE_1 == 196_608


def test_resnet20_in_int8(resnet20_onnx):
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    assert working_memory(quantize_int8(resnet20_onnx, [images], largest=64)).bytes == 3 * 16 * STAGE_1 == 49_152


def test_resnet20_with_half_of_the_first_stage(resnet20):
    """Blocks go from 8 channels to 16 and back: the second convolution reads 16, makes 8, and 8 wait for the sum."""
    cut = blindly_cut(resnet20, {"conv1.weight": 8})
    assert working_memory(export_onnx(cut.module, cut.example)).bytes == 4 * (16 + 8 + 8) * STAGE_1
