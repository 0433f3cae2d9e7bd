# SPDX-License-Identifier: Apache-2.0
"""Pictures: formats and modes, mirrored borders, and what cannot be read or written said in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gossamer.device.pictures import PaddedPicture, find_jobs, read_picture
from tests.device.conftest import noise, save


@pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 1), (1, 40), (40, 2), (40, 50), (16, 16)])
def test_windows_are_those_of_the_mirrored_image(height, width):
    pixels = noise(height, width)
    padded = PaddedPicture(Image.fromarray(pixels), 3, (16, 16))
    above, beside = max(0, 16 - height), max(0, 16 - width)
    whole = np.pad(
        pixels, ((above // 2, above - above // 2), (beside // 2, beside - beside // 2), (0, 0)), mode="reflect"
    )
    assert padded.size == whole.shape[:2]
    for top in {0, padded.size[0] - 16, (padded.size[0] - 16) // 2}:
        for left in {0, padded.size[1] - 16}:
            window = padded.window(top, left, 16, 16)
            np.testing.assert_array_equal(window, whole[top : top + 16, left : left + 16])


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_formats(tmp_path, suffix):
    pixels = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    picture = read_picture(save(tmp_path / f"a.{suffix}", pixels))
    assert np.abs(PaddedPicture(picture, 3, (8, 8)).window(3, 3, 8, 8).astype(int) - pixels[0, 0]).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_modes(tmp_path, mode, channels):
    made = Image.fromarray(noise(20, 30)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    made.save(path, **({"transparency": bytes(range(256))} if mode == "P" else {}))
    expected = np.asarray(made.convert("RGB").convert("L" if channels == 1 else "RGB")).reshape(20, 30, channels)
    found = PaddedPicture(read_picture(path), channels, (1, 1)).window(0, 0, 20, 30)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot read the image .*a\.png: it is no PNG, JPEG, TIFF or WebP; convert"):
        read_picture(tmp_path / "a.png")
    whole = save(tmp_path / "b.png", noise(90, 90)).read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot read the image .*b\.png: .*truncated.*; replace or delete it"):
        read_picture(tmp_path / "b.png")
    save(tmp_path / "c.tif", noise(9, 9)[:, :, 0].astype(np.uint16))
    with pytest.raises(ValueError, match=r"more than 8 bits a channel \(I;16\); convert it"):
        read_picture(tmp_path / "c.tif")


def test_a_picture_too_large_for_pillow_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", noise(30, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)  # 900 pixels are a warning to Pillow: they are read
    assert read_picture(path).size == (30, 30)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(ValueError, match=r"a\.png: Pillow takes no picture so large; cut it into parts"):
        read_picture(path)


def test_jobs_of_a_folder_and_of_an_image(tmp_path):
    for name in ("b.PNG", "a.jpeg", "notes.txt", ".hidden.png", "inner/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "d.png").mkdir()
    jobs = find_jobs(tmp_path, Path("out"), overlay=True)
    assert [(job.image.name, job.mask.name, job.overlay.name) for job in jobs] == [
        ("a.jpeg", "a.png", "a.overlay.png"),
        ("b.PNG", "b.png", "b.overlay.png"),
    ]
    (job,) = find_jobs(tmp_path / "notes.txt", Path("out"))
    assert (job.mask, job.overlay) == (Path("out/notes.png"), None)


@pytest.mark.parametrize(
    ("names", "out", "message"),
    [
        ((), "out", r"expected images in .*, PNG, JPEG, TIFF or WebP, found none; folders in it are not searched"),
        (("a.png", "A.jpg"), "out", r"A\.jpg and a\.png would both give a\.png; rename one"),
        (("a.png", "a.overlay.tif"), "out", r"a\.overlay\.tif and a\.png would both give a\.overlay\.png; rename one"),
        (("a.png", "b.jpg"), "", r"expected a folder apart from the images, .*a\.png is one of them; choose another"),
    ],
)
def test_results_that_have_no_place_are_refused(tmp_path, names, out, message):
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).touch()
    with pytest.raises(ValueError, match=message):
        find_jobs(tmp_path / "in", tmp_path / (out or "in"), overlay=True)


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"expected an image or a folder of images, found nothing at .*gone; check"):
        find_jobs(tmp_path / "gone", tmp_path / "out")
