# SPDX-License-Identifier: Apache-2.0
"""Cameras and streams: the newest frame counts, what goes away is asked for again, and hostile streams are bounded."""

from __future__ import annotations

import base64
import io
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.device import motion_jpeg
from gossamer.device.drawing import as_jpeg
from gossamer.device.latest import Latest
from gossamer.device.live import Live
from gossamer.device.motion_jpeg import read_parts, read_stream, shown
from gossamer.device.sources import open_source
from tests.device.detectors import scene
from tests.device.test_sources import cv2, film  # noqa: F401  # a fixture

JPEG = as_jpeg(scene(32, 24, [(0, 1, 1)]))


def bgr(value):
    return np.full((4, 6, 3), value, np.uint8)


def live(*connections, pauses_s=(0.0, 0.0)):
    """A source that each connection in turn gives something; an exception is raised instead. Then none answers."""
    rest = list(connections)

    def connect():
        for item in rest.pop(0) if rest else [OSError("nobody answers")]:
            if isinstance(item, Exception):
                raise item
            yield item

    return Live("camera:7", "camera7", connect, pauses_s=pauses_s)


def take(source):
    """All frames, what was said, and what ended it."""
    found, said = [], []
    with pytest.raises(ValueError, match="camera:7") as caught:
        found.extend(source.frames(said.append))
    return found, said, str(caught.value)


# --- the newest ----------------------------------------------------------------------------------------------------


def test_who_takes_gets_the_newest():
    latest = Latest()
    assert latest.newer(0, within_s=0) is None
    for value in "abc":
        latest.put(value)
    assert latest.newer(0, within_s=0) == latest.newer(2, within_s=0) == (3, "c")
    assert latest.newer(3, within_s=0.01) is None
    latest.close()
    assert latest.newer(0, within_s=9) == (3, "c"), "the last can still be taken"
    assert latest.newer(3, within_s=9) is None, "and nobody waits for another"


def test_who_waits_is_woken():
    latest, found = Latest(), []
    thread = threading.Thread(target=lambda: found.append(latest.newer(0, within_s=60)))
    thread.start()
    latest.put("a")
    thread.join(30)
    assert found == [(1, "a")]


# --- live sources --------------------------------------------------------------------------------------------------


def test_frames_that_come_too_fast_are_dropped():
    """All others come before the second is asked for."""
    first_is_taken, all_are_there, second_is_taken = (threading.Event() for _ in range(3))

    def connect():
        yield bgr(0)
        assert first_is_taken.wait(30)
        yield from map(bgr, range(1, 200))
        all_are_there.set()
        assert second_is_taken.wait(30)
        raise OSError("unplugged")

    frames = Live("camera:7", "camera7", connect, pauses_s=()).frames(lambda _: None)
    assert next(frames).index == 0
    first_is_taken.set()
    assert all_are_there.wait(30)
    second = next(frames)
    second_is_taken.set()
    assert second.index == 199
    assert second.picture.getpixel((0, 0)) == (199, 199, 199)
    assert (second.source, second.stem, second.size) == ("camera:7", "camera7-000199", (6, 4))
    with pytest.raises(ValueError, match=r"camera:7 is gone: unplugged; asked again 0 times, in vain"):
        next(frames)


def test_each_third_frame():
    found, _, _ = take(replace(live([bgr(k) for k in range(10)]), every=3))
    assert {frame.index for frame in found} <= {0, 3, 6, 9}
    assert found[-1].index == 9


def test_what_goes_away_is_asked_again():
    asked = [[bgr(1)], [OSError("no route\nto host")], [bgr(2)], [], [bgr(3), TimeoutError("timed out")]]
    found, said, end = take(live(*asked))
    assert found[-1].index == 2, "numbers go on"
    assert said == [
        f"camera:7 is gone: {why}; asking again in 0 s"
        for why in (
            "nothing more came",
            "no route to host",
            "nothing more came",
            "nothing more came",
            "timed out",
            "nobody answers",
        )
    ]
    assert end == "camera:7 is gone: nobody answers; asked again 2 times, in vain"


def test_pauses_grow(monkeypatch):
    waited = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, seconds=None: waited.append(seconds))
    source = Live("camera:7", "camera7", live([bgr(1)]).connect)
    take(source)
    assert [seconds for seconds in waited if seconds in source.pauses_s] == [1, 2, 4, 8, 16]


def test_what_never_answered_is_not_asked_again():
    found, said, end = take(live([OSError("no such host")], [bgr(1)]))
    assert (found, said, end) == ([], [], "cannot read camera:7: no such host")


def test_damaged_frames_are_said_and_left_out():
    gone = threading.Event()

    def connect():
        for raw in (None, JPEG[:200], JPEG):
            gone.clear()
            yield raw
            gone.wait(10)  # until it was taken: none is to be dropped here
        raise OSError("the end")

    said, found = [], []

    def say(sentence):
        said.append(sentence)
        gone.set()

    def take_all():
        for frame in Live("camera:7", "camera7", connect, pauses_s=()).frames(say):
            found.append(frame)
            gone.set()

    with pytest.raises(ValueError, match="the end"):
        take_all()
    assert [frame.index for frame in found] == [2]
    assert said[0] == "cannot read frame 0 of camera:7: it is damaged; it is left out"
    assert said[1].startswith("cannot read frame 1 of camera:7: ")
    assert said[1].endswith("; it is left out")


def test_who_stops_lets_go_of_the_source():
    let_go = threading.Event()

    def connect():
        try:
            while True:
                yield bgr(1)
        finally:
            let_go.set()

    frames = Live("camera:7", "camera7", connect).frames(print)
    next(frames)
    frames.close()
    assert let_go.wait(30)
    assert not any(thread.name == "reads camera:7" for thread in threading.enumerate())


def test_a_camera(cv2):  # noqa: F811
    cv2.films["1"] = film(3, damaged=(1,))
    said, found = [], []
    source = replace(open_source("camera:1"), pauses_s=())
    assert source.endless
    with pytest.raises(ValueError, match=r"camera:1 is gone: nothing more came"):
        found.extend(source.frames(said.append))
    assert found[-1].picture.getpixel((0, 0)) == (255, 0, 2), "RGB"
    assert said == ["cannot read frame 1 of camera:1: it is damaged; it is left out"]
    assert cv2.captures[-1].released
    with pytest.raises(ValueError, match=r"cannot read camera:2: no camera of this number answers; check that it is"):
        list(open_source("camera:2").frames(print))
    assert open_source("camera").name == "camera:0"


# --- Motion JPEG ---------------------------------------------------------------------------------------------------

boundaries = st.text("abcXYZ0123'+_./:=?", min_size=1, max_size=20)
parts = st.binary(min_size=1, max_size=300).filter(lambda data: b"\n" not in data[-2:] and data[-1:] != b"\r")
pictures = st.lists(parts, max_size=4)


@given(pictures, boundaries, st.sampled_from(["", "--", "----"]), st.booleans(), st.sampled_from([b"\r\n", b"\n"]))
def test_parts_are_read_back(sent, name, dashes, with_length, end):
    boundary = name.encode()
    stream = b"".join(
        dashes.encode()
        + boundary
        + end
        + b"Content-Type: image/jpeg"
        + end
        + (b"content-LENGTH:  %d" % len(data) + end if with_length else b"")
        + end
        + data
        + end
        for data in sent
    )
    if not with_length and any(line.strip().strip(b"-") == boundary for data in sent for line in data.split(b"\n")):
        return  # a picture that holds the boundary cannot be told apart
    stream += dashes.encode() + boundary + b"--" + end
    assert list(read_parts(io.BytesIO(stream), b"--" + boundary)) == sent


@given(st.binary(max_size=2000))
def test_whatever_comes_ends(data):
    """No picture is longer than what was sent; a ValueError is the worst."""
    try:
        found = list(read_parts(io.BytesIO(data), b"b"))
    except ValueError:
        return
    assert sum(map(len, found)) <= len(data)


def test_a_picture_is_given_before_the_next_boundary_is_sent():
    class Stream(io.BytesIO):
        """Fails where more is read than was sent."""

        def readline(self, size=-1):
            line = super().readline(size)
            assert line, "it waits for a boundary"
            return line

    stream = Stream(b"--b\r\nContent-Length: 3\r\n\r\nabc")
    assert next(read_parts(stream, b"b")) == b"abc"


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (
            b"--b\r\nContent-Length: 99999999999\r\n\r\n",
            r"expected a picture of at most 1,000 bytes, got one of 99,999",
        ),
        (b"--b\r\n\r\n" + b"x" * 3000, r"expected a picture of at most 1,000 bytes, got no end of one"),
        (b"x" * 3000, r"expected a picture of at most 1,000 bytes, got no end of one"),
        (b"--b\r\n" + b"a: b\r\n" * 99, r"expected a picture after at most 64 lines of headers, got more"),
    ],
)
def test_hostile_streams_are_bounded(monkeypatch, stream, message):
    monkeypatch.setattr(motion_jpeg, "MOST_PART_BYTES", 1000)
    with pytest.raises(ValueError, match=message):
        list(read_parts(io.BytesIO(stream), b"b"))


def test_a_boundary_of_dashes_alone_is_refused():
    with pytest.raises(ValueError, match=r"expected a boundary with more than dashes"):
        list(read_parts(io.BytesIO(b"------\n\nx\n"), b"--"))


@contextmanager
def server(status=200, kind='multipart/x-mixed-replace; boundary="--b"', body=b""):
    """Answers every request so; gives its address and the requests' headers."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if status == 302:
                self.send_header("Location", f"http://localhost:{self.server.server_port}/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{running.server_port}", asked
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def test_a_stream_over_http():
    body = b"".join(b"--b\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(JPEG), JPEG) for _ in range(3)) + b"--b--\r\n"
    with server(body=body) as (address, asked):
        assert list(read_stream(f"http://{address}/live?size=1")) == [JPEG] * 3
        assert "Authorization" not in asked[0]
        source = replace(open_source(f"http://me:a%20secret@{address}/live"), pauses_s=())
        found = []
        with pytest.raises(ValueError, match=rf"^http://{address}/live is gone: nothing more came"):
            found.extend(source.frames(print))
        assert asked[1]["Authorization"] == "Basic " + base64.b64encode(b"me:a secret").decode()
    assert (found[-1].index, found[-1].size, found[-1].stem) == (2, (32, 24), "stream-000002")
    assert source.name == f"http://{address}/live", "without the password"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 404}, r"cannot read http://.*: HTTP Error 404: Not Found"),
        ({"kind": "image/jpeg"}, r"expected a stream of pictures, multipart/x-mixed-replace, got image/jpeg; give"),
        ({"kind": "multipart/x-mixed-replace"}, r"expected a stream of pictures"),
        ({"body": b""}, r"cannot read http://.*: nothing more came"),
    ],
)
def test_what_is_no_stream_is_said(answer, message):
    with server(**answer) as (address, _), pytest.raises(ValueError, match=message):
        list(open_source(f"http://{address}/").frames(print))


def test_a_server_that_is_not_there_is_said():
    with server() as (address, _):
        pass
    with pytest.raises(ValueError, match=rf"^cannot read http://{address}/: [A-Z][a-z ]+$"):
        list(open_source(f"http://{address}/").frames(print))


def test_a_password_goes_to_no_other_server():
    with server(status=302) as (address, asked), pytest.raises(OSError, match="redirect"):
        list(read_stream(f"http://me:secret@{address}/"))
    assert ["Authorization" in headers for headers in asked[:2]] == [True, False]


def test_addresses_are_shown_without_a_password():
    assert shown("http://me:p@ss@there:80/a?b#c") == "http://there:80/a?b#c"
    assert shown("http://there/a@b") == "http://there/a@b"
