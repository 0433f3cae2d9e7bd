# SPDX-License-Identifier: Apache-2.0
"""Sources: images, folders and videos in their order; what is damaged is said and left out; too large is bounded."""

from __future__ import annotations

import sys
import types
import zlib

import numpy as np
import pytest
from PIL import Image

from gossamer.device import frames as frames_module
from gossamer.device.frames import decode
from gossamer.device.sources import open_source
from tests.device.conftest import noise, save


class FakeCv2(types.ModuleType):
    """What of OpenCV is used. A capture gives the frames of its target, None for a damaged one."""

    def __init__(self, **films):
        super().__init__("cv2")
        self.films = films
        self.captures = []

    def VideoCapture(self, target):  # noqa: N802
        capture = FakeCapture(self.films.get(str(target).rpartition("/")[2]))
        self.captures.append(capture)
        return capture


class FakeCapture:
    def __init__(self, film):
        self.film, self.at, self.released, self.decoded = film, -1, False, 0
        self.promised = len(film or ())

    def isOpened(self):  # noqa: N802
        return self.film is not None

    def grab(self):
        self.at += 1
        return self.at < len(self.film)

    def retrieve(self):
        self.decoded += 1
        pixels = self.film[self.at]
        if isinstance(pixels, Exception):
            raise pixels
        return pixels is not None, pixels

    def get(self, prop):
        assert prop == 7  # CAP_PROP_FRAME_COUNT
        return float(self.promised)

    def release(self):
        self.released = True


@pytest.fixture
def cv2(monkeypatch):
    module = FakeCv2()
    monkeypatch.setitem(sys.modules, "cv2", module)
    return module


def take(source):
    said = []
    return list(source.frames(said.append)), said


def test_an_image_and_a_folder(tmp_path):
    images = {name: noise(20, 30, seed) for seed, name in enumerate(("b.png", "a.tif", "c.png"))}
    for name, pixels in images.items():
        save(tmp_path / name, pixels)
    for name in ("notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "inner.png").mkdir()
    found, said = take(open_source(str(tmp_path)))
    assert [frame.source for frame in found] == ["a.tif", "b.png", "c.png"]
    for frame in found:
        np.testing.assert_array_equal(np.asarray(frame.picture), images[frame.source])
        assert (frame.index, frame.size) == (0, (30, 20))
    assert said == []
    (frame,), _ = take(open_source(str(tmp_path / "b.png")))
    assert (frame.source, frame.stem) == ("b.png", "b")
    assert [frame.source for frame in take(open_source(str(tmp_path), every=2))[0]] == ["a.tif", "c.png"]


def test_what_is_damaged_is_said_and_the_rest_goes_on(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / name, noise(40, 40))
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:500])
    (tmp_path / "d.jpg").write_bytes(b"nothing")
    save(tmp_path / "e.tif", noise(9, 9)[:, :, 0].astype(np.uint16))
    found, said = take(open_source(str(tmp_path)))
    assert [frame.source for frame in found] == ["a.png", "c.png"]
    assert len(said) == 3
    assert f"cannot read the image {tmp_path / 'b.png'}: " in said[0]
    assert said[0].endswith("; replace or delete it")
    assert said[1].endswith("d.jpg: it is no PNG, JPEG, TIFF or WebP; convert it")
    assert "e.tif: it has more than 8 bits a channel (I;16)" in said[2]
    assert not any("\n" in sentence for sentence in said)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    """30,000 x 30,000 pixels: 2.7 GB as RGB."""
    path = tmp_path / "huge.png"
    png = save(path, noise(1, 1)).read_bytes()
    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + png[24:29]
    path.write_bytes(png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:])
    _, said = take(open_source(str(path)))
    assert said == [
        f"cannot read the image {path}: it is larger than Pillow opens, 178,956,970 pixels; make it smaller"
    ]


@pytest.mark.parametrize(("most", "scale"), [(16_384, 1), (16_383, 2), (4_096, 2), (4_095, 4), (256, 8), (1, 8)])
def test_a_large_jpeg_is_decoded_reduced(tmp_path, monkeypatch, most, scale):
    monkeypatch.setattr(frames_module, "MOST_PIXELS", most)
    picture = Image.fromarray(noise(32, 32)).resize((128, 128))
    picture.save(tmp_path / "a.jpg", quality=95)
    found, size = decode(tmp_path / "a.jpg", "it")
    assert size == (128, 128)
    assert found.size == (128 // scale,) * 2
    expected = np.asarray(picture.resize(found.size, Image.Resampling.BOX), float)
    assert np.abs(np.asarray(found, float) - expected).mean() < 12
    picture.save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", "it")[0].size == (128, 128)


def test_drawn_pictures_have_places_of_their_own(tmp_path):
    for name in ("a.png", "A.tif", "b.jpg"):
        save(tmp_path / "in" / name, noise(8, 8))
    source = open_source(str(tmp_path / "in"))
    with pytest.raises(ValueError, match=r"A\.tif and a\.png would both give a\.jpg; rename one"):
        source.check_apart(lambda stem: tmp_path / "out" / f"{stem}.jpg")
    (tmp_path / "in" / "A.tif").unlink()
    source = open_source(str(tmp_path / "in"))
    source.check_apart(lambda stem: tmp_path / "out" / f"{stem}.jpg")
    with pytest.raises(ValueError, match=r"expected a folder apart from the images, .*b\.jpg is one of them; choose"):
        source.check_apart(lambda stem: tmp_path / "out" / ".." / "in" / f"{stem}.jpg")


def film(count, damaged=()):
    """BGR frames; the blue of each is its number."""
    shape = (6, 8, 3)
    return [None if k in damaged else np.full(shape, (k, 0, 255), np.uint8) for k in range(count)]


def test_a_video_gives_its_frames_in_order(tmp_path, cv2):
    (tmp_path / "way.MP4").touch()
    cv2.films["way.MP4"] = film(5)
    found, said = take(open_source(str(tmp_path / "way.MP4")))
    assert [frame.picture.getpixel((0, 0)) for frame in found] == [(255, 0, k) for k in range(5)], "RGB"
    assert [(frame.source, frame.index, frame.stem) for frame in found[:2]] == [
        ("way.MP4", 0, "way-000000"),
        ("way.MP4", 1, "way-000001"),
    ]
    assert found[0].size == (8, 6)
    assert said == []
    assert cv2.captures[-1].released


def test_a_video_that_opencv_itself_has_written(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "way.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    assert writer.isOpened()
    for level in (0, 80, 160, 240):
        writer.write(np.full((48, 64, 3), (0, 0, level), np.uint8))  # BGR
    writer.release()
    found, said = take(open_source(str(path)))
    assert said == []
    assert [frame.index for frame in found] == [0, 1, 2, 3]
    assert all(frame.size == (64, 48) for frame in found)
    for frame, level in zip(found, (0, 80, 160, 240), strict=True):
        assert frame.picture.getpixel((32, 24)) == pytest.approx((level, 0, 0), abs=12), "RGB"


def test_of_a_video_each_third_frame_is_decoded(tmp_path, cv2):
    (tmp_path / "way.mp4").touch()
    cv2.films["way.mp4"] = film(8)
    found, _ = take(open_source(str(tmp_path / "way.mp4"), every=3))
    assert [frame.index for frame in found] == [0, 3, 6]
    assert cv2.captures[-1].decoded == 3


def test_damaged_frames_of_a_video(tmp_path, cv2):
    (tmp_path / "way.mp4").touch()
    cv2.films["way.mp4"] = [*film(3, damaged=(1,)), RuntimeError("cv2.error"), *film(1)]
    found, said = take(open_source(str(tmp_path / "way.mp4")))
    assert [frame.index for frame in found] == [0, 2, 4]
    assert said == [f"cannot read frame {k} of {tmp_path / 'way.mp4'}: it is damaged; it is left out" for k in (1, 3)]
    for cv2.films["way.mp4"] in ([], None):
        with pytest.raises(ValueError, match=r"cannot read the video .*way\.mp4: OpenCV finds no frame in it; convert"):
            take(open_source(str(tmp_path / "way.mp4")))
    assert all(capture.released for capture in cv2.captures)


def test_a_video_that_ends_early_is_said(tmp_path, cv2, monkeypatch):
    """OpenCV itself says nothing where the middle of a file is damaged: it just gives no more."""
    (tmp_path / "way.mp4").touch()
    cv2.films["way.mp4"] = film(8)
    monkeypatch.setattr(FakeCapture, "get", lambda self, prop: 60.0)
    found, said = take(open_source(str(tmp_path / "way.mp4")))
    assert len(found) == 8
    assert said == [f"{tmp_path / 'way.mp4'} ends after 8 of its 60 frames; what follows is damaged"]
    monkeypatch.setattr(FakeCapture, "get", lambda self, prop: -1e18)  # as where nobody knows
    assert take(open_source(str(tmp_path / "way.mp4")))[1] == []


def test_a_video_let_go_in_the_middle_is_released(tmp_path, cv2):
    (tmp_path / "way.mp4").touch()
    cv2.films["way.mp4"] = film(5)
    frames = open_source(str(tmp_path / "way.mp4")).frames(print)
    next(frames)
    assert not cv2.captures[-1].released
    frames.close()
    assert cv2.captures[-1].released


def test_opencv_is_needed_for_videos_and_cameras_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (tmp_path / "a.mp4").touch()
    for source in ("camera:0", str(tmp_path / "a.mp4")):
        with pytest.raises(ValueError, match=r"expected OpenCV, .*, but: .*; pip install opencv-python-headless, or"):
            open_source(source)
    open_source("http://camera.local/live")
    assert len(take(open_source(str(save(tmp_path / "a.png", noise(5, 5)))))[0]) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.png", r"expected an image, a folder, a video, camera:0 or http://\.\.\., found nothing at gone\.png"),
        ("camera:x", r"found nothing at camera:x"),
        ("rtsp://me:secret@there/live", r"http://HOST/\.\.\. or https://HOST/\.\.\., got rtsp://there/live$"),
        ("http:///live", r"expected the address of a stream, .*, got http:///live$"),
    ],
)
def test_what_is_no_source_is_said(source, message):
    with pytest.raises(ValueError, match=message):
        open_source(source)


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"expected images in .*, PNG, JPEG, TIFF or WebP, found none; folders in it"):
        open_source(str(tmp_path))
