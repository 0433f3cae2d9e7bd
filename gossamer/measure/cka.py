# SPDX-License-Identifier: Apache-2.0
"""How alike two networks see images, layer by layer: linear centred kernel alignment (CKA).

    CKA(X, Y) = <K, L> / (|K| |L|)        K = H X X^T H, L = H Y Y^T H, H centres; <., .> of all entries

X (N, features of one layer) and Y (N, features of the other's) for the same N images; whether the layers have equally
many features does not matter. 1: the same up to a turn and a scale; 0: nothing in common.

Source: S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of Neural Network Representations Revisited",
ICML 2019, arXiv 1905.00414, section 3, from examples' inner products, so that features may be many.

Differs from the paper: layers are compared by their outputs as the deployed network computes them, batch norms folded
in and before the activation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from gossamer.runtime.onnx_graph import LINEAR
from gossamer.runtime.session import open_session

FEWEST = 3  # images; of two, any two networks would be alike


def similarities(original: bytes, compressed: bytes, images: NDArray[np.float32]) -> dict[str, float]:
    """CKA of each convolution and linear layer that both ONNX networks have, by its weight, in the original's order.

    `images` (N, C, H, W) as the networks read them. ValueError where no layer is in both, or images are too few.
    """
    if len(images) < FEWEST:
        raise ValueError(f"expected at least {FEWEST} images to compare networks by, got {len(images)}")
    layers = [_outputs_of_layers(onnx.load_from_string(model)) for model in (original, compressed)]
    shared = [name for name in layers[0] if name in layers[1]]
    if not shared:
        raise ValueError("expected networks with layers of the same names, got two that share none")
    first, second = (
        _kernels(model, [of[name] for name in shared], images)
        for model, of in zip((original, compressed), layers, strict=True)
    )
    return {name: alignment(*pair) for name, *pair in zip(shared, first, second, strict=True)}


def alignment(kernel: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """CKA from two matrices of inner products, (N, N) each; NaN where one of them sees all images alike.

    >>> x = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> alignment(x @ x.T, (3 * x) @ (3 * x).T)
    1.0
    """
    first, second = _centred(kernel), _centred(other)
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return round(float((first * second).sum()) / size, 12) if size else float("nan")


def _centred(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = kernel - kernel.mean(0)
    centred: NDArray[np.float64] = rows - rows.mean(1, keepdims=True)
    return centred


def _outputs_of_layers(model: onnx.ModelProto) -> dict[str, str]:
    """The tensor that each layer gives, by the name of its weight; weights may be stored as integers."""
    weights = {tensor.name for tensor in model.graph.initializer}
    meant = {name: name for name in weights}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            meant[node.output[0]] = node.input[0]
    return {
        meant[node.input[1]]: node.output[0]
        for node in model.graph.node
        if node.op_type in LINEAR and node.input[1] in meant
    }


def _kernels(model: bytes, tensors: Sequence[str], images: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Inner products of the images' features, (N, N) for each of the tensors."""
    tapped = onnx.load_from_string(model)
    there = {value.name for value in tapped.graph.output}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in there)
    names = [value.name for value in tapped.graph.output]
    outputs = dict(zip(names, open_session(tapped.SerializeToString()).run(images), strict=True))
    flat = (outputs[name].reshape(len(images), -1).astype(np.float64) for name in tensors)
    return [features @ features.T for features in flat]
