# SPDX-License-Identifier: Apache-2.0
"""An exported network computes in PyTorch what it computes in the runtime, and learns there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import numpy_helper, parser
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.quantize.static_int8 import quantize_int8, with_values
from gossamer.runtime.as_torch import OnnxModule
from gossamer.runtime.export import export_onnx
from gossamer.runtime.session import open_session
from gossamer.runtime.torch_operators import OPERATORS
from gossamer.runtime.weights import join_weights, serialize, split_weights


def differs(model: bytes, x: np.ndarray) -> float:
    """Largest difference to ONNX Runtime, a share of the largest output."""
    expected = open_session(model).run(x)[0]
    got = OnnxModule(model)(torch.from_numpy(x)).detach().numpy()
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).uniform(0.1, 1, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def one_operator(body: str, x: tuple[int, ...], y: int, constants: dict[str, np.ndarray] | None = None) -> bytes:
    """A model of a few operators on (N, *x) with y dimensions of output."""
    names = ["N", *(f"d{k}" for k in range(1, y))]
    text = f'<ir_version: 9, opset_import: ["": 20]> g (float[N, {", ".join(map(str, x))}] x) => '
    model = parser.parse_model(f"{text}(float[{', '.join(names)}] y) {{ {body} }}")
    model.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in (constants or {}).items())
    return serialize(model)


IMAGE = (4, 7, 6)
CASES: dict[str, tuple[str, int, dict[str, np.ndarray]]] = {
    "Conv": (
        "y = Conv<strides=[2,1], pads=[1,0,1,0], dilations=[1,2], group=2>(x, w, bb)",
        4,
        {
            "w": drawn(6, 2, 3, 2),
            "bb": drawn(6),
        },
    ),
    "Conv, padded on one side": ("y = Conv<pads=[0,1,1,0]>(x, w)", 4, {"w": drawn(5, 4, 2, 2)}),
    "ConvTranspose": (
        "y = ConvTranspose<strides=[2,2], pads=[1,1,0,1], output_padding=[1,0], group=2>(x, w, bb)",
        4,
        {
            "w": drawn(4, 3, 3, 3),
            "bb": drawn(6),
        },
    ),
    "Gemm": (
        "f = Flatten(x) y = Gemm<transB=1, alpha=0.5, beta=2.0>(f, w, bb)",
        2,
        {
            "w": drawn(5, 168),
            "bb": drawn(5),
        },
    ),
    "MatMul": ("y = MatMul(x, w)", 4, {"w": drawn(6, 5)}),
    "Add": ("y = Add(x, w)", 4, {"w": drawn(4, 1, 1)}),
    "Sub": ("y = Sub(w, x)", 4, {"w": drawn(4, 1, 1)}),
    "Mul": ("y = Mul(x, w)", 4, {"w": drawn(4, 1, 1)}),
    "Div": ("y = Div(x, w)", 4, {"w": drawn(4, 1, 1)}),
    "Pow": ("y = Pow(x, e)", 4, {"e": number(2)}),
    "Sqrt": ("a = Mul(x, x) y = Sqrt(a)", 4, {}),
    "PRelu": ("y = PRelu(x, w)", 4, {"w": drawn(4, 1, 1)}),
    "LeakyRelu": ("y = LeakyRelu<alpha=0.2>(x)", 4, {}),
    "Elu": ("y = Elu<alpha=0.7>(x)", 4, {}),
    "HardSigmoid": ("y = HardSigmoid<alpha=0.3, beta=0.4>(x)", 4, {}),
    "Gelu": ('y = Gelu<approximate="tanh">(x)', 4, {}),
    "Softmax": ("y = Softmax<axis=1>(x)", 4, {}),
    "Clip": ("y = Clip(x, low)", 4, {"low": number(-0.5)}),
    "BatchNormalization": (
        "y = BatchNormalization<epsilon=0.01>(x, w, bb, mmm, vvvv)",
        4,
        {
            "w": drawn(4),
            "bb": drawn(4),
            "mmm": drawn(4),
            "vvvv": drawn(4),
        },
    ),
    "LayerNormalization": (
        "y = LayerNormalization<axis=-1, epsilon=0.01>(x, w, bb)",
        4,
        {
            "w": drawn(6),
            "bb": drawn(6),
        },
    ),
    "MaxPool": ("y = MaxPool<kernel_shape=[3,2], strides=[2,2], pads=[1,0,1,0], ceil_mode=1>(x)", 4, {}),
    "MaxPool, padded on one side": ("y = MaxPool<kernel_shape=[2,2], pads=[0,0,1,1]>(x)", 4, {}),
    "AveragePool": ("y = AveragePool<kernel_shape=[3,2], strides=[2,2], pads=[1,1,1,1]>(x)", 4, {}),
    "AveragePool, with its zeros": (
        "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)",
        4,
        {},
    ),
    "GlobalAveragePool": ("y = GlobalAveragePool(x)", 4, {}),
    "ReduceMean": ("y = ReduceMean<keepdims=0>(x, a)", 2, {"a": ints(2, 3)}),
    "Resize": (
        'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , s)',
        4,
        {"s": np.array([1, 1, 2, 3], np.float32)},
    ),
    "Resize, linear": (
        'y = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(x, , , s)',
        4,
        {"s": ints(3, 4, 14, 9)},
    ),
    "Concat": ("a = Relu(x) y = Concat<axis=1>(x, a)", 4, {}),
    "Reshape": ("y = Reshape(x, s)", 3, {"s": ints(0, 2, -1)}),
    "Squeeze": ("p = GlobalAveragePool(x) y = Squeeze(p, a)", 2, {"a": ints(2, -1)}),
    "Unsqueeze": ("y = Unsqueeze(x, a)", 6, {"a": ints(-1, 1)}),
    "Transpose": ("y = Transpose<perm=[0, 2, 3, 1]>(x)", 4, {}),
    "Pad": ("y = Pad(x, p)", 4, {"p": ints(0, 1, 2, 0, 0, 3, 0, 1)}),
    "Pad, reflected": ('y = Pad<mode="reflect">(x, p)', 4, {"p": ints(0, 0, 2, 1, 0, 0, 1, 2)}),
    "Slice": (
        "y = Slice(x, s, e, a, t)",
        4,
        {"s": ints(1, -4), "e": ints(6, 9999), "a": ints(2, -1), "t": ints(2, 1)},
    ),
    "Split": ("a, b = Split<axis=2, num_outputs=2>(x) y = MatMul(b, w)", 4, {"w": drawn(6, 2)}),
    "Gather": ("y = Gather<axis=1>(x, i)", 4, {"i": ints(2, 0, -1)}),
    "Shape": ("s = Shape<end=2>(x) t = Concat<axis=0>(s, m) y = Reshape(x, t)", 3, {"m": ints(-1)}),
    "Expand": ("p = GlobalAveragePool(x) s = Shape(x) y = Expand(p, s)", 4, {}),
    "Cast": ("a = Cast<to=7>(x) y = Cast<to=1>(a)", 4, {}),
    "QuantizeLinear": (
        "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
        4,
        {"s": number(0.013), "z": np.array(120, np.uint8)},
    ),
} | {kind: (f"y = {kind}(x)", 4, {}) for kind in ("Relu", "Sigmoid", "HardSwish", "Tanh", "Erf", "Identity")}


@pytest.mark.parametrize("case", CASES)
def test_operators_compute_what_the_runtime_computes(case):
    body, dims, shapes = CASES[case]
    x = np.random.default_rng(0).standard_normal((3, *IMAGE)).astype(np.float32)
    model = one_operator(body, IMAGE, dims, shapes)
    assert differs(model, x) < 1e-5


def test_every_operator_has_a_case():
    bodies = " ".join(body for body, _, _ in CASES.values())
    assert [kind for kind in OPERATORS if f"{kind}(" not in bodies and f"{kind}<" not in bodies] == []


def test_an_unknown_operator_is_named():
    model = one_operator("y = Softsign(x)", (4, 4), 3)
    with pytest.raises(ValueError, match="trained through, got 'Softsign'"):
        OnnxModule(model)


class Small(nn.Module):
    """A residual network of depthwise and plain convolutions, in miniature."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8))
        self.point = nn.Conv2d(8, 8, 1)
        self.out = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.max_pool2d(F.relu(x + self.point(self.depthwise(x))), 2)
        logits: Tensor = self.out(x.mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def exported() -> bytes:
    torch.manual_seed(0)
    return export_onnx(Small().eval(), torch.zeros(2, 3, 8, 8))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)


def test_networks_compute_what_the_runtime_computes(exported, images):
    assert differs(exported, images) < 1e-5


def test_int8_networks_round_where_the_runtime_does(exported, images):
    """Sums of integers are exact in both; only a result half-way between two points may fall to either side."""
    int8 = quantize_int8(exported, [images], largest=64)
    assert differs(int8, images) < 0.02
    assert differs(int8, images) < 0.2 * relative_change(exported, int8, images)


def relative_change(a: bytes, b: bytes, x: np.ndarray) -> float:
    one, other = open_session(a).run(x)[0], open_session(b).run(x)[0]
    return float(np.abs(one - other).max() / np.abs(one).max())


def test_integers_stand_for_parameters_that_learn(exported, images):
    """Rounded in each pass to what the file held, or what they have become since; their gradient is of all of them."""
    weights = split_weights(exported)[1]
    int8 = quantize_int8(exported, [images], largest=64)
    module = OnnxModule(int8, weights, largest=64)
    x = torch.from_numpy(images)
    assert torch.equal(module(x), OnnxModule(int8)(x))
    module(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in module.parameters())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    on_grids = module.on_grids()
    assert on_grids.keys() == weights.keys()
    for name, values in on_grids.items():
        if name.endswith(".weight"):
            integers = values / module.value(f"{name}.scale").reshape(-1, *[1] * (values.ndim - 1))
            assert torch.allclose(integers, integers.round(), atol=1e-4)
            assert integers.abs().max() == pytest.approx(64, abs=1e-4)  # what is larger is cut off


def test_a_name_that_the_graph_lacks_is_refused(exported):
    with pytest.raises(ValueError, match="initializers, got 'other\\.weight'"):
        OnnxModule(exported, {"other.weight": np.zeros(3, np.float32)})


def test_biases_stay_where_sums_have_room(exported, images):
    """Of a dead filter the grid is so fine that the bias is as large an integer as can be: it cannot grow."""
    weights = {name: values.copy() for name, values in split_weights(exported)[1].items()}
    weights["point.weight"][:] = 0
    model = join_weights(split_weights(exported)[0], weights)
    int8 = quantize_int8(model, [images], largest=64)
    module = OnnxModule(int8, weights, largest=64)
    with torch.no_grad():
        module.value("point.bias").mul_(5)
    values = {name: value.numpy() for name, value in module.on_grids().items()}
    assert np.abs(values["point.bias"]).max() <= 1.001 * np.abs(weights["point.bias"]).max()
    written = with_values(int8, values)
    assert differs(written, images) < 0.02
    assert np.abs(open_session(written).run(images)[0] - module(torch.from_numpy(images)).detach().numpy()).max() < 0.1
