# SPDX-License-Identifier: Apache-2.0
"""Tiny ONNX networks that give scores for every pixel, and images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from gossamer import container
from gossamer.container import Payload, Tensor
from gossamer.data.preprocess import Preprocess
from gossamer.runtime.weights import serialize, split_weights

Dimension = int | str


def network(
    nodes: Sequence[tuple[str, Sequence[str], str]],
    channels: Dimension = 3,
    size: tuple[Dimension, Dimension] = ("height", "width"),
    batch: Dimension = "batch",
    dtype: int = TensorProto.FLOAT,
    **constants: np.ndarray,
) -> bytes:
    """A network from x to y; each node is (operator, inputs, output), convolutions keep the size."""
    made = []
    for operator, inputs, output in nodes:
        options = {"pads": [1] * 4} if operator == "Conv" and constants[inputs[1]].shape[-1] == 3 else {}
        options |= {"axis": 1} if operator == "Concat" else {}
        made.append(helper.make_node(operator, list(inputs), [output], **options))
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", dtype, [batch, channels, *size])],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return serialize(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9))


def kernel(*shape: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    return values.astype(np.float32)


#: A pixel is class 1 where it is brighter than 127.
BRIGHT = network([("Sub", "xb", "y")], channels=1, b=np.full((1, 1, 1, 1), 127.5 / 255, np.float32))
#: Three classes: which channel of the pixel is the highest.
CHANNEL = network([("Identity", "x", "y")])
#: Two convolutions, which see two pixels far; four classes.
CONVOLUTIONS = network(
    [("Conv", "xv", "a"), ("Relu", "a", "b"), ("Conv", "bw", "y")], v=kernel(8, 3, 3, 3), w=kernel(4, 8, 3, 3, seed=1)
)


@pytest.fixture
def write_onnx(tmp_path) -> Callable[..., Path]:
    """Writes bytes as an .onnx file."""

    def write(model: bytes, name: str = "net.onnx") -> Path:
        (tmp_path / name).write_bytes(model)
        return tmp_path / name

    return write


@pytest.fixture
def write_gossamer(tmp_path) -> Callable[..., Path]:
    """Writes ONNX bytes as a .gossamer file, with a preprocessing and names of classes."""

    def write(model: bytes, preprocess: Preprocess, classes: tuple[str, ...] = (), name: str = "net.gossamer") -> Path:
        graph, weights = split_weights(model)
        tensors = tuple(Tensor.exact(key, value) for key, value in weights.items())
        container.write(tmp_path / name, Payload(graph, tensors, preprocess.to_json(), classes, {}), {})
        return tmp_path / name

    return write


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def indices(path: Path) -> np.ndarray:
    """What a program reads from a mask."""
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.array(image)
