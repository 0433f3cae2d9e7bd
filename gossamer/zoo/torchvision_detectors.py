# SPDX-License-Identifier: Apache-2.0
"""torchvision's detectors as plain networks, trained on torchvision's own losses.

    SSDlite, SSD    [box, background, classes]      offsets, softmax     Liu et al., ECCV 2016
    RetinaNet       [box, classes]                  offsets, sigmoid     Lin et al., ICCV 2017
    FCOS            [box, classes, centredness]     distances, centred   Tian et al., PAMI 2020
    Faster R-CNN    [box, object]                   offsets, sigmoid     its first stage (`region_proposals`)

Only backbone and predictors are in the network; torchvision calls the latter `head`, which here is what says what the
output means. So files of torchvision are read with `fitted`, which renames. What torchvision does before (normalise,
resize) is the preprocessing's; what it does after (decode, suppress) the head's.

Differs from torchvision:
1. Images are squeezed to one size, where its RetinaNet, FCOS and Faster R-CNN keep the sides' ratio and pad. That size
   should be a multiple of 128: for others torchvision takes a stride that does not divide the image for the last maps'
   anchors, and so do we.
2. Batch norms train: torchvision freezes those of a published backbone. RetinaNet and FCOS here number classes from 0.
3. Difficult objects are left out of the loss, so they count as background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gossamer.data.preprocess import Preprocess
from gossamer.detection import Head, Level
from gossamer.kinds.detection_loss import anchors_of, corners, objects_of
from gossamer.zoo.region_proposals import RegionProposals

Size = tuple[int, int]

USUAL_SIZE = (800, 800)  # of those that take any, the shorter side of torchvision's
OWN_SIZES = {
    "ssdlite320_mobilenet_v3_large": (320, 320),
    "ssd300_vgg16": (300, 300),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 320),
}
TWO_STAGES = "fasterrcnn_"
FIXED = ("ssd300_vgg16",)  # the steps of its anchors are written in pixels of this size
PREDICTOR, PUBLISHED = "predictor.", ("rpn.head.", "head.")  # our name, and torchvision's
SECOND_STAGE = "roi_heads."
FORMS = {  # what the predictors give, in the order of the output; coding; scoring
    "SSD": (("bbox_regression", "cls_logits"), "offsets", "softmax"),
    "RetinaNet": (("bbox_regression", "cls_logits"), "offsets", "sigmoid"),
    "FCOS": (("bbox_regression", "cls_logits", "bbox_ctrness"), "distances", "centred"),
    "RegionProposals": (("bbox_regression", "cls_logits"), "offsets", "sigmoid"),
}


class TorchvisionDetector(nn.Module):
    """(N, 3, H, W) -> (N, A, 4 + E); made by `torchvision_detector`"""

    def __init__(self, detector: Any, head: Head, criterion: TorchvisionLoss) -> None:
        super().__init__()
        self.backbone: nn.Module = detector.backbone
        self.predictor: nn.Module = detector.head
        self.head = head
        self.criterion = criterion
        self.parts = criterion.parts
        self.input_shape = (3, *criterion.size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: dict[str, torch.Tensor] = self.predictor(list(self.backbone(x).values()))
        return torch.cat([found[part] for part in self.parts], 2)

    def fitted(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Tensors of a file of torchvision's under the names that they have here, without those of a second stage."""

        def here(name: str) -> str:
            theirs = next((prefix for prefix in PUBLISHED if name.startswith(prefix)), None)
            return name if theirs is None else PREDICTOR + name.removeprefix(theirs)

        return {here(name): value for name, value in tensors.items() if not name.startswith(SECOND_STAGE)}


def torchvision_detector(name: str, classes: int, size: Size | None = None) -> TorchvisionDetector:
    """The detector of this name, untrained, for images of `size`, (height, width)."""
    size = _size(name, size)
    with torch.device("meta"):  # shapes without numbers: its maps are measured, and it keeps the loss
        shell = _build(name, classes)
        maps = list(shell.eval().backbone(torch.zeros(1, 3, *size)).values())
    grids = [(int(one.shape[2]), int(one.shape[3])) for one in maps]
    parts, coding, scoring = FORMS[type(shell).__name__]
    head = Head(
        _levels(shell.anchor_generator, grids, size),
        coding,
        scoring,
        classes,
        _variances(shell),
        threshold=shell.score_thresh,
        overlap=shell.nms_thresh,
        most=shell.detections_per_img,
        candidates=shell.topk_candidates,
    )
    shell.backbone = nn.Identity()
    return TorchvisionDetector(_build(name, classes), head, TorchvisionLoss(head, size, parts, shell))


def torchvision_preprocess(name: str, size: Size | None = None) -> Preprocess:
    """What the published weights of this name read."""
    with torch.device("meta"):
        transform = _build(name, 1).transform
    return Preprocess(tuple(transform.image_mean), tuple(transform.image_std), _size(name, size), crop=1.0)


@dataclass(frozen=True, eq=False)
class TorchvisionLoss:
    """torchvision's own matching and loss, the sum of its terms.

    `shell` is the detector of torchvision without backbone and without numbers (on the device "meta"): what it knows
    are matchers, coders and the kind of loss.
    """

    head: Head
    size: Size
    parts: tuple[str, ...]
    shell: Any = field(repr=False)

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Computed in float32: (N, A, 4 + E), (N, L, 6) -> ()"""
        objects = objects_of(self.head, outputs, targets)
        pixels = outputs.new_tensor([self.size[1], self.size[0]] * 2, dtype=torch.float32)
        corner = corners(anchors_of(self.head, outputs.device)) * pixels
        if not hasattr(self.shell.anchor_generator, "steps"):
            corner = corner.round()  # whole pixels there: of anchors that cover an object equally well all are trained
        anchors = [corner] * len(outputs)
        background = int(self.head.scoring == "softmax")
        sides = objects.boxes[..., 2:] - objects.boxes[..., :2]
        counted = objects.plain & (sides > 0).all(-1)
        truth = [
            {"boxes": boxes[there] * pixels, "labels": classes[there] + background}
            for boxes, classes, there in zip(objects.boxes, objects.classes, counted, strict=True)
        ]
        found = dict(zip(self.parts, torch.split(outputs.float(), self._widths, 2), strict=True))
        kind = type(self.shell).__name__
        if kind == "SSD":
            matched = [self._matched(one["boxes"], anchors[0]) for one in truth]
            losses = self.shell.compute_loss(truth, found, anchors, matched)
        elif kind == "FCOS":
            losses = self.shell.compute_loss(truth, found, anchors, [level.count for level in self.head.levels])
        else:
            losses = self.shell.compute_loss(truth, found, anchors)
        total: torch.Tensor = torch.stack(list(losses.values())).sum()
        return total

    @property
    def _widths(self) -> list[int]:
        """How many numbers each part has."""
        rest = [1] * (len(self.parts) - 2)
        return [4, self.head.width - 4 - sum(rest), *rest]

    def _matched(self, boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """For each anchor the number of its object, or -1, as SSD's own forward has it: (M, 4), (A, 4) -> (A,)"""
        from torchvision.ops import box_iou

        if not len(boxes):
            return torch.full((len(anchors),), -1, device=anchors.device)
        found: torch.Tensor = self.shell.proposal_matcher(box_iou(boxes, anchors))
        return found


def _size(name: str, size: Size | None) -> Size:
    own = OWN_SIZES.get(name, USUAL_SIZE)
    if size is not None and size != own and name in FIXED:
        raise ValueError(f"torchvision:{name} reads images of {own[0]}x{own[1]} pixels, got {size[0]}x{size[1]}")
    return own if size is None else size


def _build(name: str, classes: int) -> Any:
    """torchvision's own detector; its SSD counts the background among its classes."""
    try:
        from torchvision.models import get_model
    except ModuleNotFoundError as error:
        raise ValueError(f"this network needs the package {error.name}; pip install {error.name}") from error
    if name.startswith(TWO_STAGES):
        if classes != 1:
            raise ValueError(
                f"torchvision:{name} is used up to its first stage, which finds objects of one class, got {classes} "
                "classes; choose one with --only, or use e.g. torchvision:retinanet_resnet50_fpn"
            )
        return RegionProposals(get_model(name, weights=None, weights_backbone=None, num_classes=2))
    return get_model(name, weights=None, weights_backbone=None, num_classes=classes + name.startswith("ssd"))


def _variances(shell: Any) -> tuple[float, float, float, float]:
    """torchvision divides by weights where a head multiplies by variances; distances have none."""
    weights = getattr(shell.box_coder, "weights", (1.0,) * 4)
    x, y, width, height = (1 / weight for weight in weights)
    return x, y, width, height


def _levels(generator: Any, grids: list[Size], size: Size) -> tuple[Level, ...]:
    """The anchors that torchvision's generator lays on grids (rows, columns) of an image (height, width)."""
    from torchvision.models.detection.image_list import ImageList

    height, width = size
    (anchors,) = generator(ImageList(torch.zeros(1, 3, *size), [size]), [torch.zeros(1, 1, *grid) for grid in grids])
    counts = generator.num_anchors_per_location()
    shares = anchors.split([rows * columns * count for (rows, columns), count in zip(grids, counts, strict=True)])
    levels = []
    for k, ((rows, columns), count, share) in enumerate(zip(grids, counts, shares, strict=True)):
        sides = share[:count, 2:] - share[:count, :2]  # of the first place, in pixels
        boxes = tuple((wide / width, high / height) for wide, high in sides.tolist())
        if hasattr(generator, "steps"):  # SSD's: centres of cells
            step = None if generator.steps is None else (generator.steps[k] / width, generator.steps[k] / height)
            levels.append(Level(rows, columns, boxes, step))
        else:  # corners of cells, of a whole number of pixels
            step = (width // columns / width, height // rows / height)
            levels.append(Level(rows, columns, boxes, step, offset=0.0))
    return tuple(levels)
