# SPDX-License-Identifier: Apache-2.0
"""Augmentation with boxes: boxes follow their pixels, windows are as the paper draws them, a seed gives the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gossamer.data.augment_boxes import augmented
from gossamer.data.boxes import PADDING

SIDE, WIDE = 96, 120
NOTHING = {"mirror": False, "smallest": 1.0, "widest": 1.0, "light": False}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def painted(count, seed=0, boxes=None):
    """Dark images with two objects, one only red and one only green, and a third row of padding."""
    rng = np.random.default_rng(seed)
    images = torch.zeros(count, 3, SIDE, WIDE, dtype=torch.uint8)
    truth = torch.zeros(count, 3, 6)
    truth[:, 2, 4] = PADDING
    for index in range(count):
        for channel in range(2):
            if boxes is None:
                left, top = rng.integers(0, WIDE - 30), rng.integers(0, SIDE - 30)
                right, bottom = left + rng.integers(12, 31), top + rng.integers(12, 31)
            else:
                left, top, right, bottom = boxes[channel]
            images[index, channel, top:bottom, left:right] = 255
            corners = [left / WIDE, top / SIDE, right / WIDE, bottom / SIDE]
            truth[index, channel] = torch.tensor([*corners, 3 + channel, channel])
    return images, truth


def extents(mask):
    """The corners of what is set in a mask (H, W), relative; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    height, width = mask.shape
    return np.array([columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height])


def ramps(count):
    """Images whose red and green say where a pixel was, from 20 on; blue, if anything, says it is of the image."""
    across = torch.linspace(20, 250, WIDE)[None].expand(SIDE, WIDE)
    down = torch.linspace(20, 250, SIDE)[:, None].expand(SIDE, WIDE)
    image = torch.stack([across, down, torch.full((SIDE, WIDE), 255.0)]).round().to(torch.uint8)
    return image.repeat(count, 1, 1, 1)


def windows(out):
    """Left, top, right, bottom of what is seen of `ramps`, relative, (N, 4); only for windows inside the image."""
    red, green = (out[:, channel].double() for channel in (0, 1))
    edges = []
    for low, high, side in ((red[:, 0, 0], red[:, 0, -1], WIDE), (green[:, 0, 0], green[:, -1, 0], SIDE)):
        # The outermost pixels of a window of w sides show what is half an enlarged pixel inside of it.
        first, last = ((of - 20) / 230 * (side - 1) + 0.5 for of in (low, high))
        half = (last - first) / (side - 1) / 2
        edges += [(first - half) / side, (last + half) / side]
    return torch.stack([edges[0], edges[2], edges[1], edges[3]], 1)


def test_nothing_asked_for_is_nothing_done():
    images, truth = painted(8)
    out, boxes = augmented(images, truth, seeded(), **NOTHING)
    assert torch.equal(out, images)
    torch.testing.assert_close(boxes, truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"widest": 1.0}, {"smallest": 1.0}, {"mirror": False}, {"widest": 1.0, "mirror": False}],
    ids=str,
)
def test_boxes_follow_their_pixels(options):
    """Within two pixels: resizing blurs edges, and what was between two pixels is cut at one."""
    images, truth = painted(300)
    out, boxes = augmented(images, truth, seeded(1), **{"light": False, **options})
    assert (out.shape, out.dtype, boxes.shape, boxes.dtype) == (images.shape, torch.uint8, truth.shape, torch.float32)
    assert (boxes[:, 2] == torch.tensor([0, 0, 0, 0, PADDING, 0.0])).all()
    kept = 0
    for index in range(len(images)):
        for channel in range(2):
            row, found = boxes[index, channel].numpy(), extents(out[index, channel].numpy() > 135)
            if row[4] == PADDING:
                assert (row == [0, 0, 0, 0, PADDING, 0]).all()
                assert found is None or min(found[0], found[1], 1 - found[2], 1 - found[3]) == 0, "it has left"
                continue
            kept += 1
            assert row[4:].tolist() == [3 + channel, channel]
            np.testing.assert_allclose(row[:4], found, atol=2.5 / SIDE)
    assert kept > 400, "most objects stay"


def test_an_object_stays_where_its_centre_is_in_the_window_and_only_there():
    """Against the rule applied one by one, with the window read off the pixels."""
    truth = painted(300)[1]
    out, boxes = augmented(ramps(300), truth, seeded(2), **{**NOTHING, "smallest": 0.2})
    left = 0
    for window, before, after in zip(windows(out).tolist(), truth[:, :2].tolist(), boxes[:, :2].tolist(), strict=True):
        for (x1, y1, x2, y2, *_), row in zip(before, after, strict=True):
            distance = min((x1 + x2) / 2 - window[0], window[2] - (x1 + x2) / 2)
            distance = min(distance, (y1 + y2) / 2 - window[1], window[3] - (y1 + y2) / 2)
            if abs(distance) > 0.02:  # not decided by rounding
                assert (row[4] != PADDING) == (distance > 0)
                left += row[4] == PADDING
            if row[4] != PADDING:
                wide, high = window[2] - window[0], window[3] - window[1]
                moved = [(x1 - window[0]) / wide, (y1 - window[1]) / high]
                moved += [(x2 - window[0]) / wide, (y2 - window[1]) / high]
                np.testing.assert_allclose(row[:4], np.clip(moved, 0, 1), atol=0.03)
    assert left > 20


def test_half_the_images_are_mirrored_and_their_boxes_with_them():
    images, truth = painted(400)
    out, boxes = augmented(images, truth, seeded(), **{**NOTHING, "mirror": True})
    same = (out == images).flatten(1).all(1)
    assert torch.equal(out[~same], images[~same].flip(3))
    assert 150 < same.sum() < 250
    torch.testing.assert_close(boxes[same], truth[same], rtol=0, atol=1e-6)
    turned = truth[~same, :2]
    turned[..., [0, 2]] = 1 - turned[..., [2, 0]]
    torch.testing.assert_close(boxes[~same, :2], turned, rtol=0, atol=1e-6)


@pytest.mark.parametrize("smallest", [0.1, 0.3, 0.7])
def test_windows_have_the_area_and_shape_asked_for(smallest):
    """Without objects every window that holds the centre of the image will do; one image in seven stays whole."""
    out, _ = augmented(
        ramps(400),
        torch.tensor([[[0, 0, 0, 0, -1, 0.0]]]).repeat(400, 1, 1),
        seeded(),
        **{**NOTHING, "smallest": smallest},
    )
    window = windows(out)
    wide, high = (window[:, 2:] - window[:, :2]).unbind(1)
    area = wide * high
    assert area.min() > smallest - 0.04
    assert area.min() < smallest + 0.1
    assert (wide / high > 0.47).all()
    assert (wide / high < 2.15).all()
    if smallest < 0.5:
        assert (wide / high).min() < 0.65
        assert (wide / high).max() > 1.6
    whole = (area > 0.995).sum()
    assert 30 < whole < 120
    assert ((window[:, :2] < 0.51) & (window[:, 2:] > 0.49)).all(), "the centre of the image is in it"
    assert window[:, 0].std() > 0.03


@pytest.mark.parametrize("least", [0.1, 0.5, 0.7])
def test_windows_overlap_an_object_as_much_as_drawn(least, monkeypatch):
    monkeypatch.setattr("gossamer.data.augment_boxes.OVERLAPS", (least,))
    box = torch.tensor([0.3, 0.2, 0.9, 0.95])
    truth = torch.cat([box, torch.tensor([2.0, 0.0])]).repeat(300, 1, 1)
    out, boxes = augmented(ramps(300), truth, seeded(), **{**NOTHING, "smallest": 0.1})
    window = windows(out).float()
    part = window[((window[:, 2:] - window[:, :2]).prod(1)) < 0.99]
    assert 50 < len(part) < 190, "half of them, where such a window is found"
    shared = (torch.minimum(part[:, 2:], box[2:]) - torch.maximum(part[:, :2], box[:2])).clamp(min=0).prod(1)
    overlap = shared / ((part[:, 2:] - part[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared)
    assert overlap.min() > least - 0.04
    assert overlap.min() < least + 0.15
    assert (boxes[:, 0, 4] == 2).float().mean() > 0.98, "it holds the centre, but for what is rounded to pixels"
    centre = (box[:2] + box[2:]) / 2
    assert ((part[:, :2] < centre + 0.01) & (part[:, 2:] > centre - 0.01)).all()


def test_half_the_images_are_put_onto_a_canvas_of_their_mean_colour():
    images, truth = painted(300, boxes=[(0, 0, WIDE, SIDE), (30, 24, 60, 72)])
    images[:, 2] = 100
    out, boxes = augmented(images, truth, seeded(), **{**NOTHING, "widest": 3.0})
    alone = (out == images).flatten(1).all(1)
    assert 110 < alone.sum() < 190
    assert (boxes[:, :2, 4] == torch.tensor([3, 4])).all(), "no object is lost"
    mean = images.float().mean((2, 3)).round()
    size = boxes[:, 0, 2:4] - boxes[:, 0, :2]
    assert (size > 1 / 3 - 0.02).all()
    assert size.min() < 0.37
    assert (size[:, 0] - size[:, 1]).abs().max() < 0.03, "its shape stays"
    assert boxes[~alone, 0, :2].std() > 0.1
    for index in np.flatnonzero(~alone.numpy()).tolist():
        left, top, right, bottom = (boxes[index, 0, :4] * torch.tensor([WIDE, SIDE, WIDE, SIDE])).round().int().tolist()
        outside = torch.ones(SIDE, WIDE, dtype=torch.bool)
        outside[top:bottom, left:right] = False
        if outside.any():
            assert (out[index][:, outside] == mean[index][:, None]).all()
            assert (out[index, 0, top:bottom, left:right] == 255).all()


def test_an_image_is_light_or_dark_as_a_whole():
    images = torch.full((60, 3, SIDE, WIDE), 128, dtype=torch.uint8)
    truth = painted(60)[1]
    out, boxes = augmented(images, truth, seeded(), **{**NOTHING, "light": True})
    assert (out == out[:, :, :1, :1]).all()
    assert out[:, 0, 0, 0].float().std() > 8
    torch.testing.assert_close(boxes, truth, rtol=0, atol=1e-6)


def test_a_seed_gives_the_same_and_leaves_the_input_alone():
    images, truth = painted(12)
    before = images.clone(), truth.clone()
    first, again, other = (augmented(images, truth, seeded(seed)) for seed in (4, 4, 5))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(images, before[0])
    assert torch.equal(truth, before[1])
    channels_last = augmented(images.to(memory_format=torch.channels_last), truth, seeded(4))
    assert (channels_last[0].int() - first[0].int()).abs().max() <= 1
    assert torch.equal(channels_last[1], first[1])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (3, 5, 1)])
def test_images_of_a_few_pixels_survive(shape):
    images = torch.full((50, *shape), 9, dtype=torch.uint8)
    truth = torch.tensor([[0.1, 0.1, 0.9, 0.9, 0.0, 0.0]]).repeat(50, 1, 1)
    out, boxes = augmented(images, truth, seeded(), light=False)
    assert (out == 9).all()
    kept = boxes[boxes[..., 4] == 0]
    assert len(kept) > 25
    assert (kept[:, :2] < kept[:, 2:4]).all()


def test_what_does_not_fit_is_refused():
    images, truth = painted(2)
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, C, H, W\), got torch.float32"):
        augmented(images.float(), truth, seeded())
    for wrong in (truth[:1], truth[:, :0], truth[..., :5], truth.double(), truth[0]):
        with pytest.raises(ValueError, match=r"boxes must be float32 \(2, L, 6\) with L of 1 or more, got torch.float"):
            augmented(images, wrong, seeded())
    with pytest.raises(ValueError, match=r"smallest must be in \(0, 1\], a share of the area, got 0"):
        augmented(images, truth, seeded(), smallest=0)
    with pytest.raises(ValueError, match=r"widest must be 1 or more, in sides of the image, got 0\.5"):
        augmented(images, truth, seeded(), widest=0.5)
