# SPDX-License-Identifier: Apache-2.0
"""Preprocessing: the formula, the same bits from numpy and torch, the crop, and JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gossamer.data.preprocess import INTERPOLATIONS, PRESETS, Preprocess, preset

HALF = Preprocess((0.5,) * 3, (0.5,) * 3, 8)


def test_apply_is_the_formula() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    preprocess = preset("cifar10")
    expected = (images / 255 - np.array(preprocess.mean)) / np.array(preprocess.std)
    got = preprocess.apply(images)
    assert got.dtype == np.float32
    assert got.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(got, expected.transpose(0, 3, 1, 2), atol=2e-6)


def test_scale_one_reads_pixels() -> None:
    """Caffe networks subtract a mean in pixels: x = pixel - 100."""
    caffe = Preprocess((100.0,), (1.0,), 2, channels=1, scale=1.0)
    got = caffe.apply(np.array([[0, 100], [200, 255]], np.uint8).reshape(1, 2, 2, 1))
    assert got.reshape(-1).tolist() == [-100, 0, 100, 155]


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_torch_gives_the_same_bits_as_numpy(bgr: bool, turned: bool) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    preprocess = replace(preset("imagenet"), bgr=bgr, turned=turned)
    from_torch = preprocess.apply_tensor(torch.from_numpy(images).permute(0, 3, 1, 2))
    np.testing.assert_array_equal(from_torch.numpy(), preprocess.apply(images))


def test_bgr_reverses_channels_and_turned_the_picture() -> None:
    images = np.random.default_rng(2).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    plain = HALF.apply(images)
    np.testing.assert_array_equal(replace(HALF, bgr=True).apply(images), plain[:, ::-1])
    np.testing.assert_array_equal(replace(HALF, turned=True).apply(images), plain[:, :, ::-1, ::-1])


@pytest.mark.parametrize("preprocess", [*PRESETS.values(), Preprocess((0.1,), (2.0,), (48, 64), 1, 1.0, turned=True)])
def test_json_inverts(preprocess: Preprocess) -> None:
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess


@pytest.mark.parametrize("values", [{}, {"mean": 1, "std": [1], "size": 3}, {**HALF.to_json(), "colour": 1}])
def test_from_json_names_what_it_got(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected the preprocessing of a network, got"):
        Preprocess.from_json(values)


def test_small_pictures_are_resized_directly() -> None:
    picture = Image.new("RGB", (64, 48), (10, 20, 30))
    picture.paste((200, 0, 0), (0, 0, 4, 48))  # a border that a crop would lose
    fitted = preset("cifar10").fit(picture)
    assert fitted.shape == (32, 32, 3)
    assert fitted[16, 0, 0] > 150


def test_large_pictures_lose_their_border() -> None:
    """Of 512x256 pixels the centre 224x224 is kept: columns 144 to 368, rows 16 to 240, nothing resized."""
    pixels = np.zeros((256, 512, 3), np.uint8)
    pixels[..., 0] = np.arange(512) // 2
    pixels[..., 1] = np.arange(256)[:, None]
    fitted = preset("imagenet").fit(Image.fromarray(pixels))
    np.testing.assert_array_equal(fitted, pixels[16:240, 144:368])


@pytest.mark.parametrize("size", [(300, 500), (1000, 90), (224, 224), (17, 2000)])
@pytest.mark.parametrize("target", [224, (96, 160)])
def test_every_picture_fits(size: tuple[int, int], target: int | tuple[int, int]) -> None:
    preprocess = replace(preset("imagenet"), size=target)
    assert preprocess.fit(Image.new("RGB", size)).shape == (preprocess.height, preprocess.width, 3)


def test_whole_pictures_with_crop_one() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    np.testing.assert_array_equal(replace(HALF, size=96, crop=1.0).fit(Image.fromarray(pixels)), pixels)


@pytest.mark.parametrize("way", INTERPOLATIONS)
@pytest.mark.parametrize("size", [48, 96])
def test_pictures_are_resized_as_asked(way: str, size: int) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    expected = picture.resize((size, size), Image.Resampling[way.upper()])
    fitted = replace(HALF, size=size, crop=1.0, interpolation=way).fit(picture)
    np.testing.assert_array_equal(fitted, np.asarray(expected))


@pytest.mark.parametrize("way", INTERPOLATIONS)
@pytest.mark.parametrize("size", [48, (96, 160)])
def test_squeezed_pictures_are_whole(way: str, size: int | tuple[int, int]) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (70, 200, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    preprocess = replace(HALF, size=size, interpolation=way)
    expected = picture.resize((preprocess.width, preprocess.height), Image.Resampling[way.upper()])
    np.testing.assert_array_equal(preprocess.squeeze(picture), np.asarray(expected))
    grey = Preprocess((0.5,), (0.5,), size, channels=1).squeeze(picture)
    np.testing.assert_array_equal(
        grey[..., 0], np.asarray(picture.convert("L").resize((preprocess.width, preprocess.height), 2))
    )


def test_grey_networks_see_grey() -> None:
    assert preset("mnist").fit(Image.new("RGB", (28, 28), (255, 255, 255))).shape == (28, 28, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 4}, "channels must be 1 or 3, got 4"),
        ({"mean": (0.5,)}, r"mean needs 3 numbers, one per channel, got \[0.5\]; give e.g. --mean 0.5 0.5 0.5"),
        ({"std": (1.0, 1.0, float("nan"))}, "std needs 3 numbers"),
        ({"std": (1.0, 1.0, 0.0)}, r"std must be positive, got \[1.0, 1.0, 0.0\]"),
        ({"size": 0}, "size must be at least 1 pixel, got 0"),
        ({"size": (4, -1)}, r"size must be at least 1 pixel, got \(4, -1\)"),
        ({"scale": 0}, "scale must be positive, got 0"),
        ({"crop": 1.5}, r"crop must be in \(0, 1\], got 1.5"),
        ({"interpolation": "cubic"}, "interpolation must be one of nearest, bilinear, bicubic, lanczos, got 'cubic'"),
        ({"channels": 1, "mean": (0.0,), "std": (1.0,), "bgr": True}, "bgr needs 3 channels, got 1"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(HALF, **change)


def test_images_of_another_size_or_type_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, 8, 8, 3\), got uint8 \(1, 9, 8, 3\)"):
        HALF.apply(np.zeros((1, 9, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, 3, 8, 8\), got torch.float32 \(1, 3, 8, 8\)"):
        HALF.apply_tensor(torch.zeros(1, 3, 8, 8))


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ValueError, match="no preset is called 'cifar'; choose from cifar10, cifar10-imagenet-stats"):
        preset("cifar")


def test_importing_and_applying_needs_no_torch() -> None:
    program = (
        "import sys, numpy as np\n"
        "from gossamer.data.preprocess import preset\n"
        "preset('cifar10').apply(np.zeros((1, 32, 32, 3), np.uint8))\n"
        "assert not {'torch', 'PIL', 'onnx'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
