# SPDX-License-Identifier: Apache-2.0
"""The live page: read only, for this machine alone, and nobody who looks at it can hold detection up."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import re
import shutil
import socket
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

import pytest
from PIL import Image

from gossamer.device import web
from gossamer.device.motion_jpeg import read_parts
from gossamer.device.web import LivePage
from gossamer.device.web_page import PAGE


@pytest.fixture
def page():
    with LivePage() as running:
        yield running


@contextmanager
def asked(page: LivePage, path: str, method: str = "GET", **headers: str):
    """The answer to one request."""
    connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=30)
    connection.request(method, path, headers=headers)
    with closing(connection), connection.getresponse() as answer:
        yield answer


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def never_reads(page: LivePage) -> socket.socket:
    """A client that asks for the stream, and takes nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", urlsplit(page.url).port))
    client.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


def test_the_page_needs_nothing_from_elsewhere(page):
    with asked(page, "/?x=1") as answer:
        text = answer.read().decode()
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        policy = answer.headers["Content-Security-Policy"]
    assert text == PAGE
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link(?! rel=\"icon\" href=\"data:,\")", text)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in ("style", "script"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH")
def test_a_browser_shows_the_picture_and_the_figures(page, tmp_path):
    """The policy of the page lets its own script and style run, the stream is an image, and figures come in."""
    red = io.BytesIO()
    Image.new("RGB", (320, 240), (255, 0, 0)).save(red, "JPEG")
    page.show(red.getvalue())
    figures = {"per_second": 12.5, "decode_ms": 1.0, "network_ms": 2.0, "boxes_ms": 3.0}
    page.tell({"frames": 3, "source": "street", "network": "net", "counts": [["cat", 2]], "trouble": "", **figures})
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--timeout=5000", "--window-size=1000,800"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars"]

    def browse(*words: str) -> str:
        asked = [str(BROWSER), *options, *words, page.url]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=120).stdout

    shown = browse("--dump-dom")
    assert re.search(r'id="state"[^>]*>running<', shown)
    assert "<td>cat</td><td>2</td>" in shown
    assert 'id="per_second">12.5<' in shown
    browse(f"--screenshot={tmp_path / 'page.png'}")
    with Image.open(tmp_path / "page.png") as picture:
        red_ones = [
            n for n, colour in picture.convert("RGB").getcolors(2**24) if colour[0] > 240 and max(colour[1:]) < 20
        ]
    assert sum(red_ones) > 10_000, "the stream is to be seen"


def test_figures(page):
    with asked(page, "/figures") as answer:
        assert json.load(answer) == {}
    page.tell({"frames": 3, "counts": [["<b>cat</b>", 2]]})
    with asked(page, "/figures") as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert json.load(answer) == {"frames": 3, "counts": [["<b>cat</b>", 2]]}


def test_the_stream(page):
    assert not page.watched
    with asked(page, "/stream") as answer:
        until(lambda: page.watched)
        assert answer.headers.get_content_type() == "multipart/x-mixed-replace"
        parts = read_parts(answer, answer.headers.get_boundary().encode())
        for frame in (b"one", b"two", b"three" * 9999):
            page.show(frame)
            assert next(parts) == frame
    page.show(b"x" * 10**6)
    until(lambda: not page.watched or page.show(b"x" * 10**6))


def test_a_frame_is_sent_again_where_none_comes(page, monkeypatch):
    monkeypatch.setattr(web, "AGAIN_S", 0.01)
    with asked(page, "/stream") as answer:
        page.show(b"still")
        parts = read_parts(answer, b"frame")
        assert [next(parts) for _ in range(3)] == [b"still"] * 3


def test_a_client_that_never_reads_holds_nobody_up(page, monkeypatch):
    """It is let go; meanwhile another one gets the newest frame, and frames do not pile up."""
    assert web._Handler.timeout == web.CLIENT_S
    monkeypatch.setattr(web._Handler, "timeout", 1.0)
    big = 10**6
    with never_reads(page), asked(page, "/stream") as answer:
        until(lambda: page._server.streams.taken == 2)
        parts = read_parts(answer, b"frame")
        tracemalloc.start()
        try:
            for index in range(300):
                page.show(b"%06d" % index + bytes(big))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 30 * big, f"{peak:,} bytes of 300 frames at once"
        newest = b""
        while newest[:6] != b"000299":
            newest = next(parts)
        until(lambda: page._server.streams.taken == 1)
        page.show(b"and on")
        while newest != b"and on":
            newest = next(parts)


def test_so_many_streams_and_no_more(page, monkeypatch):
    with ExitStack() as stack:
        for _ in range(web.MOST_STREAMS):
            stack.enter_context(never_reads(page))
        until(lambda: page._server.streams.taken == web.MOST_STREAMS)
        with asked(page, "/stream") as answer:
            assert answer.status == 503
            assert (
                answer.read()
                == b"expected at most 8 streams at once, and there are as many; close one, or try again later\n"
            )
        with asked(page, "/") as answer:
            assert answer.status == 200, "the page itself is still to be had"
    until(lambda: not page.watched or page.show(bytes(10**6)))
    with asked(page, "/stream") as answer:
        assert answer.status == 200


def test_so_many_connections_and_no_more(page, monkeypatch):
    with ExitStack() as stack:
        for _ in range(web.MOST_CONNECTIONS):  # that ask for nothing
            stack.enter_context(socket.create_connection(("127.0.0.1", urlsplit(page.url).port)))
        until(lambda: page._server.connections.taken == web.MOST_CONNECTIONS)
        with socket.create_connection(("127.0.0.1", urlsplit(page.url).port)) as client:
            client.settimeout(30)
            answer = b""
            while data := client.recv(999):
                answer += data
        assert answer.startswith(b"HTTP/1.0 503 ")
        assert answer.endswith(
            b"expected at most 32 clients at once, and there are as many; close one, or try again later\n"
        )
    until(lambda: page._server.connections.taken == 0)


def test_a_client_that_asks_for_nothing_is_let_go(page, monkeypatch):
    monkeypatch.setattr(web._Handler, "timeout", 0.05)
    with socket.create_connection(("127.0.0.1", urlsplit(page.url).port)) as client:
        client.settimeout(30)
        assert client.recv(9) == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_nothing_can_be_written(page, method):
    with asked(page, "/", method) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert answer.read() == b"expected GET or HEAD; nothing can be written here\n"


@pytest.mark.parametrize("path", ["/", "/figures", "/stream", "/nothing"])
def test_head_is_the_same_without_the_body(page, path):
    with asked(page, path, "HEAD") as answer:
        head, body = dict(answer.headers), answer.read()
    with asked(page, path) as answer:
        assert dict(answer.headers) | {"Date": ""} == head | {"Date": ""}
    assert body == b""
    assert not page.watched or path == "/stream"


@pytest.mark.parametrize("path", ["/nothing", "/../etc/passwd", "/stream/", "/index.html", "/%2e%2e"])
def test_there_is_nothing_else(page, path):
    with asked(page, path) as answer:
        assert answer.status == 404
        assert answer.read() == b"expected /, /stream or /figures; there is nothing else here\n"


@pytest.mark.parametrize("path", ["/", "/figures", "/stream", "/nothing"])
def test_every_answer_is_guarded(page, path):
    with asked(page, path) as answer:
        headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8008", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8008", 200),
        ("192.168.7.9:8008", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:8008", 421),
        ("", 421),
        ("[::1", 421),
        ("me@evil.example", 421),
    ],
)
def test_a_name_that_someone_else_lets_point_here_is_refused(page, host, status):
    for path in ("/", "/figures", "/stream"):
        with asked(page, path, Host=host) as answer:
            assert answer.status == status
    assert status == 200 or not page.watched


@pytest.mark.parametrize(
    "text", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"x" * 70_000, b"\xff\r\n\r\n"]
)
def test_requests_that_are_none(page, text, capfd):
    with socket.create_connection(("127.0.0.1", urlsplit(page.url).port)) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
    until(lambda: page._server.connections.taken == 0)
    with asked(page, "/") as answer:
        assert answer.status == 200
    assert capfd.readouterr().err == ""


def test_a_host_of_ones_own():
    with LivePage(host="0.0.0.0") as page:
        assert page.url.startswith("http://127.0.0.1:")
        with asked(page, "/", Host=f"{socket.gethostname()}.local:80") as answer:
            assert answer.status == 200
        with asked(page, "/", Host="evil.example") as answer:
            assert answer.status == 421


def test_by_itself_it_listens_to_this_machine_alone(page):
    assert page._server.socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_said(page):
    port = urlsplit(page.url).port
    with pytest.raises(
        ValueError, match=rf"expected a free port to show the page at, 127\.0\.0\.1:{port} is not to be"
    ):
        LivePage(port)
    with pytest.raises(ValueError, match=r"nowhere\.invalid:0 is not to be had"):
        LivePage(host="nowhere.invalid")


def test_the_end_ends_every_stream():
    with LivePage() as page:
        with asked(page, "/stream") as answer:
            page.show(b"one")
            parts = read_parts(answer, b"frame")
            assert next(parts) == b"one"
            page._server.frames.close()  # as the end of the block does
            assert list(parts) == []
        until(lambda: not page.watched)
