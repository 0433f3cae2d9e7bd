# SPDX-License-Identifier: Apache-2.0
"""The list of detections and the figures: read back as they were, whole whatever ends the run, bounded in memory."""

from __future__ import annotations

import csv
import errno
import io
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer.device import listing as module
from gossamer.device.figures import KEPT, Figures, Times
from gossamer.device.listing import COLUMNS, Row, csv_lines, json_lines, listing

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
numbers = st.floats(0, 1e5).map(lambda value: round(value, 1))
rows = st.lists(
    st.builds(Row, text, st.integers(0, 10**9), text, numbers, numbers, numbers, numbers, numbers), max_size=4
)


@settings(max_examples=40)
@given(rows)
def test_json_is_read_back(found):
    lines = json_lines(found).decode().split("\n")
    assert lines.pop() == ""
    assert [Row(*(json.loads(line)[name] for name in COLUMNS)) for line in lines] == found


@settings(max_examples=40)
@example([Row("a\rb\nc.png", 0, "", 0.5, 1.0, 2.0, 3.0, 4.0)])
@given(rows)
def test_csv_is_read_back(found):
    back = csv.reader(io.StringIO(csv_lines(found).decode(), newline=""))
    assert [Row(a, int(b), c, *map(float, others)) for a, b, c, *others in back] == found


ROW = Row("a.png", 0, "cat", 0.5, 1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_the_file_is_there_at_the_end(tmp_path, form):
    path = tmp_path / "new" / "list"
    with listing(path, form) as add:
        add([ROW])
        add([])
        add([ROW, ROW])
        assert not path.exists()
    lines = path.read_text().splitlines()
    assert len(lines) == 3 + (form == "csv")
    if form == "csv":
        assert lines[0] == "file,frame,class,score,x1,y1,x2,y2"
    assert [found.name for found in path.parent.iterdir()] == ["list"]


def test_a_full_disk_leaves_whole_frames(tmp_path, monkeypatch):
    """The disk takes a part of the third frame, then no more."""
    path, real, calls = tmp_path / "list", module._write_all, []

    def on_a_full_disk(file, data):
        calls.append(data)
        if len(calls) == 3:
            file.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, data)

    monkeypatch.setattr(module, "_write_all", on_a_full_disk)
    with listing(path, "json") as add:
        add([ROW])
        add([ROW, ROW])
        with pytest.raises(OSError, match="No space") as caught:
            add([ROW])
    assert caught.value.filename == str(path)
    assert path.read_bytes() == json_lines([ROW] * 3)


def test_a_disk_that_takes_little_at_a_time():
    class Slow:
        def __init__(self):
            self.data = b""

        def write(self, data):
            self.data += bytes(data[:7])
            return min(7, len(data))

    file = Slow()
    module._write_all(file, json_lines([ROW]))
    assert file.data == json_lines([ROW])


def test_an_error_inside_leaves_no_file(tmp_path):
    def interrupted():
        with listing(tmp_path / "list", "json") as add:
            add([ROW])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_figures():
    ticks = iter([0.0, 2.0, 2.5, 3.0, 4.0])
    figures = Figures(lambda: next(ticks))
    assert (figures.per_second, figures.per_second_now, figures.medians()) == (0, 0, Times(0, 0, 0))
    figures.add(Times(1, 10, 3), ["cat", "dog", "cat"])
    figures.add(Times(2, 30, 2), [])
    figures.add(Times(9, 20, 1), ["dog"])
    assert figures.frames == 3
    assert figures.per_second == 1.0
    assert figures.medians() == Times(2, 20, 2)
    assert figures.total == {"cat": 2, "dog": 2}
    assert figures.newest == {"dog": 1}


def test_figures_of_now_forget_the_past():
    seconds = iter(range(10**6))
    figures = Figures(lambda: float(next(seconds)))
    for network in [1.0] * 100 + [7.0] * KEPT:
        figures.add(Times(0, network, 0), [])
    assert figures.medians().network == 7
    assert len(figures._times) == KEPT
    assert figures.per_second_now == pytest.approx(1.0)
