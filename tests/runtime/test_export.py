# SPDX-License-Identifier: Apache-2.0
"""Export: the same function, the settled names, a small and deterministic file, errors that name the line."""

from __future__ import annotations

import zlib
from typing import TypeVar

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.runtime import export, onnx_graph
from gossamer.runtime.export import export_onnx
from gossamer.runtime.session import open_session
from gossamer.runtime.weights import split_weights

Net = TypeVar("Net", bound=nn.Module)


def test_the_table_of_operators_is_made_once_and_nothing_of_it_is_left_behind(monkeypatch):
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    before, made = vars(ONNXRegistry)["from_torchlib"], []
    monkeypatch.setattr(export, "_tables", {})
    slow = ONNXRegistry._register
    monkeypatch.setattr(ONNXRegistry, "_register", lambda self, *given: (made.append(1), slow(self, *given)))
    net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.zeros(2, 3, 8, 8)
    first, count = export_onnx(net, x), len(made)
    assert count > 100
    assert (export_onnx(net, x), len(made)) == (first, count)
    assert vars(ONNXRegistry)["from_torchlib"] is before


class Twins(nn.Module):
    """Two branches that read the same, and a third layer of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.left, self.right, self.after = (
            nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.after(F.relu(self.left(x)) + F.relu(self.right(x)))


@pytest.mark.parametrize("value", [0.0, 0.5], ids=["zeros", "numbers"])
def test_layers_whose_weights_are_equal_keep_their_own(value):
    """The optimizer's own pass lets small ones share a tensor, and of equal branches one would be left."""
    net = Twins().eval()
    for name in ("left", "right", "after"):
        nn.init.constant_(net.get_submodule(f"{name}.0").weight, value)
        nn.init.uniform_(net.get_submodule(f"{name}.1").bias, 1, 2)
    graph, weights = split_weights(export_onnx(net, torch.zeros(2, 3, 8, 8)))
    wanted = {f"{name}.{of}" for name in ("stem", "left.0", "right.0", "after.0") for of in ("weight", "bias")}
    assert set(weights) == wanted
    assert [node.op_type for node in onnx.load_from_string(graph).graph.node].count("Conv") == 4


class Block(nn.Module):
    """Residual block of a CIFAR ResNet; the shortcut drops pixels and pads channels."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.more = (outer - inner) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
        return F.relu(x + y)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.linear = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.layer1(F.relu(self.bn1(self.conv1(x)))).mean((2, 3)))
        return logits


class Mixed(nn.Module):
    """What else stands in CNNs: depthwise, transposed and biased layers, a scale, a linear of features, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=True)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2, groups=2)
        self.norm3 = nn.BatchNorm2d(6)
        self.scale = nn.Parameter(torch.rand(6, 1, 1) + 0.5)
        self.fc = nn.Linear(6, 7)
        self.norm4 = nn.BatchNorm1d(7)
        self.mixer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu6(self.norm2(self.depthwise(F.relu6(self.norm(self.stem(x))))))
        x = self.norm3(self.up(x)) * self.scale
        return self.norm4(self.fc(F.dropout(x.mean((2, 3)), 0.5, self.training))), self.mixer(x.permute(0, 2, 3, 1))


def ready(module: Net) -> Net:
    """Batch norms as after training, drawn at random."""
    generator = torch.Generator().manual_seed(0)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (child.weight, child.bias, child.running_mean, child.running_var):
                assert isinstance(tensor, Tensor)
                tensor.data.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


@pytest.fixture(scope="module")
def residual() -> Residual:
    torch.manual_seed(0)
    return ready(Residual())


@pytest.fixture(scope="module")
def exported(residual: Residual) -> bytes:
    return export_onnx(residual, torch.randn(1, 3, 16, 16))


def test_names_and_operators(exported: bytes) -> None:
    _, weights = split_weights(exported)
    layers = ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2", "linear"]
    assert list(weights) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    graph = onnx.load_from_string(exported).graph
    assert {node.op_type for node in graph.node} == {"Conv", "Relu", "Add", "Slice", "Pad", "ReduceMean", "Gemm"}
    assert [value.name for value in (*graph.input, *graph.output)] == ["input0", "output0"]
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.input, *graph.output)] == ["N", "N"]
    onnx.checker.check_model(exported, full_check=True)


def test_the_graph_without_weights_is_tiny(exported: bytes) -> None:
    graph, _ = split_weights(exported)
    assert len(zlib.compress(graph, 9)) < 800
    assert b"forward" not in graph
    assert b"aten" not in graph


def test_same_module_same_bytes(residual: Residual, exported: bytes) -> None:
    residual.train()
    residual.layer1.eval()
    assert export_onnx(residual, torch.zeros(5, 3, 16, 16)) == exported
    assert residual.training
    assert residual.conv1.training
    assert not residual.layer1.training
    residual.eval()


def test_any_batch_size(residual: Residual, exported: bytes) -> None:
    for n in (1, 2, 7):
        x = torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(n))
        (y,) = open_session(exported).run(x.numpy())
        np.testing.assert_allclose(y, residual(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_every_norm_and_scale_is_folded() -> None:
    torch.manual_seed(1)
    module = ready(Mixed())
    module.stem.weight.data = module.stem.weight.data.contiguous(memory_format=torch.channels_last)
    model = export_onnx(module, torch.randn(2, 3, 12, 12))
    operators = [node.op_type for node in onnx.load_from_string(model).graph.node]
    assert "BatchNormalization" not in operators
    assert "Mul" not in operators
    _, weights = split_weights(model)
    layers = ("stem", "depthwise", "up", "fc", "mixer")
    assert set(weights) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    x = torch.randn(3, 3, 12, 12)
    for got, expected in zip(open_session(model).run(x.numpy()), module(x), strict=True):
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


class Pointwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)


class Decides(Pointwise):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) if x.sum() > 0 else x
        return y


class FixesTheBatch(Pointwise):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).view(2, 3, -1)
        return y


class Decomposes(Pointwise):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.svdvals(self.conv(x))
        return y


class Draws(Pointwise):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.conv(x), 0.5, training=True)


class OneGroupAnImage(Pointwise):
    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        weight = self.conv.weight.repeat(n, 1, 1, 1)
        return nn.functional.conv2d(x.view(1, n * c, h, w), weight, groups=n).view(n, -1, h, w)


class Doubles(Pointwise):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) * 2
        return y


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Decides,
            r"can trace, got .+ at .*test_export.py:\d+: y: Tensor = self.conv\(x\) if x.sum\(\) > 0 else x; rewrite",
        ),
        (
            FixesTheBatch,
            r"any batch size, got one that only takes 2 at .+: y: Tensor = self.conv\(x\).view\(2, 3, -1\); use",
        ),
        (
            Decomposes,
            r"operators that ONNX opset 20 has, got .+svd.+ at .+: y: Tensor = torch.linalg.svdvals\(self.conv\(x\)\)",
        ),
        (OneGroupAnImage, r"got one whose attribute .+ depends on the batch size at .+: return nn.functional.conv2d"),
        (Draws, r"a deterministic network, got two different outputs for one input; remove random"),
    ],
)
def test_what_cannot_be_exported_is_named(
    network: type[nn.Module], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=message):
        export_onnx(network(), torch.ones(1, 3, 3, 5))
    assert capfd.readouterr() == ("", "")


def test_other_float_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a float32 network, got torch.float64 for 'weight'; call module.float\(\)"):
        export_onnx(nn.Conv2d(3, 3, 1).double(), torch.ones(1, 3, 3, 3).double())


def test_a_wrong_translation_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    translate = export._translate

    def with_another_bias(exported: torch.export.ExportedProgram) -> torch.onnx.ONNXProgram:
        program = translate(exported)
        program.model.graph.initializers["1.bias"].const_value = onnx_ir.tensor(np.ones(4, np.float32))
        return program

    monkeypatch.setattr(export, "_translate", with_another_bias)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.ReLU())
    with pytest.raises(ValueError, match=r"relative error of .+ that begins at operator aten.conv2d.default"):
        export_onnx(net, torch.ones(1, 3, 3, 3))


def test_a_wrong_folding_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "_scaled", lambda weight, *rest: weight)
    with pytest.raises(ValueError, match=r"relative error of .+ that begins at the folding of batch norms"):
        export_onnx(Doubles(), torch.ones(1, 3, 3, 3))
