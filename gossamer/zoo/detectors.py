# SPDX-License-Identifier: Apache-2.0
"""Detectors by name, and what every detector has: a plain network, a head that explains its output, a criterion.

    network = load_detector("ssdlite224", classes=3)
    outputs = network(images)                      # (N, 3, H, W) -> (N, A, 4 + E)
    loss = criterion_of(network)(outputs, truth)   # truth (N, L, 6)
    found = head_of(network).detect(outputs.detach().numpy())

Names are those of the zoo, `torchvision:NAME`, or `file.py:callable`, which returns such a network.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from gossamer.data.preprocess import Preprocess
from gossamer.detection import Head
from gossamer.kinds.detection_loss import Criterion
from gossamer.near import meant
from gossamer.zoo import ZOO, split_name, zoo_network
from gossamer.zoo.models import load_model, usual_preprocess

#: Those of the zoo, with the mean and the standard deviation that they are trained with, and whether they read BGR.
OWN: dict[str, tuple[float, float, bool]] = {
    "ssdlite320": (0.5, 0.5, False),
    "ssdlite224": (0.5, 0.5, False),
    "ssdlite224_mobilenetv1_025": (0.5, 0.5, False),
    "fastestdet": (0.0, 1.0, True),
}
#: torchvision's, without importing it.
OF_TORCHVISION = (
    "ssdlite320_mobilenet_v3_large",
    "ssd300_vgg16",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
WITH_MORE = ("maskrcnn_", "keypointrcnn_")
Size = tuple[int, int]


@runtime_checkable
class Detector(Protocol):
    """What a network must have to be a detector: images (N, 3, H, W) -> one tensor (N, A, 4 + E), boxes first.

    `head` says what the numbers mean. `criterion` is the loss that the network is trained on; it holds none of the
    network's weights. Where `fitted` is defined too, tensors of a weights file go through it: published names become
    the network's own, and of more classes those that it has are taken.
    """

    head: Head
    criterion: Criterion

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor: ...


def is_detector(name: str) -> bool:
    """Whether a name of the zoo or of torchvision is that of a detector; what `file.py:callable` makes is not known."""
    family, inner = split_name(name)
    if family == "torchvision":
        return inner in OF_TORCHVISION or inner.startswith(WITH_MORE)
    return not family and inner.partition(":")[0] in OWN


def load_detector(name: str, classes: int, size: Size | None = None) -> nn.Module:
    """The detector of this name, untrained, for `classes` classes and images of `size`, (height, width).

    Without a size that of the network's paper; 800x800 for those of torchvision that take any, the shorter side of
    theirs; of Faster R-CNN it is the first stage, for one class. The network of `file.py:callable` has a size of its
    own.
    """
    family, inner = split_name(name)
    if family.endswith(".py"):
        if size is not None:
            raise ValueError(f"{name} decides on the size of its images itself, got {size[0]}x{size[1]}; leave it out")
        network = load_model(name, classes)
    elif family == "torchvision" and inner.startswith(WITH_MORE):
        raise ValueError(
            f"expected a detector of boxes, got {name}, which gives masks or points in a second stage, so that its "
            f"answer is no one tensor (decision 17); use e.g. torchvision:{OF_TORCHVISION[2]}"
        )
    elif family == "torchvision" and inner in OF_TORCHVISION:
        from gossamer.zoo.torchvision_detectors import torchvision_detector

        network = torchvision_detector(inner, classes, size)
    elif is_detector(name):
        network = load_model(name, classes, **({} if size is None else {"size": size}))
    else:
        known = [*OWN, *(f"torchvision:{other}" for other in OF_TORCHVISION)]
        raise ValueError(
            f"no detector is called '{name}'{meant(name, known)}; use one of {', '.join(known)}, or file.py:callable"
        )
    head_of(network)
    criterion_of(network)
    return network


def head_of(network: nn.Module) -> Head:
    """What the output of a detector means; ValueError where a network does not say it."""
    found: Any = getattr(network, "head", None)
    if not isinstance(found, Head):
        raise ValueError(
            f"a detector must have an attribute `head`, a gossamer.detection.Head, got {type(found).__name__} of "
            f"{type(network).__name__}"
        )
    return found


def criterion_of(network: nn.Module) -> Criterion:
    """The loss of a detector; ValueError where a network has none, or one with weights."""
    found: Any = getattr(network, "criterion", None)
    if not callable(found) or (isinstance(found, nn.Module) and any(True for _ in found.parameters())):
        raise ValueError(
            "a detector must have an attribute `criterion`, callable with outputs and truth and without weights, got "
            f"{type(found).__name__} of {type(network).__name__}; use e.g. gossamer.kinds.multibox_loss.MultiboxLoss"
        )
    return found  # type: ignore[no-any-return]


def published_preprocess(name: str, size: Size | None = None) -> Preprocess | None:
    """What a network of this name reads, a detector or another; `size` is for detectors. None where it is not known."""
    return detector_preprocess(name, size) if is_detector(name) else usual_preprocess(name)


def detector_preprocess(name: str, size: Size | None = None) -> Preprocess | None:
    """What a detector of this name reads, whole pictures squeezed to its size; None for a network of the user's own."""
    family, inner = split_name(name)
    if not is_detector(name) or inner.startswith(WITH_MORE):
        return None
    if family == "torchvision":
        from gossamer.zoo.torchvision_detectors import torchvision_preprocess

        return torchvision_preprocess(inner, size)
    plain, options = zoo_network(inner)
    mean, deviation, bgr = OWN[plain]
    with torch.device("meta"):  # its size, without numbers
        shape: Any = ZOO[plain](**options).input_shape
    return Preprocess((mean,) * 3, (deviation,) * 3, size or (shape[1], shape[2]), bgr=bgr, crop=1.0)
