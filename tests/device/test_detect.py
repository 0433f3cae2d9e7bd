# SPDX-License-Identifier: Apache-2.0
"""From a frame to its objects: found where they are, whatever the size of the picture, and nothing is kept."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.device.detect import look
from gossamer.device.detector import open_detector
from gossamer.device.frames import Frame
from gossamer.runtime.session import open_session
from tests.device.detectors import CELLS, CLASSES, scene, write_detector


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return open_detector(write_detector(tmp_path_factory.mktemp("net") / "net.gossamer"), open_session)


def frame_of(picture, size=None, decode_ms=0.0):
    return Frame("a.png", 0, "a", picture, size or picture.size, decode_ms)


cells = st.tuples(st.integers(0, 1), st.integers(0, CELLS - 1), st.integers(0, CELLS - 1))


@settings(max_examples=30)
@given(st.lists(cells, max_size=6, unique_by=lambda square: square[1:]), st.integers(16, 90), st.integers(16, 90))
def test_what_is_there_is_found_where_it_is(detector, squares, across, down):
    width, height = 4 * across, 4 * down  # cells end at whole pixels
    seen = look(detector, frame_of(scene(width, height, squares)), threshold=0.5)
    found = {(row.kind, row.x1, row.y1, row.x2, row.y2) for row in seen.rows()}
    assert found == {
        (CLASSES[kind], column * across, row * down, (column + 1) * across, (row + 1) * down)
        for kind, row, column in squares
    }
    assert list(seen.scores) == sorted(seen.scores, reverse=True)


def test_a_threshold_and_wanted_classes(detector):
    frame = frame_of(scene(64, 64, [(0, 0, 0), (1, 2, 3)]))
    faint = frame_of(scene(64, 64, []))
    faint.picture.paste((140, 0, 0), (0, 0, 32, 32))  # 20 * 140 / 255 - 10 = 0.98, a score of 0.73
    (leaf,) = look(detector, frame, 0.5, frozenset({1})).rows()
    assert (leaf.kind, leaf.x1, leaf.y1) == ("leaf", 48, 32)
    assert look(detector, frame, 0.5, frozenset()).rows() == []
    first, *_ = look(detector, faint, 0.5).rows()
    assert (first.x1, first.y1, first.score) == pytest.approx((0, 0, 0.7272), abs=2e-3)
    assert look(detector, faint, 0.75).rows() == []


def test_a_reduced_picture_is_listed_in_pixels_of_the_stored_one(detector):
    seen = look(detector, frame_of(scene(64, 32, [(0, 1, 2)]), size=(640, 320)), 0.5)
    (row,), (label,) = seen.rows(), seen.labels((64, 32))
    assert (row.x1, row.y1, row.x2, row.y2) == (320, 80, 480, 160)
    assert label.box == pytest.approx((32, 8, 48, 16))
    assert (label.words, label.kind) == (f"cherry {seen.scores[0]:.2f}", 0)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_pictures_of_any_mode(detector, mode):
    squares = [] if mode == "L" else [(0, 1, 1)]
    seen = look(detector, frame_of(scene(64, 64, [(0, 1, 1)]).convert(mode)), 0.5)
    assert len(seen.rows()) == len(squares)


def test_times_are_apart(detector, monkeypatch):
    ticks = iter(np.cumsum([0, 0.002, 0, 0.005, 0, 0.001]))  # seconds; after each step the next begins
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    times = look(detector, frame_of(scene(64, 64, []), decode_ms=10), 0.5).times
    monkeypatch.undo()
    assert (times.decode, times.network, times.boxes) == pytest.approx((12, 5, 1))


def test_nothing_is_kept_from_frame_to_frame(detector):
    """Hundreds of frames, made as they are asked for: a hundredth of what they hold is more than may stay."""

    def frames(count):
        for index in range(count):
            yield frame_of(scene(200, 200, [(index % 2, index % CELLS, 1)]))  # 120 kB each

    def peak_of(count):
        tracemalloc.reset_peak()
        found = sum(len(look(detector, frame, 0.5).rows()) for frame in frames(count))
        assert found == count
        gc.collect()
        return tracemalloc.get_traced_memory()

    tracemalloc.start()
    try:
        peak_of(20)
        before, few = peak_of(20)
        after, many = peak_of(400)
    finally:
        tracemalloc.stop()
    assert after - before < 100_000, f"{after - before:,} bytes stay"
    assert many - few < 1_000_000, f"{many - few:,} bytes more at once"
