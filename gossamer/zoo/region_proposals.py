# SPDX-License-Identifier: Apache-2.0
"""The first stage of torchvision's Faster R-CNN: boxes of whatever is an object, which is a detector of one class.

Paper: S. Ren, K. He, R. Girshick, J. Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal
Networks", NeurIPS 2015, arXiv 1506.01497, section 3.1. Of each anchor an objectness, a sigmoid, and four offsets.

Differs from the paper and from torchvision:
1. The second stage, which crops what the first one proposes and tells classes apart, is left out: how much it computes
   depends on the image, and its answer is no one tensor. Where one class is looked for, an object is one of it.
2. What is delivered is what is found: scores, overlap and number are limited as behind the second stage.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class ProposalPredictor(nn.Module):
    """On every map (N, C, H, W): objectness (N, A, 1) and offsets (N, A, 4), named as in one-stage detectors."""

    def __init__(self, rpn_head: Any) -> None:
        super().__init__()
        self.conv: nn.Module = rpn_head.conv
        self.cls_logits: nn.Module = rpn_head.cls_logits
        self.bbox_pred: nn.Module = rpn_head.bbox_pred

    def forward(self, maps: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        shared = [self.conv(one) for one in maps]
        return {
            "bbox_regression": torch.cat([_rows(self.bbox_pred(one), 4) for one in shared], 1),
            "cls_logits": torch.cat([_rows(self.cls_logits(one), 1) for one in shared], 1),
        }


class RegionProposals(nn.Module):
    """A Faster R-CNN with the parts, and their names, that torchvision's one-stage detectors have."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        rpn, second = detector.rpn, detector.roi_heads
        self.backbone: nn.Module = detector.backbone
        self.head = ProposalPredictor(rpn.head)
        self.transform = detector.transform
        self.anchor_generator, self.box_coder = rpn.anchor_generator, rpn.box_coder
        self.score_thresh, self.nms_thresh = second.score_thresh, second.nms_thresh
        self.detections_per_img = second.detections_per_img
        self.topk_candidates = rpn._pre_nms_top_n["testing"]
        self.rpn = rpn
        rpn.head = nn.Identity()

    def compute_loss(
        self, truth: list[dict[str, torch.Tensor]], found: dict[str, torch.Tensor], anchors: list[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """torchvision's own, on as many anchors of each image as it draws."""
        labels, matched = self.rpn.assign_targets_to_anchors(anchors, truth)
        wanted = self.rpn.box_coder.encode(matched, anchors)
        objectness, boxes = self.rpn.compute_loss(
            found["cls_logits"], found["bbox_regression"].reshape(-1, 4), labels, wanted
        )
        return {"objectness": objectness, "boxes": boxes}


def _rows(found: torch.Tensor, width: int) -> torch.Tensor:
    """(N, boxes width, H, W) -> (N, H W boxes, width)"""
    count, _, rows, columns = found.shape
    return found.view(count, -1, width, rows, columns).permute(0, 3, 4, 1, 2).reshape(count, -1, width)
