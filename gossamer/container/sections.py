# SPDX-License-Identifier: Apache-2.0
"""Header and sections: where everything lies, checked before anything is read.

    magic (8) | version u16 | total length u32 | payload SHA-256 (32)
    6 x [ length u32 | CRC-32 u32 ] | CRC-32 of all before u32
    the sections, one after the other, in ascending order of kind

Numbers are little-endian. There are no gaps and no trailing bytes, so every file has one spelling.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import BinaryIO

from gossamer.container.errors import CorruptFile
from gossamer.container.limits import MOST_FILE_BYTES

MAGIC = b"\x93GSM\r\n\x1a\n"  # not text; a transfer that rewrites line ends is noticed in the first bytes
VERSION = 1
KINDS = {1: "graph", 2: "tensors", 3: "preprocess", 4: "classes", 5: "plan", 6: "claims"}
CLAIMS = 6
PIECE = 1 << 20  # bytes read at once

_FIXED = struct.Struct("<8sHI32s")
_ENTRY = struct.Struct("<II")
_SUM = struct.Struct("<I")
HEADER_BYTES = _FIXED.size + len(KINDS) * _ENTRY.size + _SUM.size


@dataclass(frozen=True)
class Place:
    """Where a section lies in the file, in bytes."""

    name: str
    offset: int
    length: int


def join(sections: Mapping[int, bytes]) -> bytes:
    """A whole file of these sections by kind; ValueError where it would be too long."""
    parts = [sections[kind] for kind in KINDS]
    total = HEADER_BYTES + sum(map(len, parts))
    if total > MOST_FILE_BYTES:
        raise ValueError(f"expected a file of at most {MOST_FILE_BYTES:,} bytes, got {total:,}")
    header = _FIXED.pack(MAGIC, VERSION, total, payload_digest(sections))
    header += b"".join(_ENTRY.pack(len(part), zlib.crc32(part)) for part in parts)
    return b"".join([header, _SUM.pack(zlib.crc32(header)), *parts])


def survey(file: BinaryIO, where: str) -> tuple[list[Place], bytes]:
    """Where the sections of a file lie, and the payload's digest; CorruptFile for anything that does not fit.

    Reads all of it, piece by piece, and keeps none.
    """
    size = file.seek(0, SEEK_END)
    file.seek(0)
    header = file.read(HEADER_BYTES)
    total, digest, rows = _header(header, where)
    if total != size:
        how = "truncated" if size < total else "followed by something else"
        raise CorruptFile(f"{where}: is {size:,} bytes long and says {total:,}; the file is {how}")
    places = _places(rows, size, where)
    payload = hashlib.sha256(struct.pack("<H", VERSION))
    for place, (_, checksum) in zip(places, rows, strict=True):
        payload.update(b"" if place.name == KINDS[CLAIMS] else struct.pack("<Q", place.length))
        found, left = 0, place.length
        while left:
            piece = file.read(min(left, PIECE))
            if not piece:
                raise CorruptFile(f"{where}: became shorter while it was read; read it again")
            left -= len(piece)
            found = zlib.crc32(piece, found)
            payload.update(b"" if place.name == KINDS[CLAIMS] else piece)
        if found != checksum:
            raise CorruptFile(f"{where}: the checksum of section '{place.name}' does not hold; the file is damaged")
    if payload.digest() != digest:
        raise CorruptFile(f"{where}: the SHA-256 of the payload does not hold; the file was changed, get it again")
    return places, digest


def split(data: bytes, where: str) -> tuple[dict[int, bytes], list[Place], bytes]:
    """Sections by kind, their places, and the payload's digest; CorruptFile for anything that does not fit."""
    places, digest = survey(BytesIO(data), where)
    sections = {
        kind: data[place.offset : place.offset + place.length] for kind, place in zip(KINDS, places, strict=True)
    }
    return sections, places, digest


def _header(data: bytes, where: str) -> tuple[int, bytes, list[tuple[int, int]]]:
    """The total length, the payload's digest, and (length, checksum) of each section."""
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise CorruptFile(f"{where}: does not begin as a .gossamer file does; it is another kind of file, or damaged")
    if len(data) < _FIXED.size:
        raise CorruptFile(f"{where}: ends inside the header after {len(data):,} bytes; the file is truncated")
    _, version, total, digest = _FIXED.unpack_from(data)
    if version != VERSION:
        raise CorruptFile(
            f"{where}: has format version {version}, and this program reads version {VERSION}; update Gossamer"
        )
    if len(data) < HEADER_BYTES:
        raise CorruptFile(f"{where}: ends inside the header after {len(data):,} bytes; the file is truncated")
    end = HEADER_BYTES - _SUM.size
    if _SUM.unpack_from(data, end)[0] != zlib.crc32(data[:end]):
        raise CorruptFile(f"{where}: the header's checksum does not hold; the file is damaged")
    return total, digest, list(_ENTRY.iter_unpack(data[_FIXED.size : end]))


def _places(rows: Sequence[tuple[int, int]], size: int, where: str) -> list[Place]:
    places: list[Place] = []
    offset = HEADER_BYTES
    for name, (length, _) in zip(KINDS.values(), rows, strict=True):
        if length > size - offset:
            raise CorruptFile(
                f"{where}: section '{name}' says {length:,} bytes, {size - offset:,} are left; the file is damaged"
            )
        places.append(Place(name, offset, length))
        offset += length
    if offset != size:
        raise CorruptFile(f"{where}: {size - offset:,} bytes follow the last section; the file is damaged")
    return places


def payload_bytes(sections: Mapping[int, bytes]) -> bytes:
    """What the payload's SHA-256 is taken of: version, then length and bytes of everything but the claims."""
    pieces = [struct.pack("<H", VERSION)]
    for kind in KINDS:
        if kind != CLAIMS:
            pieces += [struct.pack("<Q", len(sections[kind])), sections[kind]]
    return b"".join(pieces)


def payload_digest(sections: Mapping[int, bytes]) -> bytes:
    """SHA-256 of the payload: its name in claims and certificates."""
    return hashlib.sha256(payload_bytes(sections)).digest()
