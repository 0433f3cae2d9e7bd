# SPDX-License-Identifier: Apache-2.0
"""Augmentation of images with masks: both move alike, every way to lay a square comes equally often, light is light."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gossamer.data.augment_masks import change_light, crop_and_turn


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count, height, width):
    """Images whose pixels say where they are (row, column, image), and as masks a function of that."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    images = torch.stack([rows, columns, torch.zeros_like(rows)]).repeat(count, 1, 1, 1).to(torch.uint8)
    images[:, 2] = torch.arange(count)[:, None, None]
    return images, (7 * images[:, 0] + 3 * images[:, 1] + images[:, 2]).to(torch.uint8)


def ways(image):
    """The eight ways to lay a square (C, S, S), made without torch."""
    return [np.rot90(way, k, (1, 2)).tobytes() for way in (image, image[..., ::-1]) for k in range(4)]


@pytest.mark.parametrize("size", [None, 5, (6, 9), (9, 4)])
def test_image_and_mask_stay_aligned_and_are_a_window_of_their_own_image(size):
    images, masks = numbered(40, 9, 11)
    out, maps = crop_and_turn(images, masks, seeded(), size=size)
    height, width = (9, 11) if size is None else (size, size) if isinstance(size, int) else size
    assert (out.shape, maps.shape) == ((40, 3, height, width), (40, height, width))
    assert (out.dtype, maps.dtype) == (torch.uint8, torch.uint8)
    assert torch.equal(maps, (7 * out[:, 0] + 3 * out[:, 1] + out[:, 2]).to(torch.uint8))
    assert (out[:, 2] == torch.arange(40)[:, None, None]).all(), "every image is its own"
    for image in out[:, :2].long():
        spans = sorted(int(x.max() - x.min()) + 1 for x in image)
        assert spans == sorted((height, width)), "a whole window"
        assert len(image.flatten(1).unique(dim=1).T) == height * width, "each pixel once"


@pytest.mark.parametrize(("size", "margin"), [(None, 3), (5, 3), ((6, 9), 8)])
def test_windows_may_reach_beyond_the_image_where_it_goes_on_mirrored(size, margin):
    images, masks = numbered(300, 9, 11)
    still = {"mirror": False, "flip": False, "turn": False}
    out, maps = crop_and_turn(images, masks, seeded(), size=size, margin=margin, **still)
    height, width = out.shape[2:]
    assert torch.equal(maps, (7 * out[:, 0] + 3 * out[:, 1] + out[:, 2]).to(torch.uint8))
    wider = np.pad(images[0, :2].numpy(), ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
    places = {
        wider[:, y : y + height, x : x + width].tobytes()
        for y in range(wider.shape[1] - height + 1)
        for x in range(wider.shape[2] - width + 1)
    }
    found = {image[:2].numpy().tobytes() for image in out}
    assert found <= places
    assert len(found) > 0.7 * min(len(places), 100), "at random"


def test_a_margin_that_is_as_wide_as_the_image_is_refused():
    with pytest.raises(ValueError, match="margin must be at least 0 and below the sides of images, 9x11, got 9"):
        crop_and_turn(*numbered(2, 9, 11), seeded(), margin=9)


def test_all_eight_ways_are_equally_likely():
    """4,000 draws: each expected 500 times, standard deviation 21."""
    image = np.arange(3 * 5 * 5, dtype=np.uint8).reshape(3, 5, 5)
    images = torch.from_numpy(image).repeat(4000, 1, 1, 1)
    out, _ = crop_and_turn(images, images[:, 0], seeded(1))
    counts = dict.fromkeys(ways(image), 0)
    for found in out.numpy():
        counts[found.tobytes()] += 1
    assert len(counts) == 8
    assert min(counts.values()) > 400
    assert max(counts.values()) < 600


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mirror": False, "flip": False, "turn": False}, {0}),
        ({"flip": False, "turn": False}, {0, 4}),
        ({"mirror": False, "turn": False}, {0, 6}),
        ({"mirror": False, "flip": False}, {0, 1, 2, 3}),
    ],
)
def test_only_what_is_asked_for(options, expected):
    image = np.arange(3 * 5 * 5, dtype=np.uint8).reshape(3, 5, 5)
    out, _ = crop_and_turn(
        torch.from_numpy(image).repeat(200, 1, 1, 1), torch.zeros(200, 5, 5).byte(), seeded(), **options
    )
    assert {ways(image).index(found.tobytes()) for found in out.numpy()} == expected


def test_windows_that_are_not_square_turn_by_halves():
    image = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    out, _ = crop_and_turn(
        torch.from_numpy(image).repeat(99, 1, 1, 1), torch.zeros(99, 4, 5).byte(), seeded(), mirror=False, flip=False
    )
    assert {found.tobytes() for found in out.numpy()} == {image.tobytes(), image[:, ::-1, ::-1].tobytes()}


def test_every_window_comes():
    images, masks = numbered(600, 6, 7)
    out, _ = crop_and_turn(images, masks, seeded(), size=4, mirror=False, flip=False, turn=False)
    corners = {tuple(corner) for corner in out[:, :2, 0, 0].tolist()}
    assert corners == {(row, column) for row in range(3) for column in range(4)}


def test_a_seed_gives_the_same_and_leaves_the_input_alone():
    images, masks = numbered(8, 9, 9)
    before = images.clone(), masks.clone()
    first, again, other = (crop_and_turn(images, masks, seeded(seed), size=6) for seed in (4, 4, 5))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    bright, brighter = (change_light(images, seeded(seed)) for seed in (4, 4))
    assert torch.equal(bright, brighter)
    assert all(torch.equal(one, two) for one, two in zip((images, masks), before, strict=True))


def test_light_changes_an_image_linearly_and_each_by_itself():
    ramp = torch.arange(60, 180, dtype=torch.uint8).view(1, 1, 8, 15).repeat(50, 3, 1, 1)
    out = change_light(ramp, seeded(), brightness=0.1, contrast=0.2, colour=0.1).double()
    x = ramp[0, 0].flatten().double()
    slopes = (
        torch.stack([torch.stack([torch.cov(torch.stack([x, c.flatten()]))[0, 1] for c in i]) for i in out]) / x.var()
    )
    assert 0.7 < slopes.min() < 0.85
    assert 1.15 < slopes.max() < 1.33
    fitted = out.mean((2, 3), keepdim=True) + slopes[:, :, None, None] * (ramp - x.mean())
    assert (out - fitted).abs().max() <= 1, "a straight line, but for rounding"
    means = out.mean((2, 3))
    assert (means - x.mean()).abs().max() < 0.1 * 255 + 0.1 * 150
    assert means.mean(1).std() > 5, "images differ"
    assert (means - means.mean(1, keepdim=True)).std() > 3, "channels differ"


def test_no_change_of_light_is_none_and_ends_do_not_wrap():
    ends = torch.tensor([0, 255], dtype=torch.uint8).repeat(64, 3, 2, 1)
    assert torch.equal(change_light(ends, seeded(), brightness=0, contrast=0, colour=0), ends)
    out = change_light(ends, seeded())
    assert (out[..., 0] < 80).all()
    assert (out[..., 1] > 170).all()


def test_what_does_not_fit_is_refused():
    images, masks = numbered(2, 8, 8)
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, C, H, W\), got torch.float32"):
        crop_and_turn(images.float(), masks, seeded())
    with pytest.raises(
        ValueError, match=r"masks must be uint8 \(2, 8, 8\) like their images, got torch.uint8 \(2, 8, 7\)"
    ):
        crop_and_turn(images, masks[..., 1:], seeded())
    with pytest.raises(ValueError, match=r"masks must be uint8 .*, got torch.int64"):
        crop_and_turn(images, masks.long(), seeded())
    with pytest.raises(ValueError, match="crops must fit into images of 8x8 pixels, got 8x9"):
        crop_and_turn(images, masks, seeded(), size=(8, 9))
    with pytest.raises(ValueError, match=r"contrast must be in \[0, 1\), got 1"):
        change_light(images, seeded(), contrast=1)
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, C, H, W\), got torch.uint8 \(2, 8, 8\)"):
        change_light(masks, seeded())
