# SPDX-License-Identifier: Apache-2.0
"""torchvision's segmentation networks as networks of one tensor: theirs give a dictionary of one.

Names of parameters are torchvision's, so that published weights fit. The second head (`aux_classifier`), which is for
training from nothing, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def builds_on_backbone(name: str) -> bool:
    """Whether torchvision's builder of this name would download a backbone unless it is told not to."""
    import inspect

    from torchvision import models

    return "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters


def is_pixelwise(name: str) -> bool:
    """Whether this name of torchvision is that of a segmentation network."""
    from torchvision import models

    return name in models.list_models(module=models.segmentation)


class Pixelwise(nn.Module):
    """(N, 3, H, W) -> (N, classes, H, W), logits, of a network of `torchvision.models.segmentation`."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone: nn.Module = network.backbone
        self.classifier: nn.Module = network.classifier
        self.one = not hasattr(network.classifier, "low_classifier")  # LRASPP's reads two of the backbone's tensors

    def fitted(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A weights file without what belongs to the second head."""
        return {name: value for name, value in tensors.items() if not name.startswith("aux_classifier.")}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.backbone(x)
        out: torch.Tensor = self.classifier(seen["out"] if self.one else seen)
        return functional.interpolate(out, size=x.shape[-2:], mode="bilinear", align_corners=False)
