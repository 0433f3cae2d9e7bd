# SPDX-License-Identifier: Apache-2.0
"""int8 networks: the integers in the file, what runtimes make of them, and how close the outputs stay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper, parser
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.quantize.static_int8 import Grid, quantize_int8
from gossamer.runtime.export import export_onnx
from gossamer.runtime.saturation import largest_weight
from gossamer.runtime.session import available, open_session
from gossamer.runtime.weights import serialize

RNG = np.random.default_rng(0)


def made(body: str, shapes: dict[str, tuple[int, ...]], x: tuple[int, ...], outputs: str = "float y") -> bytes:
    """A model of some operators on an input (N, *x), with random weights and given int64 constants."""
    sizes = ", ".join(map(str, x))
    header = '<ir_version: 9, opset_import: ["": 20]>'
    model = parser.parse_model(f"{header} g (float[N, {sizes}] x) => ({outputs}) {{ {body} }}")
    for name, shape in shapes.items():
        values = np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return serialize(model)


def batch(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def tensors(model: bytes) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(model).graph.initializer}


def reader(model: bytes, operator: str) -> onnx.NodeProto:
    node: onnx.NodeProto = next(n for n in onnx.load_from_string(model).graph.node if n.op_type == operator)
    return node


def relative_error(a: bytes, b: bytes, x: np.ndarray, runtime: str = "onnxruntime") -> float:
    got, expected = open_session(a, runtime).run(x)[0], open_session(b).run(x)[0]
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def fused(model: bytes, folder: Path) -> Counter[str]:
    """The operators that ONNX Runtime really executes."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


class Small(nn.Module):
    """Convolutions, a depthwise one, an option-A shortcut, concatenation, pooling: one of each point of the table."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        self.depthwise = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
        )
        self.point = nn.Conv2d(16, 8, 1)
        self.fc = nn.Linear(24 * 2 * 2, 32)
        self.out = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.down(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))
        x = torch.cat([self.point(self.depthwise(x)), F.max_pool2d(x, 3, 1, 1)], 1)
        logits: Tensor = self.out(F.relu(self.fc(F.max_pool2d(x, 2).flatten(1))))
        return logits


@pytest.fixture(scope="module")
def patterns() -> tuple[Tensor, Tensor]:
    """Images (N, 3, 8, 8) of four noisy patterns, some hard to tell apart, and their classes."""
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.randn(4, 3, 8, 8, generator=generator)
    classes = torch.randint(4, (2048,), generator=generator)
    return prototypes[classes] + 2.5 * torch.randn(2048, 3, 8, 8, generator=generator), classes


@pytest.fixture(scope="module")
def trained(patterns: tuple[Tensor, Tensor]) -> bytes:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # a network this small is slower on two, much slower on a busy machine
    module, (images, classes) = Small(), patterns
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for k in range(60):
        part = slice(k % 8 * 128, k % 8 * 128 + 128)
        loss = F.cross_entropy(module(images[part]), classes[part])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return export_onnx(module, images[:2])


@pytest.fixture(scope="module")
def quantized(trained: bytes, patterns: tuple[Tensor, Tensor]) -> bytes:
    return quantize_int8(trained, [patterns[0][k : k + 64].numpy() for k in (0, 64)])


@pytest.mark.parametrize("runtime", list(available()))
def test_predictions_agree_with_the_float_network(
    trained: bytes, quantized: bytes, patterns: tuple[Tensor, Tensor], runtime: str
) -> None:
    images, classes = patterns[0][1024:].numpy(), patterns[1][1024:].numpy()
    expected = open_session(trained).run(images)[0].argmax(1)
    got = open_session(quantized, runtime).run(images)[0].argmax(1)
    assert 0.5 < np.mean(expected == classes) < 0.999  # the network has learned, and not everything is easy
    assert np.mean(got == expected) >= 0.97


def test_the_file_keeps_integers(trained: bytes, quantized: bytes) -> None:
    before, after = tensors(trained), tensors(quantized)
    weights = [name for name in before if name.endswith(".weight")]
    assert len(weights) == 6
    for name in weights:
        scale = after[f"{name}.scale"]
        assert after[name].dtype == np.int8
        assert scale.shape == (before[name].shape[0],)
        shape = [-1] + [1] * (before[name].ndim - 1)
        assert np.abs(after[name] * scale.reshape(shape) - before[name]).max() <= scale.max() * 0.5001
        bias = name.replace("weight", "bias")
        assert after[bias].dtype == np.int32
    assert len(quantized) < 0.5 * len(trained)
    onnx.checker.check_model(quantized, full_check=True)


def test_onnx_runtime_computes_in_integers(quantized: bytes, tmp_path: Path) -> None:
    operators = fused(quantized, tmp_path)
    assert operators["QLinearConv"] == 4
    assert operators["QGemm"] == 2
    assert (operators["QLinearAdd"], operators["QLinearConcat"]) == (1, 1)
    assert not {"Conv", "Gemm", "Add", "Concat", "Relu", "Clip", "DequantizeLinear"} & set(operators)
    assert operators["QuantizeLinear"] == 1  # the input


@pytest.mark.parametrize("method", ["mse", "minmax", "percentile"])
def test_every_method_stays_close(trained: bytes, patterns: tuple[Tensor, Tensor], method: str) -> None:
    images = patterns[0][:128].numpy()
    assert relative_error(quantize_int8(trained, [images], method), trained, images) < 0.1


def test_calibrating_in_parts_gives_the_same_bytes(
    trained: bytes, quantized: bytes, patterns: tuple[Tensor, Tensor]
) -> None:
    assert quantize_int8(trained, [patterns[0][:128].numpy()]) == quantized


def test_skipped_layers_stay_float(trained: bytes, quantized: bytes, patterns: tuple[Tensor, Tensor]) -> None:
    images = [patterns[0][:64].numpy()]
    kept = tensors(quantize_int8(trained, images, skip=("stem.0", "fc")))
    for name, array in tensors(trained).items():
        stays = name.startswith(("stem.0", "fc")) or array.dtype == np.int64 or array.ndim == 0
        assert (kept[name].dtype == array.dtype) == stays, name
    with pytest.raises(ValueError, match=r"expected layers of this network in skip, got 'stem'; it has stem.0, "):
        quantize_int8(trained, images, skip=("stem",))


def test_a_weight_on_a_grid_keeps_its_integers() -> None:
    model = onnx.load_from_string(made("y = Conv (x, w)", {"w": (4, 3, 1, 1)}, (3, 2, 2)))
    integers = RNG.integers(-7, 8, (4, 3, 1, 1))
    units = np.array([0.1, 0.2, 0.3, 1e-3], np.float32)
    units_for_3 = np.float32(0.3)
    weight = (integers * units.reshape(-1, 1, 1, 1)).astype(np.float32)
    weight[3] = [[[0.2]], [[0.001]], [[0.1]]]  # 200 units: does not fit, so this channel gets a scale of its own
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    after = tensors(quantize_int8(serialize(model), [batch(8, 3, 2, 2)], units={"w": units}))
    np.testing.assert_array_equal(after["w"][:3], integers[:3])
    np.testing.assert_array_equal(after["w.scale"][:3], units[:3])
    assert after["w.scale"][3] * largest_weight() == pytest.approx(0.2)
    one_unit = quantize_int8(serialize(model), [batch(8, 3, 2, 2)], units={"w": np.array([units_for_3])})
    np.testing.assert_array_equal(tensors(one_unit)["w.scale"], np.full(4, units_for_3))


@pytest.mark.parametrize("largest", [64, 127])
def test_weights_keep_to_the_largest_integer(largest) -> None:
    model = made("y = Conv (x, w)", {"w": (4, 3, 1, 1)}, (3, 2, 2))
    after = tensors(quantize_int8(model, [batch(8, 3, 2, 2)], largest=largest))
    np.testing.assert_array_equal(np.abs(after["w"].astype(int)).max((1, 2, 3)), np.full(4, largest))
    with pytest.raises(ValueError, match="expected a largest weight of 1 to 127, got 128"):
        quantize_int8(model, [batch(8, 3, 2, 2)], largest=128)


def test_numbers_are_moved_as_integers() -> None:
    """Through a signed activation, whose zero is not the integer 0: padding must put in the zero point."""
    body = """
        a = Conv (x, w)
        s = Slice (a, starts, ends, axes, steps)
        p = Pad (s, pads)
        m = MaxPool <kernel_shape=[2, 2], pads=[1, 1, 1, 1]> (p)
        q, r = Split <axis=1, num_outputs=2> (m)
        c = Concat <axis=1> (q, r, m)
        t = Transpose <perm=[0, 2, 3, 1]> (c)
        z = Resize <mode="nearest"> (t, , scales)
        v = Reshape (z, shape)
        y = Gemm (v, u)
    """
    model = onnx.load_from_string(made(body, {"w": (4, 3, 1, 1), "u": (256, 5)}, (3, 6, 6)))
    constants = {"starts": [0, 0], "ends": [6, 6], "axes": [2, 3], "steps": [2, 1], "pads": [0, 1, 0, 0, 0, 1, 0, 1]}
    constants |= {"shape": [-1, 256]}
    arrays = {name: np.array(value) for name, value in constants.items()}
    arrays["scales"] = np.array([1, 1, 1, 2 / 3], np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    x = batch(32, 3, 6, 6)
    after = quantize_int8(serialize(model), [x], "minmax")
    quantized = [node.input[0] for node in onnx.load_from_string(after).graph.node if node.op_type == "QuantizeLinear"]
    assert quantized == ["x", "a", "c"]  # the input, and what the convolution and the concatenation compute
    assert tensors(after)["a.zero"] > 0
    assert list(reader(after, "Pad").input)[:3] == ["s.int", "pads", "a.zero"]
    for runtime in available():
        assert relative_error(after, serialize(model), x, runtime) < 0.02


OTHERS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "transposed and grouped": (
        "a = ConvTranspose <group=2, strides=[2, 2]> (x, w, b) y = Relu (a)",
        {"w": (4, 3, 2, 2), "b": (6,)},
    ),
    "gated": (
        "a = Conv (x, w) s = Sigmoid (a) m = Mul (a, s) y = AveragePool <kernel_shape=[2, 2]> (m)",
        {"w": (8, 4, 3, 3)},
    ),
    "two activations": (
        "a = Reshape (x, rows) m = MatMul (a, w) t = Transpose <perm=[0, 2, 1]> (m) y = MatMul (m, t)",
        {"w": (36, 5)},
    ),
    "shared weight and bias": (
        "a = Conv <pads=[1, 1, 1, 1]> (x, w, b) r = Relu (a) y = Conv <pads=[1, 1, 1, 1]> (r, w, b)",
        {"w": (4, 4, 3, 3), "b": (4,)},
    ),
    "norm in front": (
        "n = BatchNormalization (x, g, g, g, v) r = Relu (n) y = Conv (r, w)",
        {"g": (4,), "w": (4, 4, 1, 1)},
    ),
    "padded by reflection": ('a = Conv (x, w) p = Pad <mode="reflect"> (a, pads) y = Add (p, p)', {"w": (4, 4, 1, 1)}),
    "padded with ones": ("a = Conv (x, w) p = Pad (a, pads, one) y = Add (p, p)", {"w": (4, 4, 1, 1)}),
    "constant added": ("a = Conv (x, w) s = Add (a, c) y = Add (s, a)", {"w": (4, 4, 1, 1), "c": (1, 1, 6, 6)}),
    "moved to the output": ("a = Conv (x, w) y = MaxPool <kernel_shape=[2, 2]> (a)", {"w": (4, 4, 1, 1)}),
}


@pytest.mark.parametrize("runtime", list(available()))
@pytest.mark.parametrize("case", OTHERS)
def test_other_operators_stay_close(case: str, runtime: str) -> None:
    model = onnx.load_from_string(made(*OTHERS[case], (4, 6, 6)))
    fixed = {
        "v": np.array([0.5, 1.0, 2.0, 3.0], np.float32),
        "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]),
        "one": np.array(1.0, np.float32),
        "rows": np.array([-1, 4, 36]),
    }
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in fixed.items() if name in used)
    data = batch(16, 4, 6, 6)
    after = quantize_int8(serialize(model), [data], "minmax")
    assert any(array.dtype == np.int8 for array in tensors(after).values())
    assert relative_error(after, serialize(model), data, runtime) < 0.05


def test_a_bias_read_twice_stays_float() -> None:
    """ONNX Runtime takes an integer bias to have the scale of its own layer's input; two inputs, two scales."""
    body = "a = Conv (x, w, b) s = Mul (a, a) y = Conv (s, u, b)"
    after = tensors(
        quantize_int8(made(body, {"w": (3, 3, 1, 1), "u": (3, 3, 1, 1), "b": (3,)}, (3, 4, 4)), [batch(4, 3, 4, 4)])
    )
    assert [after[name].dtype.name for name in "bwu"] == ["float32", "int8", "int8"]


def test_dead_channels_and_huge_biases() -> None:
    model = onnx.load_from_string(made("y = Conv (x, w, b)", {"w": (3, 3, 1, 1)}, (3, 4, 4)))
    weight = tensors(serialize(model))["w"].copy()
    weight[0] = 0
    weight[1] *= 1e-12
    bias = np.array([1.5, -2.5, 1e6], np.float32)
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in {"w": weight, "b": bias}.items())
    after = quantize_int8(serialize(model), [batch(8, 3, 4, 4)])
    (y,) = open_session(after).run(batch(8, 3, 4, 4))
    np.testing.assert_allclose(y[:, 0], 1.5, rtol=1e-4)
    np.testing.assert_allclose(y[:, 1], -2.5, rtol=1e-4)
    np.testing.assert_allclose(y[:, 2], 1e6, rtol=1e-4)


def test_grids_hold_zero_exactly() -> None:
    for low, high in ((0.0, 6.0), (-1.0, 1.0), (0.5, 2.0), (-3.0, -1.0), (0.0, 0.0)):
        grid = Grid.over(low, high)
        assert 0 <= grid.zero <= 255
        assert grid.scale > 0
        assert grid.scale * (255 - grid.zero) >= high - grid.scale
        assert -grid.scale * grid.zero <= low + grid.scale


def test_wrong_requests(trained: bytes) -> None:
    images = batch(4, 3, 8, 8)
    with pytest.raises(ValueError, match="expected a method of mse, minmax, percentile, got 'kl'; choose one"):
        quantize_int8(trained, [images], "kl")
    with pytest.raises(ValueError, match=r"expected calibration batches \(N, C, H, W\), got none"):
        quantize_int8(trained, [])
    with pytest.raises(ValueError, match="expected finite values, got a range of nan to nan in activation 'input0'"):
        quantize_int8(trained, [images * np.float32(np.nan)])
    two = parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> g (float[N, 3] x, float[N, 3] z) => (float[N, 3] y) { y = Add (x, z) }'
    )
    with pytest.raises(ValueError, match="expected a network with one input, got 2"):
        quantize_int8(serialize(two), [images])
