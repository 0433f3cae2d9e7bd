# SPDX-License-Identifier: Apache-2.0
"""torchvision's detectors as plain networks: its own weights, boxes, scores and losses, computed both ways."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

models = pytest.importorskip("torchvision.models")

from torchvision.models.detection.image_list import ImageList  # noqa: E402
from torchvision.ops import clip_boxes_to_image  # noqa: E402

from gossamer.zoo.torchvision_detectors import torchvision_detector, torchvision_preprocess  # noqa: E402
from tests.zoo.detectors import is_cut_in_half_exactly  # noqa: E402

CLASSES = 3
CASES = [
    ("ssdlite320_mobilenet_v3_large", (96, 128)),
    ("ssd300_vgg16", (300, 300)),
    ("retinanet_resnet50_fpn", (128, 128)),
    ("retinanet_resnet50_fpn_v2", (64, 96)),
    ("fcos_resnet50_fpn", (128, 128)),
]
SLOW = {"ssd300_vgg16", "retinanet_resnet50_fpn_v2"}


def pairs(slow=SLOW):
    return [pytest.param(*case, marks=[pytest.mark.slow] * (case[0] in slow), id=case[0]) for case in CASES]


class AsTheyAre(nn.Module):
    """Images of one size, normalised already."""

    def forward(self, images, targets=None):
        return ImageList(torch.stack(images), [tuple(image.shape[1:]) for image in images]), targets


_made = {}


def both(name, size):
    """torchvision's own and ours with its weights, of which the predictors' are spread; neither may be changed."""
    if name not in _made:
        torch.manual_seed(0)
        theirs = models.get_model(
            name, weights=None, weights_backbone=None, num_classes=CLASSES + name.startswith("ssd")
        )
        for module in theirs.head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.7 / module.weight[0].numel() ** 0.5)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.7)
        theirs.transform = AsTheyAre()
        ours = torchvision_detector(name, CLASSES, size)
        ours.load_state_dict(ours.fitted(theirs.state_dict()))
        _made[name] = theirs.eval(), ours.eval()
    return _made[name]


def run(theirs, x):
    """What torchvision's predictors and anchors are for images (N, 3, H, W)."""
    maps = list(theirs.backbone(x).values())
    anchors = theirs.anchor_generator(ImageList(x, [tuple(x.shape[2:])] * len(x)), maps)
    return theirs.head(maps), anchors, [one.shape[2] * one.shape[3] for one in maps]


@pytest.mark.parametrize(("name", "size"), pairs())
def test_boxes_and_scores_are_torchvisions_before_suppression(name, size):
    theirs, ours = both(name, size)
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = ours(x)
        answers, anchors, _ = run(theirs, x)
    assert outputs.shape == (2, ours.head.count, ours.head.width)
    boxes, scores = ours.head.decode(outputs.numpy())
    pixels = torch.tensor([size[1], size[0]] * 2)
    decode = getattr(theirs.box_coder, "decode_single", None) or theirs.box_coder.decode
    for image in range(2):
        expected = clip_boxes_to_image(decode(answers["bbox_regression"][image], anchors[image]), size) / pixels
        logits = answers["cls_logits"][image]
        if name.startswith("ssd"):
            chances = logits.softmax(-1)[:, 1:]
        elif name.startswith("fcos"):
            chances = (logits.sigmoid() * answers["bbox_ctrness"][image].sigmoid()).sqrt()
        else:
            chances = logits.sigmoid()
        np.testing.assert_allclose(boxes[image], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scores[image], chances, rtol=1e-4, atol=1e-6)
    assert boxes.std() > 0.05
    assert scores.std() > 0.01, "or the comparison says nothing"


@pytest.mark.parametrize(("name", "size"), pairs())
def test_the_loss_is_torchvisions(name, size):
    """The second image has no object; a difficult one is not counted."""
    theirs, ours = both(name, size)
    targets = torch.tensor(
        [
            [[0.1, 0.2, 0.45, 0.7, 2, 0], [0.52, 0.07, 0.97, 0.93, 0, 0], [0.2, 0.5, 0.6, 0.9, 1, 1]],
            [[0.0, 0.0, 0.0, 0.0, -1, 0]] * 3,
        ]
    )
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    pixels = torch.tensor([size[1], size[0]] * 2)
    truth = [
        {"boxes": targets[0, :2, :4] * pixels, "labels": torch.tensor([2, 0]) + name.startswith("ssd")},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)},
    ]
    forward = copy.copy(theirs)
    forward.training = True  # its parts stay as they are: norms give what they give in evaluation
    with torch.no_grad():
        expected = sum(forward(list(x), truth).values())
    outputs = ours(x)
    loss = ours.criterion(outputs, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert loss.item() > 0.1
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in ours.predictor.parameters())
    ours.zero_grad()


@pytest.mark.parametrize(("name", "size"), pairs())
def test_the_criterion_holds_no_weights_and_can_be_copied(name, size):
    _, ours = both(name, size)
    shell = ours.criterion.shell
    assert all(tensor.is_meta for tensor in [*shell.parameters(), *shell.buffers()])
    outputs = torch.randn(2, ours.head.count, ours.head.width, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[[0.1, 0.2, 0.45, 0.7, 2, 0]], [[0.3, 0.3, 0.8, 0.9, 0, 0]]])
    loss = ours.criterion(outputs, targets)
    for again in (copy.deepcopy(ours.criterion), pickle.loads(pickle.dumps(ours.criterion))):
        assert torch.equal(again(outputs, targets), loss)


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcos_resnet50_fpn"])
def test_without_any_object_the_loss_is_finite(name):
    _, ours = both(name, dict(CASES)[name])
    outputs = torch.randn(2, ours.head.count, ours.head.width, generator=torch.Generator().manual_seed(0))
    outputs.requires_grad_()
    for targets in (torch.tensor([[[0.0, 0.0, 0.0, 0.0, -1, 0]]] * 2), torch.zeros(2, 0, 6)):
        loss = ours.criterion(outputs, targets)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize(("name", "size"), [CASES[0], CASES[-1]])  # of the others the pass is long, and no other kind
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_half_of_what_can_go_is_cut_exactly(name, size):
    is_cut_in_half_exactly(both(name, size)[1], size)


def test_ssd300_reads_its_own_size_alone():
    with pytest.raises(ValueError, match="torchvision:ssd300_vgg16 reads images of 300x300 pixels, got 512x512"):
        torchvision_detector("ssd300_vgg16", 1, (512, 512))


def test_preprocessing_is_what_torchvision_does_before():
    ssd = torchvision_preprocess("ssd300_vgg16")
    assert (ssd.size, ssd.mean[0], ssd.std[0], ssd.crop) == ((300, 300), 0.48235, 1 / 255, 1.0)
    assert torchvision_preprocess("fcos_resnet50_fpn").size == (800, 800)
    assert torchvision_preprocess("retinanet_resnet50_fpn", (256, 384)).shape == (3, 256, 384)
