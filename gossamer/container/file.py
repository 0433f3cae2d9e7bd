# SPDX-License-Identifier: Apache-2.0
"""The .gossamer file: written whole or not at all, read with every length checked, verified without running it.

Everything that reads goes through `opened`; `decode` and `verify` hold one decoded tensor at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gossamer.coding import smallest
from gossamer.container.blocks import read_json, write_json
from gossamer.container.errors import CorruptFile
from gossamer.container.limits import MOST_DECODED_BYTES
from gossamer.container.onnx_bytes import model_parts
from gossamer.container.payload import Payload, from_sections, to_sections
from gossamer.container.sections import CLAIMS, VERSION, Place, join, payload_digest, split, survey
from gossamer.container.tensor_data import Choice, Stored, Tensors
from gossamer.files import write_atomically, written_aside

PAYLOAD = "payload_sha256"  # the key under which claims name what they are about


@dataclass(frozen=True, kw_only=True)
class _Surveyed:
    """A file whose checksums hold.

    `claims` are what its maker says of it (measurements, certificate); they name the payload by its SHA-256.
    """

    path: Path
    version: int = VERSION
    claims: Mapping[str, Any]
    payload_sha256: str
    places: tuple[Place, ...]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Opened(_Surveyed):
    """An open file: its tensors are decoded when they are asked for, one after the other.

    `network` is the payload without its tensors.
    """

    network: Payload
    tensors: Tensors


@dataclass(frozen=True, kw_only=True)
class File(_Surveyed):
    """A file that was read whole: its payload, and what the file spends on every tensor."""

    payload: Payload
    stored: tuple[Stored, ...]


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
    _exists(path)
    sections, _, digest = split(path.read_bytes(), path.name)
    _write(path, sections, digest, claims)


@contextmanager
def opened(path: Path, most_decoded_bytes: int = MOST_DECODED_BYTES) -> Iterator[Opened]:
    """Open a file; CorruptFile where anything but the tensors' data, which are not yet decoded, is not as it must be.

    `most_decoded_bytes` bounds the tensors' memory (4 bytes a weight) on a device that has less of it: of all of them
    together, though this holds one at a time.
    """
    path = Path(path)
    _exists(path)
    with path.open("rb") as file:
        places, digest = survey(file, path.name)

        def section(kind: int) -> bytes:
            file.seek(places[kind - 1].offset)
            return file.read(places[kind - 1].length)

        network, names = from_sections(section, path.name)
        claims = read_json(section(CLAIMS), dict, f"{path.name}: section 'claims'")
        if claims.get(PAYLOAD) != digest.hex():
            raise CorruptFile(f"{path.name}: section 'claims' is about another payload; do not trust it")
        place = places[1]
        where = f"{path.name}: section 'tensors'"
        tensors = Tensors(file, names, most_decoded_bytes, where, place.offset, place.length)
        yield Opened(
            path=path,
            claims=claims,
            payload_sha256=digest.hex(),
            places=tuple(places),
            bytes=places[-1].offset + places[-1].length,
            network=network,
            tensors=tensors,
        )


def read(path: Path, most_decoded_bytes: int = MOST_DECODED_BYTES) -> File:
    """Read a whole file; CorruptFile where anything is not as the format says. The limit is that of `opened`."""
    with opened(path, most_decoded_bytes) as file:
        rows = list(file.tensors)
        surveyed = {field.name: getattr(file, field.name) for field in fields(_Surveyed)}
        payload = replace(file.network, tensors=tuple(tensor for tensor, _ in rows))
        return File(**surveyed, payload=payload, stored=tuple(entry for _, entry in rows))


def decode(path: Path, out: Path, most_decoded_bytes: int = MOST_DECODED_BYTES) -> None:
    """Write the ONNX model of a file, tensor by tensor: the same bytes as `to_onnx`, in the memory of one tensor."""
    with opened(path, most_decoded_bytes) as file, written_aside(out) as part, part.open("wb") as onnx:
        heads = [(entry.name, entry.shape, entry.dtype) for entry in file.tensors.entries]
        onnx.writelines(model_parts(file.network.graph, heads, (tensor for tensor, _ in file.tensors)))


def verify(path: Path) -> list[str]:
    """What holds of a file, in sentences; CorruptFile for the first thing that does not."""
    with opened(path) as file:
        path = file.path
        certificate = file.claims.get("certificate")
        claimed = certificate.get(PAYLOAD) if isinstance(certificate, dict) else None
        if claimed is not None and claimed != file.payload_sha256:
            raise CorruptFile(f"{path.name}: its certificate is of another payload; do not trust it")
        count = sum(1 for _ in file.tensors)
        holds = [
            f"header, lengths and checksums of {len(file.places)} sections, {file.bytes:,} bytes",
            f"payload SHA-256 {file.payload_sha256}",
            f"{count} tensors decode to the shapes they say",
            "the claims name this payload",
        ]
        return holds + (["the certificate names this payload"] if claimed else [])


def _write(path: Path, sections: Mapping[int, bytes], digest: bytes, claims: Mapping[str, Any]) -> None:
    """Write sections with claims that name their payload, so that they cannot be moved to another."""
    named = {PAYLOAD: digest.hex()} | dict(claims)
    if named[PAYLOAD] != digest.hex():
        raise ValueError(f"expected claims about the payload {digest.hex()}, got claims about {named[PAYLOAD]}")
    write_atomically(path, join({**sections, CLAIMS: write_json(named, "claims")}))


def _exists(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"expected a .gossamer file, found none at {path}")
