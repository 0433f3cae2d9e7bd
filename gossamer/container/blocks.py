# SPDX-License-Identifier: Apache-2.0
"""Blocks: deflated bytes that say how long they become, and the JSON inside some of them.

varint length when inflated | raw deflate stream (RFC 1951)
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from gossamer.coding.bits import read_varint, write_varint
from gossamer.container.dictionaries import JSON_WORDS
from gossamer.container.errors import CorruptFile
from gossamer.container.limits import MOST_JSON_BYTES, MOST_JSON_DEPTH


def squeeze(data: bytes, words: bytes = b"") -> bytes:
    """A raw deflate stream, as small as zlib makes it; `words` is what it has seen before."""
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, words)
    return coder.compress(data) + coder.flush()


def unsqueeze(data: bytes, length: int, where: str, words: bytes = b"") -> bytes:
    """The inverse of `squeeze`; never makes more than one byte over `length`."""
    decoder = zlib.decompressobj(-15, words)
    try:
        out = decoder.decompress(data, length + 1)
    except zlib.error as error:
        raise CorruptFile(f"{where} cannot be inflated; the file is damaged") from error
    if len(out) != length or not decoder.eof or decoder.unused_data:
        raise CorruptFile(f"{where} does not inflate to the {length:,} bytes it says; the file is damaged")
    return out


def deflate(data: bytes, most: int, what: str, words: bytes = b"") -> bytes:
    """A block of these bytes; ValueError where they are more than a reader will take."""
    if len(data) > most:
        raise ValueError(f"expected a {what} of at most {most:,} bytes, got {len(data):,}; a file cannot hold it")
    return write_varint(len(data)) + squeeze(data, words)


def inflate(data: bytes, most: int, where: str, words: bytes = b"") -> bytes:
    """The bytes of a block: exactly as many as it says, and never more than `most`."""
    length, at = varint(data, 0, most, where)
    return unsqueeze(data[at:], length, where, words)


def varint(data: bytes, at: int, most: int, where: str) -> tuple[int, int]:
    """A varint of at most `most` and the position after it."""
    try:
        return read_varint(data, at, most)
    except ValueError as error:
        raise CorruptFile(f"{where} {error}") from error


def write_json(value: Any, what: str) -> bytes:
    """A block of canonical JSON: keys sorted, no spaces, UTF-8, neither NaN nor infinities."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        data = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"expected {what} that JSON can hold, got something else ({error})") from error
    if (depth := _depth(value)) > MOST_JSON_DEPTH:
        raise ValueError(f"expected {what} nested at most {MOST_JSON_DEPTH} deep, got {depth}; flatten it")
    return deflate(data, MOST_JSON_BYTES, what, JSON_WORDS)


def read_json(data: bytes, kind: type, where: str) -> Any:
    """The JSON value in a block, which must be of this kind (dict or list)."""
    text = inflate(data, MOST_JSON_BYTES, where, JSON_WORDS)
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{where} is not JSON ({error}); the file is damaged") from error
    if not isinstance(value, kind):
        raise CorruptFile(f"{where} must hold a {kind.__name__}, got {type(value).__name__}; the file is damaged")
    if (depth := _depth(value)) > MOST_JSON_DEPTH:
        raise CorruptFile(f"{where} is nested {depth} deep, at most {MOST_JSON_DEPTH} is allowed; the file is damaged")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Programs differ in which of two equal keys they keep, so a file with both could say two things."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key comes twice")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def _depth(value: Any) -> int:
    """How many lists and objects lie inside one another."""
    depth, layer = 0, [value]
    while layer := [item for item in layer if isinstance(item, dict | list | tuple)]:
        depth += 1
        layer = [inner for item in layer for inner in (item.values() if isinstance(item, dict) else item)]
    return depth
