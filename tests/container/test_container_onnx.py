# SPDX-License-Identifier: Apache-2.0
"""The ONNX bytes: made without ONNX, accepted by ONNX and both runtimes, with the values that were stored."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from gossamer import container
from gossamer.container import Tensor, graph_bytes
from gossamer.runtime.session import openvino_core


def test_the_checker_accepts_it_and_the_values_are_those_stored(payload):
    extra = (
        Tensor.exact("i8", np.arange(-3, 3, dtype=np.int8)),
        Tensor.exact("u8", np.arange(4, dtype=np.uint8).reshape(2, 2)),
        Tensor.exact("i32", np.array([2**31 - 1], np.int32)),
        Tensor.exact("i64", np.array([2**40, -1], np.int64)),
        Tensor.exact("f16", np.array([1.5], np.float16)),
        Tensor.exact("flags", np.array([True, False])),
        Tensor.exact("none", np.zeros((0, 2), np.float32)),
    )
    payload = replace(payload, tensors=payload.tensors + extra)
    model = onnx.load_from_string(container.to_onnx(payload))
    onnx.checker.check_model(model, full_check=True)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert list(found) == ["axes", *(tensor.name for tensor in payload.tensors)]
    for tensor in payload.tensors:
        value = found[tensor.name]
        assert (value.dtype, value.shape, value.tobytes()) == (tensor.dtype, tensor.shape, tensor.decoded().tobytes())
    stripped = onnx.ModelProto.FromString(payload.graph)
    del model.graph.initializer[1:]
    assert model == stripped, "nothing else changed"


def test_the_runtimes_compute_what_the_tensors_say(payload):
    data = container.to_onnx(payload)
    x = np.random.default_rng(2).normal(size=(3, 2, 5, 5)).astype(np.float32)
    (y,) = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    w, b, s = (tensor.decoded() for tensor in payload.tensors)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.maximum(np.einsum("nchwij,kcij->nkhw", windows, w) + b[:, None, None], 0) * s
    assert y == pytest.approx(expected, abs=1e-5)
    pytest.importorskip("openvino")
    core = openvino_core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert compiled(x)[0] == pytest.approx(expected, abs=1e-5)


def test_what_follows_the_graph_stays_behind_it():
    model = bytes.fromhex("08083a041202686942021011")  # ir_version, graph named hi, opset 17
    whole = b"".join(
        graph_bytes.with_initializers(model, [("a", (1,), "uint8")], [Tensor.exact("a", np.array([1], np.uint8))])
    )
    assert whole == bytes.fromhex("08083a10120268692a0a080110024201614a010142021011")


def test_a_model_of_more_than_two_gigabytes_is_refused_before_it_is_made(payload):
    huge = Tensor.exact("a", np.zeros(1, np.float32))
    object.__setattr__(huge, "shape", (2**29,))
    with pytest.raises(ValueError, match=r"expected a model of at most 2,147,483,647 bytes, .*got 2,147,48"):
        container.to_onnx(replace(payload, tensors=(huge,)))


def test_the_names_that_a_graph_reads_and_does_not_give_come_in_its_order():
    """Graphs inside nodes see what is around them; an output may be a tensor itself; each name counts once."""
    inner = helper.make_graph(
        [helper.make_node("Add", ["inner weight", "inner own"], ["inner sum"])],
        "inner",
        [],
        [helper.make_tensor_value_info("inner sum", TensorProto.FLOAT, [1])],
        [helper.make_tensor("inner own", TensorProto.FLOAT, [1], [1.0])],
    )
    nodes = [
        helper.make_node("Conv", ["later", "w", "", "b"], ["c"]),
        helper.make_node("If", ["x"], ["i"], then_branch=inner, else_branch=inner),
        helper.make_node("Relu", ["w", "own"], ["later"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "i", "out")]
    own = [helper.make_tensor("own", TensorProto.FLOAT, [1], [1.0])]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], own)
    model = helper.make_model(graph).SerializeToString(deterministic=True)
    assert graph_bytes.missing_names(model) == ["w", "b", "inner weight", "out"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("0b", "has a field of wire type 3 at byte 0"),
        ("0a05aa", "has a field that ends outside it at byte 0"),
        ("0a8501", "holds the number 5 where at most 3"),
        ("08", "ends inside a number"),
        ("0d0000", "has a field that ends outside it at byte 0"),
        ("0200", "has a field that ends outside it|outside"),
        ("", "has 0 graphs where one is expected"),
    ],
)
def test_bytes_that_are_no_message_are_named(model, message):
    with pytest.raises(ValueError, match=message):
        graph_bytes.graph_field(bytes.fromhex(model))


def test_every_kind_of_field_is_passed_over():
    model = bytes.fromhex("08ac020d000000001100000000000000003a000a0161")
    assert [(number, wire) for number, wire, *_ in graph_bytes.fields(model)] == [
        (1, 0),
        (1, 5),
        (2, 1),
        (7, 2),
        (1, 2),
    ]
    assert graph_bytes.graph_field(model) == (17, 19, 19)


def test_reading_and_decoding_load_neither_torch_nor_onnx(tmp_path, payload):
    path = tmp_path / "a.gossamer"
    container.write(path, payload, {})
    code = (
        "import sys; sys.modules.update({'torch': None, 'onnx': None, 'google.protobuf': None})\n"
        "from pathlib import Path; from gossamer import container\n"
        "print(len(container.to_onnx(container.read(Path(sys.argv[1])).payload)))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert int(out) == len(container.to_onnx(payload))
