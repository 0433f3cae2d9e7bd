# SPDX-License-Identifier: Apache-2.0
"""Detectors by name, what they must have, and the sentences for those that cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer.zoo import ZOO
from gossamer.zoo.detectors import (
    OF_TORCHVISION,
    OWN,
    Detector,
    criterion_of,
    detector_preprocess,
    head_of,
    is_detector,
    load_detector,
)

PLAIN = """
from gossamer.kinds.multibox_loss import MultiboxLoss
from gossamer.zoo.ssdlite import SSDLite
from torch import nn


def with_head(classes):
    return SSDLite(classes, 64, 0.2)


def without(classes):
    return nn.Conv2d(3, classes, 1)
"""


def test_every_detector_of_the_zoo_is_listed():
    assert set(OWN) <= set(ZOO)
    assert all(is_detector(name) for name in (*OWN, *(f"torchvision:{name}" for name in OF_TORCHVISION)))
    assert is_detector("torchvision:maskrcnn_resnet50_fpn")
    assert not any(is_detector(name) for name in ("resnet20", "torchvision:resnet18", "timm:resnet18", "net.py:make"))


@pytest.mark.parametrize("name", OWN)
def test_a_detector_of_the_zoo_has_its_output_head_and_criterion(name):
    network = load_detector(name, 2, (64, 96)).train()
    assert isinstance(network, Detector)
    outputs = network(torch.randn(2, 3, 64, 96))
    assert outputs.shape == (2, head_of(network).count, head_of(network).width)
    targets = torch.tensor([[[0.1, 0.2, 0.45, 0.7, 1, 0]], [[0.3, 0.3, 0.8, 0.9, 0, 0]]])
    criterion_of(network)(outputs, targets).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert len(head_of(network).detect(outputs.detach().numpy())) == 2


@pytest.mark.parametrize(
    ("name", "side"), [("ssdlite320", 320), ("ssdlite224_mobilenetv1_025", 224), ("fastestdet", 352)]
)
def test_sizes_and_preprocessing_by_name(name, side):
    assert ZOO[name]().input_shape == (3, side, side)
    found = detector_preprocess(name)
    assert (found.shape, found.crop, found.bgr) == ((3, side, side), 1.0, name == "fastestdet")
    assert detector_preprocess(name, (64, 96)).shape == (3, 64, 96)


def test_preprocessing_of_other_names_is_not_known():
    assert detector_preprocess("resnet20") is None
    assert detector_preprocess("net.py:make") is None
    assert detector_preprocess("torchvision:maskrcnn_resnet50_fpn") is None


def test_a_detector_of_torchvision_by_name():
    pytest.importorskip("torchvision")
    network = load_detector("torchvision:ssdlite320_mobilenet_v3_large", 1, (64, 64))
    assert head_of(network).classes == 1
    assert detector_preprocess("torchvision:ssdlite320_mobilenet_v3_large").mean == (0.5,) * 3


def test_a_detector_of_the_users_own(tmp_path):
    (tmp_path / "own_detector.py").write_text(PLAIN)
    assert head_of(load_detector(f"{tmp_path}/own_detector.py:with_head", 4)).classes == 4
    with pytest.raises(ValueError, match=r"a detector must have an attribute `head`, .* got NoneType of Conv2d"):
        load_detector(f"{tmp_path}/own_detector.py:without", 4)
    with pytest.raises(ValueError, match="decides on the size of its images itself, got 64x96; leave it out"):
        load_detector(f"{tmp_path}/own_detector.py:with_head", 4, (64, 96))


def test_a_criterion_with_weights_is_refused():
    network = nn.Conv2d(3, 4, 1)
    with pytest.raises(ValueError, match=r"an attribute `criterion`, .* got NoneType of Conv2d"):
        criterion_of(network)
    network.criterion = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="without weights, got Linear of Conv2d"):
        criterion_of(network)


def test_names_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"expected a detector of boxes, got torchvision:maskrcnn_.*decision 17"):
        load_detector("torchvision:maskrcnn_resnet50_fpn", 2)
    with pytest.raises(ValueError, match="no detector is called 'ssdlite300'; did you mean"):
        load_detector("ssdlite300", 2)
    with pytest.raises(ValueError, match="no detector is called 'torchvision:resnet18'"):
        load_detector("torchvision:resnet18", 2)
