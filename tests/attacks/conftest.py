# SPDX-License-Identifier: Apache-2.0
"""Files that lie: sections written by hand and sealed with checksums that hold, so that what is inside is reached."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer import container
from gossamer.container.blocks import write_json
from gossamer.container.sections import CLAIMS, HEADER_BYTES, join, payload_digest
from tests.attacks.hostile import HONEST, payload


@pytest.fixture
def whole(tmp_path) -> bytes:
    """The bytes of an honest file."""
    container.write(tmp_path / "honest.gossamer", payload(), {"n": 1})
    return (tmp_path / "honest.gossamer").read_bytes()


@pytest.fixture
def read_bytes(tmp_path) -> Callable[[bytes], container.File]:
    """Read these bytes as 'a.gossamer'."""

    def read(data: bytes) -> container.File:
        path: Path = tmp_path / "a.gossamer"
        path.write_bytes(data)
        return container.read(path)

    return read


@pytest.fixture
def read_sections(read_bytes) -> Callable[..., container.File]:
    """Read an honest file with some sections (named by kind, as `s2=...`) replaced, every checksum set right."""

    def read(**replaced: bytes) -> container.File:
        sections = HONEST | {int(kind[1:]): data for kind, data in replaced.items()}
        named = {"payload_sha256": payload_digest(sections).hex()}
        return read_bytes(join({CLAIMS: write_json(named, "claims")} | sections))

    return read


@pytest.fixture
def reseal() -> Callable[[bytes | bytearray], bytes]:
    """Set the header's checksum right after its fields were changed."""

    def seal(data: bytes | bytearray) -> bytes:
        out = bytearray(data)
        end = HEADER_BYTES - 4
        out[end:HEADER_BYTES] = struct.pack("<I", zlib.crc32(out[:end]))
        return bytes(out)

    return seal
