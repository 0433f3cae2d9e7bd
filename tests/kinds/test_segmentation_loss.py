# SPDX-License-Identifier: Apache-2.0
"""The loss of segmentation: numbers worked out by hand, sound gradients, and no dependence on who shares a batch."""

from __future__ import annotations

import math

import pytest
import torch

from gossamer.kinds.segmentation_loss import segmentation_loss, soft_jaccard


def logit(p):
    return math.log(p / (1 - p))


def test_one_logit_by_hand():
    """Probabilities 0.8 where there is an object and 0.4 where there is none."""
    outputs = torch.tensor([[[[logit(0.8), logit(0.4)]]]], dtype=torch.float32)
    masks = torch.tensor([[[1, 0]]])
    entropy = -(math.log(0.8) + math.log(0.6)) / 2
    index = (0.8 + 1) / (0.8 + 0.4 + 1 - 0.8 + 1)  # union 1.4, one pixel of smoothing
    assert segmentation_loss(outputs, masks).item() == pytest.approx(entropy - math.log(index), rel=1e-6)
    assert segmentation_loss(outputs, masks, jaccard=0.5).item() == pytest.approx(
        entropy - math.log(index) / 2, rel=1e-6
    )
    assert segmentation_loss(outputs, masks, jaccard=0).item() == pytest.approx(entropy, rel=1e-6)


def test_three_classes_by_hand():
    """Two pixels of classes 0 and 1; the third class is nowhere."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]])
    outputs = p.log().T[None, :, None]  # (1, 3, 1, 2)
    masks = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    entropy = -(math.log(0.7) + math.log(0.6)) / 2
    first = (0.7 + 1) / (1.0 + 1 - 0.7 + 1)
    second = (0.6 + 1) / (0.8 + 1 - 0.6 + 1)
    third = 1 / (0.2 + 1)
    expected = entropy - (math.log(first) + math.log(second) + math.log(third)) / 3
    assert segmentation_loss(outputs, masks).item() == pytest.approx(expected, rel=1e-6)


def test_the_index_is_one_where_all_is_right():
    truth = torch.tensor([[[[1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]]]])
    assert torch.equal(soft_jaccard(truth, truth), torch.ones(1, 2))
    assert torch.allclose(soft_jaccard(1 - truth, truth), torch.tensor([[1 / 4, 1 / 4]]))


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_gradients_are_finite_when_a_class_is_absent(channels, scale, kind):
    generator = torch.Generator().manual_seed(0)
    outputs = (scale * torch.randn(3, channels, 8, 8, generator=generator)).to(kind).requires_grad_()
    masks = torch.zeros(3, 8, 8, dtype=torch.uint8)
    loss = segmentation_loss(outputs, masks)
    assert loss.dtype == torch.float32
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(outputs.grad).all()


def test_an_empty_image_is_pushed_towards_nothing():
    outputs = torch.zeros(1, 1, 8, 8, requires_grad=True)
    segmentation_loss(outputs, torch.zeros(1, 8, 8)).backward()
    assert (outputs.grad > 0).all(), "against the gradient is down"
    found = torch.full((1, 1, 8, 8), -1e4)
    assert segmentation_loss(found, torch.zeros(1, 8, 8)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_may_be_shared(channels):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, channels, 5, 7, generator=generator)
    masks = torch.randint(0, max(2, channels), (6, 5, 7), generator=generator)
    parts = [segmentation_loss(outputs[part], masks[part]) for part in (slice(0, 2), slice(2, 4), slice(4, 6))]
    assert segmentation_loss(outputs, masks).item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-6)


def test_descent_finds_the_mask():
    masks = (torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.9).long()
    outputs = torch.zeros(2, 1, 16, 16, requires_grad=True)
    for _ in range(40):
        (slope,) = torch.autograd.grad(segmentation_loss(outputs, masks), outputs)
        outputs = (outputs - 0.3 * slope.sign()).detach().requires_grad_()
    assert torch.equal((outputs[:, 0] > 0).long(), masks)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"masks \(N, H, W\), got \(2, 1, 4, 4\) and \(2, 1, 4, 4\)"):
        segmentation_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"outputs must be \(N, classes, H, W\)"):
        segmentation_loss(torch.zeros(2, 4), torch.zeros(2))
