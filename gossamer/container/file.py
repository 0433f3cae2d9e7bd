# SPDX-License-Identifier: Apache-2.0
"""The .gossamer file: written whole or not at all, read with every length checked, verified without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.coding import smallest
from gossamer.container.blocks import read_json, write_json
from gossamer.container.errors import CorruptFile
from gossamer.container.limits import MOST_DECODED_BYTES, MOST_FILE_BYTES
from gossamer.container.payload import Payload, from_sections, to_sections
from gossamer.container.sections import CLAIMS, MAGIC, VERSION, Place, join, payload_digest, split
from gossamer.container.tensor_data import Choice, Stored
from gossamer.files import write_atomically

PAYLOAD = "payload_sha256"  # the key under which claims name what they are about


@dataclass(frozen=True)
class File:
    """A file that was read and whose checksums hold.

    `claims` are what its maker says of it (measurements, certificate); they name the payload by its SHA-256.
    """

    path: Path
    version: int
    payload: Payload
    claims: Mapping[str, Any]
    payload_sha256: str
    places: tuple[Place, ...]
    stored: tuple[Stored, ...]
    bytes: int


def write(path: Path, payload: Payload, claims: Mapping[str, Any], choice: Choice = smallest) -> str:
    """Write a file; returns the payload's SHA-256. The same payload and claims give the same bytes.

    `choice` codes integers: a function to the name of a coder and the bytes. By default the smallest of all coders.
    """
    sections = to_sections(payload, choice)
    digest = payload_digest(sections)
    _write(Path(path), sections, digest, claims)
    return digest.hex()


def with_claims(path: Path, claims: Mapping[str, Any]) -> None:
    """Replace the claims of a file; its payload keeps every byte."""
    path = Path(path)
    sections, _, digest = split(_bytes(path), path.name)
    _write(path, sections, digest, claims)


def read(path: Path, most_decoded_bytes: int = MOST_DECODED_BYTES) -> File:
    """Read a whole file; CorruptFile where anything is not as the format says.

    `most_decoded_bytes` bounds the tensors' memory (4 bytes a weight) on a device that has less of it.
    """
    path = Path(path)
    data = _bytes(path)
    sections, places, digest = split(data, path.name)
    payload, stored = from_sections(sections, path.name, most_decoded_bytes)
    claims = read_json(sections[CLAIMS], dict, f"{path.name}: section 'claims'")
    if claims.get(PAYLOAD) != digest.hex():
        raise CorruptFile(f"{path.name}: section 'claims' is about another payload; do not trust it")
    return File(path, VERSION, payload, claims, digest.hex(), tuple(places), stored, len(data))


def verify(path: Path) -> list[str]:
    """What holds of a file, in sentences; CorruptFile for the first thing that does not."""
    file = read(path)
    path = file.path
    certificate = file.claims.get("certificate")
    claimed = certificate.get(PAYLOAD) if isinstance(certificate, dict) else None
    if claimed is not None and claimed != file.payload_sha256:
        raise CorruptFile(f"{path.name}: its certificate is of another payload; do not trust it")
    holds = [
        f"header, lengths and checksums of {len(file.places)} sections, {file.bytes:,} bytes",
        f"payload SHA-256 {file.payload_sha256}",
        f"{len(file.stored)} tensors decode to the shapes they say",
        "the claims name this payload",
    ]
    return holds + (["the certificate names this payload"] if claimed else [])


def _write(path: Path, sections: Mapping[int, bytes], digest: bytes, claims: Mapping[str, Any]) -> None:
    """Write sections with claims that name their payload, so that they cannot be moved to another."""
    named = {PAYLOAD: digest.hex()} | dict(claims)
    if named[PAYLOAD] != digest.hex():
        raise ValueError(f"expected claims about the payload {digest.hex()}, got claims about {named[PAYLOAD]}")
    write_atomically(path, join({**sections, CLAIMS: write_json(named, "claims")}))


def _bytes(path: Path) -> bytes:
    """The bytes of what at least begins as a .gossamer file and is not larger than one may be."""
    if not path.is_file():
        raise ValueError(f"expected a .gossamer file, found none at {path}")
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
        if head != MAGIC:
            return head  # enough to say what is wrong, however large the rest is
        if (size := path.stat().st_size) > MOST_FILE_BYTES:
            raise CorruptFile(
                f"{path.name}: is {size:,} bytes long, version 1 allows {MOST_FILE_BYTES:,}; get it again"
            )
        return head + file.read(size)  # a limit far above the size would be allocated whole
