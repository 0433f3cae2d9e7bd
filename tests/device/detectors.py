# SPDX-License-Identifier: Apache-2.0
"""A detector made by hand, which finds red and green squares, and pictures with such squares.

It reads 16 x 16 pixels and looks at each of 4 x 4 cells: a cell that is red is class 0, one that is green class 1, with
the cell as its box. So what is to be found in a picture of squares is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from gossamer import container
from gossamer.container import Payload, Tensor
from gossamer.data.preprocess import Preprocess
from gossamer.detection import Head, Level
from gossamer.runtime.weights import serialize, split_weights

CELLS = 4
HEAD = Head((Level(CELLS, CELLS, ((1 / CELLS, 1 / CELLS),)),), "offsets", "sigmoid", classes=2)
PREPROCESS = Preprocess((0.0,) * 3, (1.0,) * 3, 16)
CLASSES = ("cherry", "leaf")
COLOURS = ((255, 0, 0), (0, 255, 0))
STEEPNESS = 20.0  # a cell of half a colour has a score of one half

Square = tuple[int, int, int]  #: class, row and column of the cell


def squares_network(anchors: int = CELLS * CELLS, side: int | str = 16, factor: float = 1.0) -> bytes:
    """ONNX bytes of (1, 3, 16, 16) -> (1, anchors, 6)"""
    weight = np.zeros((6, 3, 4, 4), np.float32)
    weight[4, 0] = weight[5, 1] = STEEPNESS / 16 * factor
    weight[4, 1] = weight[5, 0] = -STEEPNESS / 16 * factor  # what is red and green, or white, is neither
    bias = np.array([0, 0, 0, 0, -STEEPNESS / 2, -STEEPNESS / 2], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], strides=[4, 4]),
            helper.make_node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", ["t", "s"], ["y"]),
        ],
        "squares",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(value, name)
            for name, value in {"w": weight, "b": bias, "s": np.array([-1, anchors, 6])}.items()
        ],
    )
    return serialize(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9))


SQUARES = squares_network()


def write_detector(
    path: Path,
    model: bytes = SQUARES,
    head: object = HEAD,
    classes: tuple[str, ...] = CLASSES,
    preprocess: Preprocess = PREPROCESS,
) -> Path:
    """A .gossamer file with a head in its plan; none where it is None."""
    graph, weights = split_weights(model)
    tensors = tuple(Tensor.exact(key, value) for key, value in weights.items())
    plan = {} if head is None else {"head": head.to_json() if isinstance(head, Head) else head}
    container.write(path, Payload(graph, tensors, preprocess.to_json(), classes, plan), {})
    return path


def scene(width: int, height: int, squares: Iterable[Square]) -> Image.Image:
    """A grey picture with squares."""
    picture = Image.new("RGB", (width, height), (90, 90, 90))
    for kind, row, column in squares:
        box = (
            column * width // CELLS,
            row * height // CELLS,
            (column + 1) * width // CELLS,
            (row + 1) * height // CELLS,
        )
        picture.paste(COLOURS[kind], box)
    return picture


def save_scene(path: Path, width: int, height: int, squares: Iterable[Square], **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scene(width, height, squares).save(path, **options)
    return path
