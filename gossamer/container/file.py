# SPDX-License-Identifier: Apache-2.0
"""The .gossamer file: written whole or not at all, read with every length checked, verified without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.container.errors import CorruptFile
from gossamer.container.payload import Payload, Stored, from_sections, read_json, to_sections, write_json
from gossamer.container.sections import CLAIMS, VERSION, Place, join, payload_digest, split
from gossamer.files import write_atomically

MOST_FILE_BYTES = 2**32


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


def write(path: Path, payload: Payload, claims: Mapping[str, Any]) -> str:
    """Write a file; returns the payload's SHA-256. The same payload and claims give the same bytes."""
    sections = to_sections(payload)
    write_atomically(path, join(sections | {CLAIMS: write_json(dict(claims))}))
    return payload_digest(sections).hex()


def with_claims(path: Path, claims: Mapping[str, Any]) -> None:
    """Replace the claims of a file; its payload keeps every byte."""
    sections, _, _ = split(_bytes(path), path.name)
    write_atomically(path, join(sections | {CLAIMS: write_json(dict(claims))}))


def read(path: Path) -> File:
    """Read a whole file; CorruptFile where anything is not as the format says."""
    data = _bytes(path)
    sections, places, digest = split(data, path.name)
    payload, stored = from_sections(sections, path.name)
    claims = read_json(sections[CLAIMS], f"{path.name}: section 'claims'", dict)
    return File(path, VERSION, payload, claims, digest.hex(), tuple(places), stored, len(data))


def verify(path: Path) -> list[str]:
    """What holds of a file, in sentences; CorruptFile for the first thing that does not."""
    file = read(path)
    certificate = file.claims.get("certificate")
    claimed = certificate.get("payload_sha256") if isinstance(certificate, dict) else None
    if claimed is not None and claimed != file.payload_sha256:
        raise CorruptFile(f"{path.name}: its certificate is of another payload; do not trust it")
    holds = [
        f"header, lengths and checksums of {len(file.places)} sections, {file.bytes:,} bytes",
        f"payload SHA-256 {file.payload_sha256}",
        f"{len(file.stored)} tensors decode to the shapes they say",
    ]
    return holds + (["the certificate names this payload"] if claimed else [])


def _bytes(path: Path) -> bytes:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"expected a .gossamer file, found none at {path}")
    if path.stat().st_size > MOST_FILE_BYTES:
        raise CorruptFile(f"{path.name}: is {path.stat().st_size:,} bytes long, more than version 1 allows")
    return path.read_bytes()
