# SPDX-License-Identifier: Apache-2.0
"""The first stage of torchvision's Faster R-CNN: its boxes, scores and loss, computed both ways."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

models = pytest.importorskip("torchvision.models")

from torchvision.models.detection.image_list import ImageList  # noqa: E402
from torchvision.models.detection.rpn import concat_box_prediction_layers  # noqa: E402
from torchvision.ops import clip_boxes_to_image  # noqa: E402

from gossamer.zoo.torchvision_detectors import torchvision_detector  # noqa: E402
from tests.zoo.detectors import is_cut_in_half_exactly  # noqa: E402

NAME, SIZE = "fasterrcnn_mobilenet_v3_large_320_fpn", (96, 128)
PIXELS = torch.tensor([SIZE[1], SIZE[0]] * 2)


@pytest.fixture(scope="module")
def both():
    """torchvision's own and ours with its weights, of which the predictors' are spread; neither may be changed."""
    torch.manual_seed(0)
    theirs = models.get_model(NAME, weights=None, weights_backbone=None, num_classes=2)
    for module in theirs.rpn.head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.7 / module.weight[0].numel() ** 0.5)
            nn.init.normal_(module.bias, std=0.7)
    ours = torchvision_detector(NAME, 1, SIZE)
    ours.load_state_dict(ours.fitted(theirs.state_dict()))
    return theirs.eval(), ours.eval()


def test_boxes_and_scores_are_torchvisions_before_suppression(both):
    theirs, ours = both
    x = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = ours(x)
        maps = list(theirs.backbone(x).values())
        anchors = theirs.rpn.anchor_generator(ImageList(x, [SIZE] * 2), maps)
        objectness, offsets = concat_box_prediction_layers(*theirs.rpn.head(maps))
        expected = theirs.rpn.box_coder.decode(offsets, anchors).view(2, -1, 4)
    boxes, scores = ours.head.decode(outputs.numpy())
    for image in range(2):
        np.testing.assert_allclose(boxes[image], clip_boxes_to_image(expected[image], SIZE) / PIXELS, atol=1e-5)
    np.testing.assert_allclose(scores[..., 0], objectness.view(2, -1).sigmoid(), rtol=1e-4)
    assert boxes.std() > 0.05
    assert scores.std() > 0.01, "or the comparison says nothing"


def test_the_loss_is_torchvisions(both):
    """A difficult object and an image without any are not counted; the same anchors are drawn after the same seed."""
    theirs, ours = both
    targets = torch.tensor(
        [
            [[0.1, 0.2, 0.45, 0.7, 0, 0], [0.2, 0.5, 0.6, 0.9, 0, 1]],
            [[0.0, 0.0, 0.0, 0.0, -1, 0]] * 2,
        ]
    )
    x = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    truth = [{"boxes": targets[0, :1, :4] * PIXELS}, {"boxes": torch.zeros(0, 4)}]
    first = copy.copy(theirs.rpn)
    first.training = True
    with torch.no_grad():
        torch.manual_seed(5)
        _, losses = first(ImageList(x, [SIZE] * 2), theirs.backbone(x), truth)
    outputs = ours(x)
    torch.manual_seed(5)
    loss = ours.criterion(outputs, targets)
    assert loss.item() == pytest.approx(sum(losses.values()).item(), rel=1e-4)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in ours.predictor.parameters())
    ours.zero_grad()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_half_of_what_can_go_is_cut_exactly(both):
    is_cut_in_half_exactly(both[1], SIZE)


def test_nothing_of_the_second_stage_is_in_it(both):
    theirs, ours = both
    assert not [name for name in ours.state_dict() if "roi" in name or "rpn" in name]
    whole, first = (sum(p.numel() for p in network.parameters()) for network in both)
    assert whole - first == sum(p.numel() for p in theirs.roi_heads.parameters())
    assert (ours.head.threshold, ours.head.overlap) == (theirs.roi_heads.score_thresh, theirs.roi_heads.nms_thresh)


def test_it_tells_no_classes_apart():
    with pytest.raises(ValueError, match="up to its first stage, which finds objects of one class, got 3 classes"):
        torchvision_detector(NAME, 3, SIZE)
