# SPDX-License-Identifier: Apache-2.0
"""Folding on hand-made graphs: the same function with fewer operators, or nothing touched."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from gossamer.runtime.onnx_graph import tidy
from gossamer.runtime.session import open_session

Shapes = dict[str, tuple[int, ...]]

NORM = "y = BatchNormalization <epsilon=0.01> (a, gamma, beta, mean, var)"
SHAPES = {
    "gamma": (6,),
    "beta": (6,),
    "mean": (6,),
    "var": (6,),
    "c": (6, 1, 1),
    "row": (1, 6),
    "one": (),
    "wide": (4, 4),
}
LINEAR: dict[str, tuple[str, Shapes, tuple[int, ...]]] = {
    "conv": ("a = Conv <group=2> (x, w, b)", {"w": (6, 2, 1, 1), "b": (6,)}, (4, 4, 4)),
    "no bias": ("a = Conv (x, w)", {"w": (6, 4, 1, 1)}, (4, 4, 4)),
    "transposed": ("a = ConvTranspose <group=2, strides=[2, 2]> (x, w, b)", {"w": (4, 3, 2, 2), "b": (6,)}, (4, 2, 2)),
    "gemm": ("a = Gemm <transB=1> (x, w, b)", {"w": (6, 4), "b": (6,)}, (4,)),
    "gemm untransposed": ("a = Gemm (x, w, b)", {"w": (4, 6), "b": (6,)}, (4,)),
}


def made(body: str, shapes: Shapes, x: tuple[int, ...], outputs: str = "float y") -> onnx.ModelProto:
    """A model of some operators on an input (N, *x), with random initializers."""
    sizes = ", ".join(map(str, x))
    header = '<ir_version: 9, opset_import: ["": 20]>'
    model = parser.parse_model(f"{header} g (float[N, {sizes}] x) => ({outputs}) {{ {body} }}")
    rng = np.random.default_rng(0)
    names = {name for node in model.graph.node for name in node.input}
    for name, shape in {**SHAPES, **shapes}.items():
        if name in names:
            values = rng.uniform(0.5, 2.0, shape) * rng.choice([-1, 1] if name != "var" else [1], shape)
            model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return model


def same_function(a: onnx.ModelProto, b: onnx.ModelProto, x: tuple[int, ...]) -> None:
    batch = np.random.default_rng(1).standard_normal((3, *x)).astype(np.float32)
    results = [open_session(m.SerializeToString()).run(batch) for m in (a, b)]
    for expected, got in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("linear", LINEAR)
@pytest.mark.parametrize(
    "step", [NORM, "y = Mul (a, row)", "y = Add (row, a)", "y = Sub (a, row)", "y = Div (a, row)", "y = Mul (one, a)"]
)
def test_an_affine_step_is_folded(linear: str, step: str) -> None:
    body, shapes, x = LINEAR[linear]
    if len(x) == 3:
        step = step.replace("row", "c")
    model = made(f"{body} {step}", shapes, x)
    folded = tidy(model, {})
    assert len(operators(folded)) == 1
    same_function(model, folded, x)


def test_steps_in_a_row_are_folded_together() -> None:
    body, shapes, x = LINEAR["conv"]
    model = made(f"{body} s = Mul (a, c) {NORM.replace('(a,', '(s,')}", shapes, x)
    assert operators(tidy(model, {})) == ["Conv"]
    same_function(model, tidy(model, {}), x)


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (f"a = Conv (x, w, b) {NORM}", "float y, float a"),  # the unscaled output is needed too
        ("a = Conv (x, w, b) y = Div (c, a)", "float y"),  # not affine in a
        ("a = Conv (x, w, b) y = Add (a, wide)", "float y"),  # not per channel
        ("a = Conv (x, w, b) z = Conv (x, w, b) m = Mul (a, c) y = Add (m, z)", "float y"),  # shared weight
    ],
)
def test_what_cannot_be_folded_is_left_alone(body: str, outputs: str) -> None:
    model = made(body, {"w": (6, 4, 1, 1), "b": (6,)}, (4, 4, 4), outputs)
    assert operators(tidy(model, {})) == operators(model)
    same_function(model, tidy(model, {}), (4, 4, 4))


def test_names_are_settled_and_dead_parts_removed() -> None:
    body = f"""
        k = Constant <value_float=1.0> ()
        a = Conv <dilations=[1, 1], auto_pad="NOTSET"> (x, "enc.weight") {NORM.replace("y =", "s =")}
        i = Identity (s)
        dead = Relu (i)
        r = Relu (i)
        p = GlobalAveragePool (r)
        f = Flatten (p)
        m = MatMul (f, "val_3")
        y = Add (m, "val_4")
    """
    shapes = {"enc.weight": (6, 4, 1, 1), "val_3": (6, 5), "val_4": (5,)}
    model = made(body, shapes, (4, 4, 4))
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    parameters = {"enc.weight": arrays["enc.weight"], "head.weight": arrays["val_3"].T}
    tidied = tidy(model, parameters)
    assert operators(tidied) == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "MatMul", "Add"]
    names = [t.name for t in tidied.graph.initializer]
    assert names == ["enc.weight", "enc.bias", "head.weight", "constant0"]
    assert [node.output[0] for node in tidied.graph.node] == ["v0", "v1", "v2", "v3", "v4", "y"]
    assert {a.name for node in tidied.graph.node for a in node.attribute} == {"dilations"}
    same_function(model, tidied, (4, 4, 4))


def test_the_order_of_attributes_does_not_matter() -> None:
    model = made("y = Conv <strides=[2, 2], pads=[1, 1, 1, 1]> (x, w)", {"w": (6, 4, 1, 1)}, (4, 4, 4))
    other = onnx.ModelProto()
    other.CopyFrom(model)
    del other.graph.node[0].attribute[:]
    other.graph.node[0].attribute.extend(reversed(model.graph.node[0].attribute))
    assert other != model
    assert tidy(other, {}) == tidy(model, {})


def test_control_flow_is_refused() -> None:
    body = """
        c = Cast <to=9> (one)
        y = If (c) <then_branch = t () => (float u) { u = Relu(x) }, else_branch = e () => (float w) { w = Neg(x) }>
    """
    with pytest.raises(ValueError, match="without control flow that depends on data, got operator 'If'"):
        tidy(made(body, {}, (4,)), {})
