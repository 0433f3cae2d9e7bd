# SPDX-License-Identifier: Apache-2.0
"""Drawing: boxes where they are, letters that can be read, sizes that follow the picture, files whole or absent."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gossamer.device.drawing import Label, as_jpeg, colour_of, contrasting, drawn, luminance, write_drawn


def grey(width: int = 200, height: int = 160, mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (width, height), (90, 90, 90)).convert(mode)


def test_the_line_of_a_box_is_on_its_border():
    pixels = np.asarray(drawn(grey(), [Label((40, 60, 120, 130), "", 3)]))
    painted = (pixels == colour_of(3)).all(-1)
    rows, columns = np.nonzero(painted)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (40, 60, 120, 130)
    assert not painted[62:128, 42:118].any(), "two pixels wide"
    assert (pixels[~painted] == 90).all()


def test_the_picture_itself_stays_as_it_was():
    picture = grey()
    drawn(picture, [Label((10, 10, 50, 50), "cat", 0)])
    assert np.asarray(picture).min() == np.asarray(picture).max() == 90


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_any_mode(mode):
    assert drawn(grey(mode=mode), [Label((10, 10, 50, 50), "cat", 0)]).mode == "RGB"


def test_lines_and_letters_grow_with_the_picture():
    def ink(scale):
        box = tuple(scale * side for side in (50, 400, 700, 700))
        plain = drawn(grey(1000 * scale, 800 * scale), [Label(box, "", 0)])
        named = drawn(grey(1000 * scale, 800 * scale), [Label(box, "lorry 0.9", 0)])
        line = int((np.asarray(plain)[:, 300 * scale] == colour_of(0)).all(-1).sum()) // 2
        rows = np.nonzero((np.asarray(named)[: 400 * scale] == colour_of(0)).all(-1).any(1))[0]
        return line, len(rows)

    small, large = ink(1), ink(4)
    assert large[0] == pytest.approx(4 * small[0], rel=0.3)
    assert large[1] == pytest.approx(4 * small[1], rel=0.3)


@pytest.mark.parametrize("box", [(0, 0, 60, 40), (150, 0, 199, 30), (190, 150, 199, 159), (80, 80, 120, 120)])
def test_a_label_is_always_inside_the_picture(box):
    """As much ink of its letters wherever its box is: none is cut off."""

    def ink(pixels):
        return int(((pixels != colour_of(7)).any(-1) & (pixels != 90).any(-1)).sum())

    words = "watering can 0.93"
    with_words, free = (np.asarray(drawn(grey(), [Label(place, words, 7)])) for place in (box, (10, 80, 20, 120)))
    assert ink(with_words) == ink(free) > 100


def test_the_surest_lies_above_the_others():
    pixels = np.asarray(drawn(grey(), [Label((50, 50, 99, 99), "", 0), Label((50, 50, 99, 99), "", 1)]))
    assert tuple(pixels[50, 70]) == colour_of(0)


@given(st.integers(0, 2000))
def test_letters_can_be_read_on_every_colour(kind):
    """4.5 to 1 is what WCAG asks of small letters."""
    colour = colour_of(kind)
    lighter, darker = sorted((luminance(colour), luminance(contrasting(colour))), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5
    assert colour != (0, 0, 0), "the colour of the background of masks"


numbers = st.floats(-50, 400, allow_nan=False)


@settings(max_examples=40)
@given(st.tuples(numbers, numbers, numbers, numbers), st.text(max_size=12), st.integers(1, 300), st.integers(1, 300))
def test_no_box_and_no_name_fails(box, words, width, height):
    assert drawn(grey(width, height), [Label(box, words, 300)]).size == (width, height)


def test_files_are_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.jpg"
    write_drawn(path, grey(), [Label((10, 10, 50, 50), "cat", 0)])
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", (200, 160))
    before = path.read_bytes()

    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_drawn(path, grey(), [])
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["a.jpg"]


def test_a_picture_that_no_jpeg_holds_is_refused():
    with pytest.raises(ValueError, match=r"expected sides of at most 65,500 pixels, .*, got 65,501 x 1; make the"):
        as_jpeg(Image.new("L", (65_501, 1)))
    assert Image.open(io.BytesIO(as_jpeg(Image.new("L", (65_500, 1))))).size == (65_500, 1)
