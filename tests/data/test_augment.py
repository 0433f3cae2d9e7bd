# SPDX-License-Identifier: Apache-2.0
"""Augmentation: every output is a crop of the padded image, and all crops occur equally often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gossamer.data.augment import GREY, crop_and_flip, cut_out


def crops_of(image: np.ndarray, pad: int) -> list[bytes]:
    """Every crop of one padded image (C, H, W), plain and mirrored, made without torch."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    found = []
    for y in range(2 * pad + 1):
        for x in range(2 * pad + 1):
            crop = padded[:, y : y + height, x : x + width]
            found += [crop.tobytes(), crop[..., ::-1].tobytes()]
    return found


def test_outputs_are_exactly_the_crops_of_their_own_image() -> None:
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    out = crop_and_flip(images, torch.Generator().manual_seed(1))
    assert out.dtype == torch.uint8
    for before, after in zip(images.numpy(), out.numpy(), strict=True):
        assert after.tobytes() in crops_of(before, 2)


def test_every_crop_is_equally_likely() -> None:
    """50 different crops, 5,000 draws: each expected 100 times, standard deviation 10."""
    image = torch.arange(1, 257, dtype=torch.int64).sub(1).to(torch.uint8).reshape(1, 1, 16, 16)
    out = crop_and_flip(image.repeat(5000, 1, 1, 1), torch.Generator().manual_seed(2))
    counts = dict.fromkeys(crops_of(image[0].numpy(), 2), 0)
    for crop in out.numpy():
        counts[crop.tobytes()] += 1
    assert len(counts) == 50
    assert min(counts.values()) > 60
    assert max(counts.values()) < 140


def test_a_seed_gives_the_same_crops_and_leaves_the_input_alone() -> None:
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    before = images.clone()
    first, again, other = (crop_and_flip(images, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)


def test_memory_layout_does_not_matter() -> None:
    images = torch.randint(0, 256, (8, 32, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(6))
    strided = images.permute(0, 3, 1, 2)
    first, second = (crop_and_flip(x, torch.Generator().manual_seed(7)) for x in (strided, strided.contiguous()))
    assert torch.equal(first, second)


def test_without_flip_nothing_is_mirrored() -> None:
    image = torch.arange(16, dtype=torch.uint8).repeat(16, 1)[None, None] + 1
    out = crop_and_flip(image.repeat(50, 1, 1, 1), torch.Generator().manual_seed(8), flip=False)
    inner = out[:, 0, 8, 4:12].to(torch.int64)
    assert (inner.diff(dim=1) == 1).all()


def test_only_batches_of_uint8_images() -> None:
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, C, H, W\), got torch.float32 \(1, 3, 8, 8\)"):
        crop_and_flip(torch.zeros(1, 3, 8, 8), torch.Generator())


def test_a_grey_square_lies_around_each_pixel_equally_often() -> None:
    images = torch.zeros(4000, 3, 8, 8, dtype=torch.uint8)
    covered = (cut_out(images, torch.Generator().manual_seed(0), 4) == GREY).numpy()
    assert (covered == covered[:, :1]).all(), "all channels alike"
    heights = covered[:, 0].any(2).sum(1)
    assert set(heights.tolist()) == {2, 3, 4}, "at a border part of the square lies outside"
    assert (covered[:, 0].sum((1, 2)) == heights * covered[:, 0].any(1).sum(1)).all(), "it is a rectangle"
    share = covered[:, 0].mean(0)
    assert share[3:5, 3:5] == pytest.approx(0.25, abs=0.03)
    assert share[0, 0] == pytest.approx(9 / 64, abs=0.03)
    assert not images.any()
