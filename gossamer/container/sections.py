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
from collections.abc import Mapping
from dataclasses import dataclass

from gossamer.container.errors import CorruptFile
from gossamer.container.limits import MOST_FILE_BYTES

MAGIC = b"\x93GSM\r\n\x1a\n"  # not text; a transfer that rewrites line ends is noticed in the first bytes
VERSION = 1
KINDS = {1: "graph", 2: "tensors", 3: "preprocess", 4: "classes", 5: "plan", 6: "claims"}
CLAIMS = 6

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


def split(data: bytes, where: str) -> tuple[dict[int, bytes], list[Place], bytes]:
    """Sections by kind, their places, and the payload's digest; CorruptFile for anything that does not fit."""
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
    if total != len(data):
        how = "truncated" if len(data) < total else "followed by something else"
        raise CorruptFile(f"{where}: is {len(data):,} bytes long and says {total:,}; the file is {how}")
    return _sections(data, where, digest)


def _sections(data: bytes, where: str, digest: bytes) -> tuple[dict[int, bytes], list[Place], bytes]:
    sections: dict[int, bytes] = {}
    places: list[Place] = []
    offset = HEADER_BYTES
    for index, (kind, name) in enumerate(KINDS.items()):
        length, checksum = _ENTRY.unpack_from(data, _FIXED.size + index * _ENTRY.size)
        if length > len(data) - offset:
            raise CorruptFile(
                f"{where}: section '{name}' says {length:,} bytes, {len(data) - offset:,} are left; the file is damaged"
            )
        sections[kind] = data[offset : offset + length]
        if zlib.crc32(sections[kind]) != checksum:
            raise CorruptFile(f"{where}: the checksum of section '{name}' does not hold; the file is damaged")
        places.append(Place(name, offset, length))
        offset += length
    if offset != len(data):
        raise CorruptFile(f"{where}: {len(data) - offset:,} bytes follow the last section; the file is damaged")
    if payload_digest(sections) != digest:
        raise CorruptFile(f"{where}: the SHA-256 of the payload does not hold; the file was changed, get it again")
    return sections, places, digest


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
