# SPDX-License-Identifier: Apache-2.0
"""What every detector of the zoo must do: learn two images by heart, and compute in ONNX Runtime what it computes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.kinds.detection_loss import overlaps
from gossamer.runtime.export import export_onnx
from gossamer.runtime.session import open_session

TRUTH = torch.tensor(
    [[[0.1, 0.2, 0.45, 0.7, 1, 0], [0.6, 0.1, 0.95, 0.5, 0, 0]], [[0.3, 0.3, 0.8, 0.9, 0, 0], [0, 0, 0, 0, -1, 0]]]
)


def learns_by_heart(
    network: nn.Module, images: torch.Tensor, steps: int, falls_to: float, reached: Iterable[nn.Parameter]
) -> None:
    """The criterion falls, gradients reach the weights that must be `reached`, and the head then finds the objects."""
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = network.criterion(network(images), TRUTH)
        loss.backward()
        if step == 0:
            assert all(torch.isfinite(p.grad).all() for p in network.parameters())
            assert all(p.grad.abs().sum() > 0 for p in reached if p.ndim == 4)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < falls_to * losses[0]
    with torch.no_grad():
        outputs = network(images).numpy()
    for found, truth in zip(network.head.detect(outputs, threshold=0.3), TRUTH, strict=True):
        there = truth[truth[:, 4] >= 0]
        shared = overlaps(torch.from_numpy(found.boxes)[:, None], there[:, :4])
        assert (shared.max(0).values > 0.6).all()
        assert found.classes[shared.argmax(0).numpy()].tolist() == there[:, 4].long().tolist()


def runs_alike(network: nn.Module, images: torch.Tensor) -> None:
    """Exported for one image, run with several."""
    session = open_session(export_onnx(network, torch.zeros(1, *images.shape[1:])))
    with torch.no_grad():
        expected = network(images).numpy()
    (found,) = session.run(images.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def is_cut_in_half_exactly(network: nn.Module, size: tuple[int, int]) -> None:
    """Half of what can go, chosen at random; anchors stay, and channels that are normalised together may be inexact."""
    whole = trace(network, torch.zeros(1, 3, *size))
    rng = np.random.default_rng(0)
    keep = {group.name: group.best(rng.random(group.size), max(1, group.size // 2)) for group in whole.prunable}
    assert len(keep) > 10
    smaller = whole.cut(keep)
    assert whole.check(smaller) < 1e-10
    assert smaller.parameters < 0.8 * whole.parameters
