# SPDX-License-Identifier: Apache-2.0
"""A local page with the live picture: / is the page, /stream the pictures, /figures the numbers as JSON.

It is read only, and detection never waits for it: one frame is held, each client gets the newest when it can take one,
and one that takes none is let go. Streams and connections are limited in number.

A page of another site in the user's browser can reach this server too. It cannot read or embed what it gets (no CORS,
Cross-Origin-Resource-Policy), and a name that it lets point at this machine, DNS rebinding, is refused: the Host of a
request has to be a number or a name that is known to mean this server.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from gossamer.device.latest import Latest
from gossamer.device.web_page import PAGE, POLICY

LOOPBACK = "127.0.0.1"
MOST_STREAMS, MOST_CONNECTIONS = 8, 32
CLIENT_S = 5.0  # for a client to ask, or to take a frame
AGAIN_S = 2.0  # without a new frame the last is sent again: so a client that has gone is noticed
SEND_BUFFER_BYTES = 2**18  # in the system, for each client; in more, frames would grow old
BOUNDARY = "frame"
TEXT = "text/plain; charset=utf-8"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}


class LivePage:
    """The page while its block lasts; `show` and `tell` return at once, whatever the clients do."""

    def __init__(self, port: int = 0, host: str = LOOPBACK) -> None:
        self._server = _listening(host, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="page", daemon=True)

    def __enter__(self) -> LivePage:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.frames.close()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host, port = self._server.server_address[:2]
        known = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(str(host), str(host))
        return f"http://[{known}]:{port}/" if ":" in known else f"http://{known}:{port}/"

    @property
    def watched(self) -> bool:
        """Whether anyone has the stream open: otherwise frames need not be drawn."""
        return self._server.streams.taken > 0

    def show(self, jpeg: bytes) -> None:
        """A new frame."""
        self._server.frames.put(jpeg)

    def tell(self, figures: Mapping[str, Any]) -> None:
        """New numbers."""
        self._server.figures = json.dumps(figures).encode()


class _Seats:
    """So many at once, and no more."""

    def __init__(self, most: int) -> None:
        self._lock, self._most = threading.Lock(), most
        self.taken = 0

    def take(self) -> bool:
        with self._lock:
            if self.taken == self._most:
                return False
            self.taken += 1
            return True

    def free(self) -> None:
        with self._lock:
            self.taken -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, host: str, port: int) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.frames: Latest[bytes] = Latest()
        self.figures = b"{}"
        self.streams, self.connections = _Seats(MOST_STREAMS), _Seats(MOST_CONNECTIONS)
        self.names = {"localhost", host.lower()}
        if not _is_loopback(host):
            own = socket.gethostname().lower()
            self.names |= {own, f"{own}.local"}
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer would ask a name server who we are
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.connections.take():
            self._turn_away(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self.connections.free()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.free()

    def _turn_away(self, request: Any) -> None:
        """In the thread that accepts, so nothing here may wait: an answer this short fits into the system's buffer."""
        try:
            request.setblocking(False)
            request.send(
                f"HTTP/1.0 503 Service Unavailable\r\nContent-Type: {TEXT}\r\n\r\n{_busy('clients')}\n".encode()
            )
        except OSError:
            pass
        self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away or takes nothing is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_S
    disable_nagle_algorithm = True
    server_version, sys_version = "gossamer", ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self._means_us(self.headers.get("Host", "")):
            self._refuse(
                HTTPStatus.MISDIRECTED_REQUEST,
                "expected this server's address as the host, got another name; open the address that gossamer printed",
            )
        elif path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", PAGE.encode())
        elif path == "/figures":
            self._send(HTTPStatus.OK, "application/json", self.server.figures)
        elif path == "/stream":
            self._stream()
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "expected /, /stream or /figures; there is nothing else here")

    def do_HEAD(self) -> None:
        self.do_GET()

    def __getattr__(self, name: str) -> Any:
        """What the base class looks for where a request has any other method."""
        if name.startswith("do_"):
            return self._read_only
        raise AttributeError(name)

    def _read_only(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "expected GET or HEAD; nothing can be written here")

    def _means_us(self, host: str) -> bool:
        """Whether a Host is a number, which no one else can let point here, or one of our names."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self.server.names or _is_address(name)

    def _stream(self) -> None:
        if self.command == "HEAD":
            self._begin_stream()
            return
        if not self.server.streams.take():
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, _busy("streams"))
            return
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self._begin_stream()
            self.wfile.write(f"--{BOUNDARY}\r\n".encode())
            seen, frame = 0, b""
            frames = self.server.frames
            while (found := frames.newer(seen, AGAIN_S)) is not None or not frames.closed:
                seen, frame = found or (seen, frame)
                if frame:
                    self.wfile.write(_part(frame))
        finally:
            self.server.streams.free()

    def _begin_stream(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.end_headers()

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._send(status, TEXT, f"{sentence}\n".encode("utf-8", "replace"))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses, in our words' form."""
        status = HTTPStatus(code)
        self._refuse(status, message or status.phrase)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing: the terminal belongs to the figures."""


def _part(jpeg: bytes) -> bytes:
    """A frame with the boundary behind it at once: browsers show a picture when they have seen its end."""
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return b"".join((head.encode(), jpeg, f"\r\n--{BOUNDARY}\r\n".encode()))


def _busy(what: str) -> str:
    most = {"streams": MOST_STREAMS, "clients": MOST_CONNECTIONS}[what]
    return f"expected at most {most} {what} at once, and there are as many; close one, or try again later"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback if _is_address(host) else host.lower() == "localhost"


def _listening(host: str, port: int) -> _Server:
    try:
        return _Server(host, port)
    except OSError as error:
        raise ValueError(
            f"expected a free port to show the page at, {host}:{port} is not to be had ({error.strerror or error}); "
            "choose another with --web PORT, or 0 for any"
        ) from None
