# SPDX-License-Identifier: Apache-2.0
"""Files that lie: sections written by hand and sealed with checksums that hold, so that what is inside is reached."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gossamer import container
from gossamer.container import Payload, Tensor
from gossamer.container.blocks import deflate
from gossamer.container.payload import to_sections
from gossamer.container.sections import CLAIMS, join, payload_digest

GRAPH = bytes.fromhex("08083a0412026869")  # ir_version 8, a graph named hi


def payload() -> Payload:
    """A grid, a codebook, an exact and an integer tensor."""
    integers = (np.arange(54, dtype=np.int32).reshape(3, 2, 3, 3) * 7) % 5 - 2
    tensors = (
        Tensor.grid("w", integers, np.array([0.25, 0.5, 0.3], np.float32)),
        Tensor.codebook("c", integers[0], np.array([-0.5, 0.1, 0, 0.25, 1], np.float32), zero=2),
        Tensor.exact("b", np.array([1.1, 2.2, 3.3], np.float32)),
        Tensor.exact("q", np.arange(-4, 4, dtype=np.int8)),
    )
    return Payload(GRAPH, tensors, {"size": 5}, ("cat", "dog"), {"keep": [True]})


HONEST = to_sections(payload())


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
        named = b'{"payload_sha256":"%s"}' % payload_digest(sections).hex().encode()
        return read_bytes(join({CLAIMS: deflate(named, 999, "claims")} | sections))

    return read


@pytest.fixture
def reseal() -> Callable[[bytes | bytearray], bytes]:
    """Set the header's checksum right after its fields were changed."""

    def seal(data: bytes | bytearray) -> bytes:
        out = bytearray(data)
        out[130:134] = struct.pack("<I", zlib.crc32(out[:130]))
        return bytes(out)

    return seal
