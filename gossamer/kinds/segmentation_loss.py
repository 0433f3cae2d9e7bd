# SPDX-License-Identifier: Apache-2.0
"""The loss that segmentation is trained on: entropy of the pixels minus the logarithm of a soft Jaccard index.

    one logit      L_n = BCE_n - log J_n(p, y)             p = sigmoid(logit)
    K classes      L_n = CE_n - mean_c log J_n(p_c, y_c)   p = softmax(logits)
    J_n(p, y) = (sum p y + s) / (sum p + sum y - sum p y + s),   sums over the pixels of image n

Paper: V. Iglovikov, A. Shvets, "TernausNet: U-Net with VGG11 Encoder Pre-Trained on ImageNet for Image Segmentation",
2018, arXiv 1801.05746, section 4.

Differs from the paper:
1. Sums are taken over the pixels of an image, and J of that; the paper writes the mean of the pixels' own ratios, which
   is zero wherever there is no object, whatever is answered there.
2. The loss is the mean of the images' own losses, where the authors' later code (robot-surgery-segmentation) sums over
   a batch: so it does not depend on how a batch is shared among processes.
3. s is one pixel, against 1e-15 in that code: J of an image without the class is 1 / (1 + sum p), at most 1, and its
   logarithm does not go on to reward ever smaller probabilities.
4. The form for several classes is ours.
"""

from __future__ import annotations

import torch
from torch.nn import functional

SMOOTH = 1.0  # pixels


def segmentation_loss(outputs: torch.Tensor, masks: torch.Tensor, *, jaccard: float = 1.0) -> torch.Tensor:
    """Mean over the images, computed in float32; (N, 1, H, W) or (N, K, H, W), (N, H, W) of class numbers -> ()

    `jaccard` weighs the second term; 0 leaves the entropy alone.
    """
    wanted = (len(outputs), *outputs.shape[2:])
    if outputs.ndim != 4 or tuple(masks.shape) != wanted:
        raise ValueError(
            f"outputs must be (N, classes, H, W) and masks (N, H, W), got {tuple(outputs.shape)} and "
            f"{tuple(masks.shape)}"
        )
    logits = outputs.float()  # sums over 65,536 pixels are beyond half precision
    if logits.shape[1] == 1:
        truth = masks[:, None].to(logits.dtype)
        entropy = functional.binary_cross_entropy_with_logits(logits, truth)
        index = soft_jaccard(logits.sigmoid(), truth)
    else:
        numbers = masks.long()
        truth = functional.one_hot(numbers, logits.shape[1]).permute(0, 3, 1, 2).to(logits.dtype)
        entropy = functional.cross_entropy(logits, numbers)
        index = soft_jaccard(logits.softmax(1), truth)
    return entropy - jaccard * index.log().mean()


def soft_jaccard(probabilities: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The Jaccard index of probabilities with zeros and ones: (N, C, H, W), (N, C, H, W) -> (N, C), in (0, 1]

    >>> soft_jaccard(torch.tensor([[[[0.5, 0.5]]]]), torch.tensor([[[[1.0, 0.0]]]]))
    tensor([[0.6000]])
    """
    inside = (probabilities * truth).sum((2, 3))
    union = probabilities.sum((2, 3)) + truth.sum((2, 3)) - inside
    return (inside + SMOOTH) / (union + SMOOTH)
