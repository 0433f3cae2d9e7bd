# SPDX-License-Identifier: Apache-2.0
"""Every target, where its packages are: the same numbers in its own runtime, int8 kept, ports that say what goes in."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from gossamer.cli_export import TARGETS as NAMES
from gossamer.exporters import TARGETS
from gossamer.exporters.check import INT8, check
from gossamer.runtime.session import open_session
from tests.exporters.networks import BODIES, PREPROCESS, float_network, images, int8_network

MODULES = {
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "litert": ("litert_torch", "ai_edge_litert"),
    "executorch": ("executorch",),
    "ncnn": ("ncnn", "pnnx"),
}
HERE = [name for name in TARGETS if all(importlib.util.find_spec(module) for module in MODULES[name])]
MISSING = [name for name in TARGETS if name not in HERE]
FIXED = {"litert", "executorch", "ncnn"}  # to one image a batch


def test_the_command_line_knows_all_targets():
    assert set(NAMES) == set(TARGETS) == set(MODULES)
    assert {"onnx", "openvino"} <= set(HERE) or "openvino" in MISSING


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", BODIES)
def test_a_float_network(target, name):
    skip_without(target)
    model = float_network(name)
    exported = TARGETS[target].export(model, images(1))
    agreement = check(TARGETS[target], exported, model, PREPROCESS)
    assert agreement.difference < 1e-5
    assert agreement.different in (0, None)
    (expected,) = open_session(model).run(images(2))
    assert exported.outputs[0].shape == (1 if target in FIXED else None, *expected.shape[1:])
    assert next(iter(exported.files)) == TARGETS[target].ending


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "ncnn"])
@pytest.mark.parametrize("name", BODIES)
def test_an_int8_network(target, name):
    skip_without(target)
    model = int8_network(name)
    exported = TARGETS[target].export(model, images(1))
    assert check(TARGETS[target], exported, model, PREPROCESS, limit=INT8).difference < 0.05


def test_ncnn_says_that_it_takes_no_int8():
    """Before it asks for packages: nobody installs them in vain."""
    with pytest.raises(ValueError, match="expected a float network for --to ncnn"):
        TARGETS["ncnn"].export(int8_network("places"), images(1))


def test_litert_reads_channels_last_and_int8_from_its_input_on():
    skip_without("litert")
    exported = TARGETS["litert"].export(int8_network("shortcut"), images(1))
    assert (exported.input.shape, exported.input.layout) == ((1, 16, 16, 3), "NHWC")
    assert exported.input.dtype == "int8"
    x = images(1)
    assert np.abs(exported.input.decoded(exported.input.encoded(x)) - x).max() < 0.51 * exported.input.scale


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "onnx"])
def test_int8_networks_are_smaller(target):
    skip_without(target)
    if target == "ncnn":
        pytest.skip("ncnn takes no int8")
    weights = ".bin" if target == "openvino" else TARGETS[target].ending
    wide = wide_network()
    from gossamer.quantize.static_int8 import quantize_int8

    sizes = [
        len(TARGETS[target].export(model, images(1)).files[weights])
        for model in (wide, quantize_int8(wide, [images(4)]))
    ]
    assert sizes[1] < 0.5 * sizes[0]


def wide_network() -> bytes:
    """A layer of 37,000 weights, so that they are what a file holds."""
    from tests.exporters.networks import network

    body = """
    a = Conv<strides=[2,2]>(input0, w0, b0)
    b = Relu(a)
    c = Conv<strides=[2,2]>(b, w1, b1)
    d = Relu(c)
    output0 = ReduceMean<keepdims=0>(d, axes)
    """
    return network("", body, {"w0": (64, 3, 3, 3), "b0": (64,), "w1": (64, 64, 3, 3), "b1": (64,)}, {"axes": [2, 3]})


@pytest.mark.parametrize(
    ("target", "module", "package"),
    [
        ("openvino", "openvino", "openvino"),
        ("litert", "litert_torch", "litert-torch"),
        ("litert", "ai_edge_litert", "ai-edge-litert"),
        ("executorch", "executorch", "executorch"),
        ("ncnn", "ncnn", "ncnn"),
        ("ncnn", "pnnx", "pnnx"),
    ],
)
def test_a_missing_package_is_named(target, module, package, monkeypatch):
    import sys

    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    others = set(MODULES[target]) - {module}
    if not all(importlib.util.find_spec(other) for other in others):
        pytest.skip("another package of this target is missing, and is named first")
    with pytest.raises(
        ValueError, match=rf"^expected the package {package} for --to {target}, it is not .*pip install"
    ):
        TARGETS[target].export(float_network("places"), images(1))


def skip_without(target: str) -> None:
    if target in MISSING:
        pytest.skip(f"{' or '.join(MODULES[target])} is not installed")
