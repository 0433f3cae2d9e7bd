# SPDX-License-Identifier: Apache-2.0
"""The report's layers count output channels, of transposed convolutions too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.report.assemble import _outputs_first


@pytest.mark.parametrize(
    ("convolution", "after", "shown_before", "shown_after"),
    [
        (nn.Conv2d(6, 8, 3), (5, 6, 3, 3), (8, 6, 3, 3), (5, 6, 3, 3)),
        (nn.ConvTranspose2d(6, 8, 2), (6, 5, 2, 2), (8, 6, 2, 2), (5, 6, 2, 2)),
        (nn.ConvTranspose2d(6, 9, 2, groups=3), (6, 2, 2, 2), (9, 2, 2, 2), (6, 2, 2, 2)),
        (nn.ConvTranspose2d(6, 12, 2, groups=6), (4, 2, 2, 2), (12, 1, 2, 2), (8, 1, 2, 2)),
    ],
    ids=["plain", "transposed", "in groups", "depthwise"],
)
def test_output_channels_come_first(convolution, after, shown_before, shown_after):
    network = trace(nn.Sequential(convolution), torch.zeros(2, 6, 8, 8))
    (layer,) = network.layers
    assert _outputs_first(layer, layer.shape) == shown_before
    assert _outputs_first(layer, after) == shown_after
