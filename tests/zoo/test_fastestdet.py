# SPDX-License-Identifier: Apache-2.0
"""FastestDet: its names and numbers against a plain computation by names, cuts, export, training."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gossamer.graph import trace
from gossamer.zoo.fastestdet import FastestDet
from gossamer.zoo.weight_files import load_weights, read_weights
from tests.zoo.detectors import learns_by_heart, runs_alike

SIDE = 64  # pixels: 4x4 cells
DATA = os.environ.get("GOSSAMER_DATA")
PUBLISHED = Path(DATA or "") / "weights/detection/fastestdet_coco_ap05_0.253.pth"
published = pytest.mark.skipif(not DATA or not PUBLISHED.is_file(), reason="GOSSAMER_DATA names no such file")


def made(classes=3, size=SIDE):
    """Norms as after training, drawn at random."""
    torch.manual_seed(0)
    network = FastestDet(classes, size)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data.uniform_(0.5, 1.5)
    return network.eval()


def by_names(state, x):
    """The maps of objectness, boxes and classes, computed from a state dict of the source: (N, 1 + 4 + K, H, W)"""

    def layer(x, name, place, stride=1, active=True):
        weight = state[f"{name}.{place}.weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[2] // 2, groups=x.shape[1] // weight.shape[1])
        norm = f"{name}.{place + 1}."
        x = F.batch_norm(x, *(state[norm + part] for part in ("running_mean", "running_var", "weight", "bias")))
        return x.relu() if active else x

    def block(x, name):
        down = f"{name}.branch_proj.0.weight" in state
        kept, y = (x, x) if down else (x[:, 0::2], x[:, 1::2])
        y = layer(y, f"{name}.branch_main", 0)
        y = layer(y, f"{name}.branch_main", 3, 2 if down else 1, active=False)
        y = layer(y, f"{name}.branch_main", 5)
        if down:
            kept = layer(layer(x, f"{name}.branch_proj", 0, 2, active=False), f"{name}.branch_proj", 2)
        return torch.cat([kept, y], 1)

    x = F.max_pool2d(layer(x, "backbone.first_conv", 0, 2), 3, 2, 1)
    maps = []
    for stage, count in (("stage2", 4), ("stage3", 8), ("stage4", 4)):
        for number in range(count):
            x = block(x, f"backbone.{stage}.{number}")
        maps.append(x)
    double = maps[2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    x = layer(torch.cat([F.avg_pool2d(maps[0], 3, 2, 1), maps[1], double], 1), "SPP.Conv1x1.conv1x1", 0)
    wide = []
    for name, count in (("SPP.S1", 1), ("SPP.S2", 2), ("SPP.S3", 3)):
        y = x
        for number in range(count):
            y = layer(y, name, 3 * number)
        wide.append(y)
    x = layer((x + layer(torch.cat(wide, 1), "SPP.output", 0, active=False)).relu(), "detect_head.conv1x1.conv1x1", 0)
    heads = [f"detect_head.{kind}_layers.conv5x5" for kind in ("obj", "reg", "cls")]
    return torch.cat([layer(layer(x, head, 0), head, 3, active=False) for head in heads], 1)


def decoded(maps):
    """Boxes (N, A, 4), not clipped, and scores (N, A, K), as the source decodes."""
    objectness, x, y, w, h = maps[:, 0].sigmoid(), *(maps[:, 1 + k] for k in range(4))
    scores = objectness[:, None] ** 0.6 * maps[:, 5:].softmax(1) ** 0.4
    rows, columns = maps.shape[2:]
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centre_x, centre_y = (x.tanh() + column) / columns, (y.tanh() + row) / rows
    half_w, half_h = w.sigmoid() / 2, h.sigmoid() / 2
    corners = [centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h]
    return torch.stack(corners, -1).flatten(1, 2), scores.flatten(2).transpose(1, 2)


def assert_same(network, state, x):
    with torch.no_grad():
        boxes, scores = decoded(by_names(state, x))
        outputs = network(x)
    assert outputs.shape == (len(x), network.head.count, network.head.width)
    found = network.head.decode(outputs.numpy())
    np.testing.assert_allclose(found[0], boxes.clamp(0, 1), atol=1e-5)
    np.testing.assert_allclose(found[1], scores[..., : network.head.classes], atol=1e-5)


@pytest.mark.parametrize("size", [SIDE, (64, 96)])
def test_boxes_and_scores_are_those_of_a_plain_computation(size):
    network = made(size=size)
    assert_same(network, network.state_dict(), torch.rand(2, *network.input_shape))


@published
def test_published_weights_have_their_place():
    network = FastestDet()
    load_weights(network, PUBLISHED)
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(0.244e6, rel=0.01)
    state = read_weights(PUBLISHED)
    assert list(network.state_dict()) == list(state)
    x = torch.rand(1, 3, 352, 352, generator=torch.Generator().manual_seed(0))
    assert_same(network.eval(), state, x)


def test_names_are_those_of_the_published_file():
    names = set(FastestDet(3).state_dict())
    assert len(names) == 420
    assert {
        "backbone.first_conv.0.weight",
        "backbone.stage3.7.branch_main.6.running_var",
        "backbone.stage4.0.branch_proj.3.bias",
        "SPP.Conv1x1.conv1x1.0.weight",
        "SPP.S3.7.running_mean",
        "SPP.output.1.weight",
        "detect_head.conv1x1.conv1x1.0.weight",
        "detect_head.cls_layers.conv5x5.4.bias",
    } <= names


def test_of_all_classes_the_first_can_be_asked_for():
    every, one = made(classes=80), FastestDet(1, SIDE).eval()
    one.load_state_dict(every.state_dict())
    with torch.no_grad():
        outputs = every(torch.rand(2, 3, SIDE, SIDE)).numpy()
    assert (one.head.classes, one.head.others) == (1, 79)
    for head_of_one, head_of_every in zip(one.head.decode(outputs), every.head.decode(outputs), strict=True):
        assert np.array_equal(head_of_one, head_of_every[..., : head_of_one.shape[-1]])


def test_half_of_all_channels_can_be_cut_exactly():
    network = trace(made(), torch.zeros(1, 3, SIDE, SIDE))
    stay = {group.name: group.reason for group in network.groups if not group.removable and group.size > 1}
    assert stay == {
        f"detect_head.{kind}_layers.conv5x5.3.weight": "it is an output of the network" for kind in ("reg", "cls")
    }
    alone = sum(group.size for group in network.groups if group.size == 1)
    assert alone < 0.05 * sum(group.size for group in network.groups), "shuffles leave some channels by themselves"
    assert all(group.exact for group in network.groups)
    rng = np.random.default_rng(0)
    keep = {group.name: group.best(rng.random(group.size), max(1, group.size // 2)) for group in network.prunable}
    smaller = network.cut(keep)
    assert network.check(smaller) < 1e-10
    assert smaller.parameters < 0.6 * network.parameters


def test_onnx_runtime_computes_the_same_at_any_batch_size():
    runs_alike(made(), torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))


def test_it_learns_two_images_by_heart():
    torch.manual_seed(0)
    network = FastestDet(2, SIDE).train()
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    learns_by_heart(network, images, steps=80, falls_to=0.4, reached=network.parameters())


@pytest.mark.parametrize("size", [100, (64, 0), (352, 360)])
def test_sizes_that_do_not_halve_five_times_are_refused(size):
    with pytest.raises(ValueError, match="size of FastestDet must be a multiple of 32 pixels, got"):
        FastestDet(1, size)
