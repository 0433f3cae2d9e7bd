# SPDX-License-Identifier: Apache-2.0
"""The codes of a head: four numbers become a box and back, the others become scores. Needs numpy alone.

An anchor has a centre (x, y) and a size (w, h), a cell a corner (x, y) and a size (w, h); both are relative to the
picture, as boxes are. v are the variances of the head. `decode` computes corners from a centre and a size:

    coding      decode                                                              encode
    offsets     centre = (x + v0 t0 w, y + v1 t1 h)                                 t0 = (centre_x - x) / (v0 w), ...
                size = (w exp(min(v2 t2, LARGEST)), h exp(min(v3 t3, LARGEST)))     t2 = log(size_x / w) / v2, ...
    distances   corners = (x - t0 w, y - t1 h, x + t2 w, y + t3 h)                  t0 = (x - x1) / w, ...
    cells       centre = (x + tanh(t0) w, y + tanh(t1) h)
                size = (sigmoid(t2), sigmoid(t3))

    scoring     numbers e                          score of class k
    softmax     background, classes                softmax(e)[1 + k]
    sigmoid     classes                            sigmoid(e[k])
    centred     classes, centredness               sqrt(sigmoid(e[k]) sigmoid(e[last]))
    objectness  objectness, classes                sigmoid(e[0])^0.6 softmax(e[1:])[k]^0.4

Sources: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, section 2.2, with the variances of its Caffe code;
Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 4; Tian et al., "FCOS: A Simple and Strong
Anchor-free Object Detector", PAMI 2020, with distances relative to the anchor as torchvision has them; FastestDet,
github.com/dog-qiuqiu/FastestDet. LARGEST is torchvision's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

LARGEST = math.log(1000 / 16)  # of an exponent: no box is larger than 62.5 times its anchor
OBJECT_POWER, CLASS_POWER = 0.6, 0.4


def decode_offsets(numbers: Values, anchors: Values, variances: tuple[float, ...]) -> Values:
    """(..., A, 4), (A, 4) -> corners (..., A, 4)"""
    scaled = numbers * np.array(variances, np.float32)
    centres = anchors[:, :2] + scaled[..., :2] * anchors[:, 2:]
    growth = np.exp(np.minimum(scaled[..., 2:], LARGEST, dtype=np.float32))
    return _corners(centres, np.asarray(anchors[:, 2:] * growth, np.float32))


def encode_offsets(boxes: Values, anchors: Values, variances: tuple[float, ...]) -> Values:
    """Corners (..., 4) of boxes with an area, anchors (..., 4) -> (..., 4)"""
    centres, sizes = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    moved = (centres - anchors[..., :2]) / anchors[..., 2:]
    scaled = np.concatenate([moved, np.log(sizes / anchors[..., 2:])], axis=-1)
    return np.asarray(scaled / np.array(variances), np.float32)


def decode_distances(numbers: Values, anchors: Values) -> Values:
    """(..., A, 4), (A, 4) -> corners (..., A, 4)"""
    centres, sizes = anchors[:, :2], anchors[:, 2:]
    return np.concatenate([centres - numbers[..., :2] * sizes, centres + numbers[..., 2:] * sizes], axis=-1)


def encode_distances(boxes: Values, anchors: Values) -> Values:
    """Corners (..., 4), anchors (..., 4) -> (..., 4); negative where the centre of an anchor is outside its box."""
    centres, sizes = anchors[..., :2], anchors[..., 2:]
    to_corners = [(centres - boxes[..., :2]) / sizes, (boxes[..., 2:] - centres) / sizes]
    return np.asarray(np.concatenate(to_corners, axis=-1), np.float32)


def decode_cells(numbers: Values, cells: Values) -> Values:
    """(..., A, 4), cells (A, 4) as corner and size -> corners (..., A, 4)"""
    centres = np.asarray(cells[:, :2] + np.tanh(numbers[..., :2]) * cells[:, 2:], np.float32)
    return _corners(centres, sigmoid(numbers[..., 2:]))


def sigmoid(x: Values) -> Values:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small), x.dtype)


def softmax(x: Values) -> Values:
    """exp(x) over their sum, along the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), x.dtype)


def _of_softmax(numbers: Values) -> Values:
    return softmax(numbers)[..., 1:]


def _centred(numbers: Values) -> Values:
    return np.asarray(np.sqrt(sigmoid(numbers[..., :-1]) * sigmoid(numbers[..., -1:])))


def _objectness(numbers: Values) -> Values:
    return np.asarray(
        sigmoid(numbers[..., :1]) ** OBJECT_POWER * softmax(numbers[..., 1:]) ** CLASS_POWER, numbers.dtype
    )


def _corners(centres: Values, sizes: Values) -> Values:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)


#: Of each scoring how many numbers there are besides those of the classes, and the scores: (..., E) -> (..., classes).
SCORINGS: dict[str, tuple[int, Callable[[Values], Values]]] = {
    "softmax": (1, _of_softmax),
    "sigmoid": (0, sigmoid),
    "centred": (1, _centred),
    "objectness": (1, _objectness),
}
CODINGS = ("offsets", "distances", "cells")
