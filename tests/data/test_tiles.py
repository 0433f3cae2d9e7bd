# SPDX-License-Identifier: Apache-2.0
"""Tiles: they cover their picture, share what was asked for, and decode each picture as seldom as possible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gossamer.data.images import content_hash
from gossamer.data.tiles import TiledImages, opened, places_of, starts

SIZES = [(10, 13), (6, 6)]


def picture(number: int) -> np.ndarray:
    """Every pixel says where it is: picture, row, column."""
    height, width = SIZES[number]
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full_like(rows, number), rows, columns], 2).astype(np.uint8)


@pytest.fixture
def tiled():
    decoded: list[int] = []

    def decode(file: Path) -> np.ndarray:
        decoded.append(int(file.name))
        return picture(int(file.name))

    def make(limit_bytes: int = 0, overlap: int = 1) -> tuple[TiledImages, list[int]]:
        places = places_of(SIZES, (6, 5), overlap)
        return TiledImages((Path("0"), Path("1")), decode, places, (6, 5, 3), limit_bytes), decoded

    return make


@pytest.mark.parametrize("side", range(5, 40))
@pytest.mark.parametrize("overlap", [0, 1, 4])
def test_tiles_cover_a_side_with_no_more_of_them_than_needed(side, overlap):
    found = starts(side, 5, overlap)
    assert (found[0], found[-1]) == (0, side - 5)
    steps = np.diff(found)
    assert (steps <= 5 - overlap).all(), "neighbours share the overlap, or more"
    assert len(found) == 1 or steps.max() - steps.min() <= 1, "evenly"
    assert (len(found) - 1) * (5 - overlap) + overlap < side or len(found) == 1, "one fewer would leave a gap"


def test_tiles_are_their_own_pixels_in_any_order(tiled):
    images, _ = tiled()
    assert len(images) == 2 * 3 + 2
    order = np.array([7, 0, 3, 0, 6])
    for place, tile in zip(images.places[order].tolist(), images.take(order), strict=True):
        number, top, left = place
        np.testing.assert_array_equal(tile, picture(number)[top : top + 6, left : left + 5])
    assert images.hashes() == [content_hash(tile) for tile in images.take(np.arange(8))]


def test_a_picture_is_decoded_once_for_all_of_its_tiles(tiled):
    images, decoded = tiled()
    images.take(np.array([0, 7, 3, 6, 5]))
    assert decoded == [0, 1]
    images.take(np.array([7]))
    assert decoded == [0, 1], "the last one is kept"
    images.take(np.array([0]))
    assert decoded == [0, 1, 0]


def test_pictures_stay_while_there_is_room(tiled):
    images, decoded = tiled(limit_bytes=10 * 13 * 3)
    for _ in range(3):
        images.take(np.arange(8))
    assert decoded == [0, 1], "the first by the room, the second as the last one"


@pytest.mark.parametrize("overlap", [-1, 5])
def test_an_overlap_that_is_none_is_refused(overlap):
    with pytest.raises(
        ValueError, match=rf"overlap of tiles must be in 0\.\.4, less than their 5 pixels, got {overlap}"
    ):
        starts(20, 5, overlap)


def test_tiles_larger_than_the_picture_are_refused():
    with pytest.raises(ValueError, match="tiles of 5 pixels do not fit into a side of 4"):
        starts(4, 5, 0)


def test_large_pictures_are_opened_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    Image.new("L", (10, 10)).save(tmp_path / "large.png")
    with opened(tmp_path / "large.png") as image:
        assert image.size == (10, 10)
    Image.new("L", (20, 20)).save(tmp_path / "larger.png")
    with pytest.raises(ValueError, match=r"cannot read the image .*larger.png"), opened(tmp_path / "larger.png"):
        pass


def test_a_damaged_picture_is_named(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:200])
    message = r"cannot read the image .*a.png: .*; replace or delete it"
    with pytest.raises(ValueError, match=message), opened(tmp_path / "a.png") as image:
        image.convert("RGB")
