# SPDX-License-Identifier: Apache-2.0
"""A stream of JPEG pictures over HTTP, as cameras and servers send it: multipart/x-mixed-replace, one part a picture.

    --boundary CRLF headers CRLF CRLF picture CRLF --boundary CRLF ...

Parts: RFC 2046, section 5.1. Cameras differ in how many dashes stand before a boundary, so dashes at its ends count
nothing; a part with a Content-Length is read by it, another one up to the next boundary. Every length is bounded: what
is on the other side may send anything.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

TIMEOUT_S = 10.0  # without a byte
MOST_LINE_BYTES = 8192
MOST_HEADERS = 64
MOST_PART_BYTES = 2**25  # a picture has a thousandth to a tenth of it


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


def shown(url: str) -> str:
    """The address without a user and a password.

    >>> shown("http://me:secret@camera.local:8080/live")
    'http://camera.local:8080/live'
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read_stream(url: str) -> Iterator[bytes]:
    """The pictures of a stream, as JPEG bytes; OSError or ValueError where there is none, or no more."""
    import urllib.request  # half of what importing this package would take

    address = urlsplit(url)
    request = urllib.request.Request(shown(url))
    if address.username is not None:
        user = f"{unquote(address.username)}:{unquote(address.password or '')}"
        # "unredirected": no other server is to learn it
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        boundary = answer.headers.get_boundary()
        if answer.headers.get_content_maintype() != "multipart" or not boundary:
            raise ValueError(
                f"expected a stream of pictures, multipart/x-mixed-replace, got {answer.headers.get_content_type()}; "
                "give the address that a browser shows as a moving picture"
            )
        yield from read_parts(answer, boundary.encode())


def read_parts(stream: Readable, boundary: bytes) -> Iterator[bytes]:
    """The contents of the parts that are not empty, to the end of the stream."""
    mark = boundary.strip(b"-")
    if not mark:
        raise ValueError(f"expected a boundary with more than dashes between the pictures, got {boundary.decode()!r}")
    _until_boundary(stream, mark)
    while (length := _length(stream)) is not None:
        part = _until_boundary(stream, mark) if length < 0 else _exactly(stream, length)
        if part:
            yield part
        if length >= 0:  # only now: a server may send the next boundary with the next picture
            _until_boundary(stream, mark)


def _length(stream: Readable) -> int | None:
    """The Content-Length of the headers here, -1 where they say none; None at the end of the stream."""
    length = -1
    for _ in range(MOST_HEADERS):
        line = stream.readline(MOST_LINE_BYTES)
        if not line:
            return None
        if not line.strip():
            return length
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
            if length > MOST_PART_BYTES:
                raise ValueError(f"expected a picture of at most {MOST_PART_BYTES:,} bytes, got one of {length:,}")
    raise ValueError(f"expected a picture after at most {MOST_HEADERS} lines of headers, got more")


def _exactly(stream: Readable, length: int) -> bytes:
    part = bytearray()
    while len(part) < length:
        found = stream.read(length - len(part))
        if not found:
            return b""  # what is not whole is no picture
        part += found
    return bytes(part)


def _until_boundary(stream: Readable, boundary: bytes) -> bytes:
    """What comes before the next boundary, without the line's end that belongs to it; b'' where none comes."""
    part, begins_line = bytearray(), True
    while line := stream.readline(MOST_LINE_BYTES):
        if begins_line and line.strip().strip(b"-") == boundary:
            return bytes(part.removesuffix(b"\n").removesuffix(b"\r"))
        begins_line = line.endswith(b"\n")
        part += line
        if len(part) > MOST_PART_BYTES:
            raise ValueError(f"expected a picture of at most {MOST_PART_BYTES:,} bytes, got no end of one")
    return b""
