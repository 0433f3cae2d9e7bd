# SPDX-License-Identifier: Apache-2.0
"""Inputs of the fuzzer: files taken apart and inflated, put together again with every checksum right.

Random bytes die at the first checksum, and damaged deflate streams at the second. So an input is a file taken apart
and inflated; `file_of` puts it together and sets every checksum right. What is guided by coverage is then what an
attacker can do who knows the format.

    u8 flags | 8 x (u16 length, bytes): graph, promise, table, streams, preprocess, classes, plan, claims

Flags: 1 the promise is computed from the table; 2 the claims name the payload. A length beyond the end is cut there.
An input that begins with ff is a file as it stands.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from gossamer import container
from gossamer.coding.bits import read_varint, write_varint
from gossamer.container.blocks import deflate, inflate, write_json
from gossamer.container.dictionaries import GRAPH_WORDS, JSON_WORDS
from gossamer.container.errors import CorruptFile
from gossamer.container.graph_bytes import missing_names
from gossamer.container.sections import CLAIMS, join, payload_digest, split
from gossamer.container.tensor_table import read_table

HONEST_PROMISE, HONEST_CLAIMS = 1, 2
AS_IT_STANDS = 0xFF
PARTS = 8
ANY = 2**30


def file_of(data: bytes) -> bytes:
    """The file that an input stands for, its checksums right."""
    if data[:1] == bytes([AS_IT_STANDS]):
        return data[1:]
    flags, parts = data[0] if data else 0, _parts(data)
    graph, promise, table, streams, preprocess, classes, plan, claims = parts
    if flags & HONEST_PROMISE:
        promise = _promise(graph, table) or promise
    rows = deflate(table, ANY, "table")
    sections = {
        1: deflate(graph, ANY, "graph", GRAPH_WORDS),
        2: promise + write_varint(len(rows)) + rows + streams,
        3: deflate(preprocess, ANY, "preprocess", JSON_WORDS),
        4: deflate(classes, ANY, "classes", JSON_WORDS),
        5: deflate(plan, ANY, "plan", JSON_WORDS),
    }
    named = write_json({"payload_sha256": payload_digest(sections).hex()}, "claims")
    return join({**sections, CLAIMS: named if flags & HONEST_CLAIMS else deflate(claims, ANY, "claims", JSON_WORDS)})


def _parts(data: bytes) -> list[bytes]:
    at, parts = 1, []
    for _ in range(PARTS):
        length = int.from_bytes(data[at : at + 2], "little")
        parts.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return parts


def _promise(graph: bytes, table: bytes) -> bytes | None:
    """What the table needs, where it can be read."""
    try:
        entries, _ = read_table(deflate(table, ANY, "table"), missing_names(graph), "")
    except ValueError:
        return None
    return write_varint(sum(entry.memory for entry in entries))


def input_of(file: bytes) -> bytes:
    """The input that stands for an honest file."""
    sections = split(file, "seed")[0]
    head = sections[2]
    _, at = read_varint(head, 0, 2**40)
    promise = head[:at]
    size, at = read_varint(head, at, len(head))
    parts = [
        *(
            inflate(sections[1], ANY, "", GRAPH_WORDS),
            promise,
            inflate(head[at : at + size], ANY, ""),
            head[at + size :],
        ),
        *(inflate(sections[kind], ANY, "", JSON_WORDS) for kind in (3, 4, 5, CLAIMS)),
    ]
    return packed(HONEST_PROMISE | HONEST_CLAIMS, parts)


def packed(flags: int, parts: Sequence[bytes]) -> bytes:
    """An input of these parts."""
    return bytes([flags]) + b"".join(struct.pack("<H", len(part)) + part for part in parts)


def attack(data: bytes, path: Path) -> bool:
    """Whether the file of an input is read; all else than a network or CorruptFile is raised.

    A network that was read must come out as ONNX, and be the same when it is written and read again.
    """
    path.write_bytes(file_of(data))
    try:
        file = container.read(path)
    except CorruptFile as error:
        if not str(error).startswith(f"{path.name}: "):
            raise ValueError(f"expected the name of the file in {error}") from error
        return False
    container.describe(file)
    before = container.to_onnx(file.payload)
    container.decode(path, path.with_suffix(".onnx"))
    if path.with_suffix(".onnx").read_bytes() != before:
        raise ValueError("decoded in pieces, the model is another one")
    if sum(tensor.decoded().nbytes for tensor in file.payload.tensors) < 2**16:  # coding anew by every coder is slow
        container.write(path, file.payload, {})
        if container.to_onnx(container.read(path).payload) != before:
            raise ValueError("written again, the model is another one")
    return True
