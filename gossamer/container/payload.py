# SPDX-License-Identifier: Apache-2.0
"""Payload: everything that is needed to run the network, and nothing that is said about it.

The tensors section is `varint count | varint decoded bytes | deflated table | the tensors' data`, and the table has
for each tensor:

    name | dtype u8 | varint dims | varint each dim | storage u8 | coder u8 | axis u8 | varint units | varint data length

Storage 0 keeps values as they are, 1 keeps float32 values as float16 (all of them survive it), 2 and 3 are grids
with units in float32 and float16, 4 keeps integer values through an integer coder. The data of a tensor are its
units, then its coded values.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.coding import CODERS, smallest
from gossamer.coding.bits import read_varint, write_varint
from gossamer.container.errors import CorruptFile
from gossamer.container.tensor import DTYPES, Tensor

EXACT, HALF, GRID, GRID_HALF_UNITS, INTEGERS = range(5)
RAW, DEFLATED = "raw", "deflated"
CODER_NUMBERS = {name: number for number, name in enumerate((RAW, DEFLATED, "packed", "huffman", "adaptive"))}
CODER_NAMES = {number: name for name, number in CODER_NUMBERS.items()}
DTYPE_NAMES = {number: name for name, number in DTYPES.items()}
INTEGER_DTYPES = ("int8", "uint8", "int32")

MOST_TENSORS, MOST_DIMS, MOST_NAME_BYTES = 100_000, 8, 1_024
MOST_ELEMENTS = 2**31 - 1
MOST_DECODED_BYTES = 2**32  # of all tensors together
MOST_TEXT_BYTES = 2**26  # of the graph, of a JSON section and of the tensor table


@dataclass(frozen=True)
class Payload:
    """A network: its graph (an ONNX ModelProto without these initializers), tensors, and what its input means."""

    graph: bytes
    tensors: tuple[Tensor, ...]
    preprocess: Mapping[str, Any]
    classes: tuple[str, ...]
    plan: Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """What the file spends on one tensor: `bytes` of data, table entry aside."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    coder: str
    bytes: int
    zeros: int

    @property
    def count(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


# --- writing ---------------------------------------------------------------------------------------------------


def to_sections(payload: Payload) -> dict[int, bytes]:
    """The payload's sections by kind."""
    return {
        1: deflate(payload.graph),
        2: _write_tensors(payload.tensors),
        3: write_json(payload.preprocess),
        4: write_json(list(payload.classes)),
        5: write_json(payload.plan),
    }


def write_json(value: Any) -> bytes:
    """Canonical JSON (sorted keys, no spaces, no NaN), deflated."""
    return deflate(
        json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    )


def deflate(data: bytes) -> bytes:
    """varint length | raw deflate stream."""
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    return write_varint(len(data)) + coder.compress(data) + coder.flush()


def _write_tensors(tensors: tuple[Tensor, ...]) -> bytes:
    names = [tensor.name for tensor in tensors]
    if len(set(names)) < len(names):
        raise ValueError(f"expected a name for each tensor, got '{max(names, key=names.count)}' twice")
    table, data = [], []
    for tensor in tensors:
        storage, coder, unit_bytes, coded = _store(tensor)
        name = tensor.name.encode()
        units = 0 if tensor.unit is None else tensor.unit.size
        table += [write_varint(len(name)), name, bytes([DTYPES[tensor.dtype]])]
        table += [write_varint(number) for number in (len(tensor.shape), *tensor.shape)]
        table += [bytes([storage, CODER_NUMBERS[coder], tensor.axis]), write_varint(units)]
        table += [write_varint(len(coded))]
        data += [unit_bytes, coded]
    decoded = sum(_decoded_bytes(tensor.shape, tensor.dtype) for tensor in tensors)
    packed = deflate(b"".join(table))
    return b"".join([write_varint(len(tensors)), write_varint(decoded), write_varint(len(packed)), packed, *data])


def _store(tensor: Tensor) -> tuple[int, str, bytes, bytes]:
    """(storage, coder, bytes of the units, bytes of the values)."""
    if tensor.integers is not None and tensor.unit is not None:
        coder, coded = smallest(tensor.integers)
        half = _survives_half(tensor.unit)
        return (GRID_HALF_UNITS if half else GRID), coder, _little(tensor.unit, "<f2" if half else "<f4"), coded
    assert tensor.values is not None
    if tensor.dtype in INTEGER_DTYPES and tensor.values.size and tensor.values.min() > -(2**31):
        return INTEGERS, *_first(smallest(tensor.values.astype(np.int32)))
    if tensor.dtype == "float32" and _survives_half(tensor.values):
        return HALF, *_first(_shorter(_little(tensor.values, "<f2")))
    return EXACT, *_first(_shorter(_little(tensor.values, tensor.values.dtype.newbyteorder("<"))))


def _first(coded: tuple[str, bytes]) -> tuple[str, bytes, bytes]:
    return coded[0], b"", coded[1]


def _shorter(raw: bytes) -> tuple[str, bytes]:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = coder.compress(raw) + coder.flush()
    return (DEFLATED, packed) if len(packed) < len(raw) else (RAW, raw)


def _survives_half(values: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        back = values.astype(np.float16).astype(np.float32)
    return back.tobytes() == np.ascontiguousarray(values, np.float32).tobytes()


def _little(values: NDArray[Any], dtype: Any) -> bytes:
    return np.ascontiguousarray(values).astype(dtype).tobytes()


def _decoded_bytes(shape: tuple[int, ...], dtype: str) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


# --- reading ---------------------------------------------------------------------------------------------------


def from_sections(sections: Mapping[int, bytes], where: str) -> tuple[Payload, tuple[Stored, ...]]:
    """The payload of these sections, and what each tensor takes; CorruptFile names the place of what is wrong."""
    tensors, stored = _read_tensors(sections[2], where)
    classes = read_json(sections[4], f"{where}: section 'classes'", list)
    if not all(isinstance(name, str) for name in classes):
        raise CorruptFile(f"{where}: section 'classes' must hold names; the file is damaged")
    payload = Payload(
        graph=inflate(sections[1], f"{where}: section 'graph'"),
        tensors=tensors,
        preprocess=read_json(sections[3], f"{where}: section 'preprocess'", dict),
        classes=tuple(classes),
        plan=read_json(sections[5], f"{where}: section 'plan'", dict),
    )
    return payload, stored


def read_json(data: bytes, where: str, kind: type) -> Any:
    """The JSON value of a section, which must be of this kind."""
    try:
        value = json.loads(inflate(data, where))
    except (ValueError, RecursionError) as error:
        if isinstance(error, CorruptFile):
            raise
        raise CorruptFile(f"{where} is not JSON ({type(error).__name__}); the file is damaged") from error
    if not isinstance(value, kind):
        raise CorruptFile(f"{where} must hold a {kind.__name__}, got {type(value).__name__}; the file is damaged")
    return value


def inflate(data: bytes, where: str, most: int = MOST_TEXT_BYTES) -> bytes:
    """What `deflate` packed; never more than it says, never more than `most` bytes."""
    length, at = _varint(data, 0, most, where)
    return _inflated(data[at:], length, where)


def _inflated(data: bytes, length: int, where: str) -> bytes:
    decoder = zlib.decompressobj(-15)
    try:
        out = decoder.decompress(data, length + 1)
    except zlib.error as error:
        raise CorruptFile(f"{where} cannot be inflated; the file is damaged") from error
    if len(out) != length or not decoder.eof or decoder.unused_data:
        raise CorruptFile(f"{where} does not inflate to the {length:,} bytes it says; the file is damaged")
    return out


class _Table:
    """The tensor table, read field by field with every read bounded."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.at = data, where, 0

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self, most: int) -> int:
        value, self.at = _varint(self.data, self.at, most, self.where)
        return value

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise CorruptFile(f"{self.where} ends after {len(self.data):,} bytes; the file is damaged")
        self.at += count
        return self.data[self.at - count : self.at]


def _varint(data: bytes, at: int, most: int, where: str) -> tuple[int, int]:
    try:
        return read_varint(data, at, most)
    except ValueError as error:
        raise CorruptFile(f"{where} {error}") from error


def _read_tensors(data: bytes, where: str) -> tuple[tuple[Tensor, ...], tuple[Stored, ...]]:
    place = f"{where}: section 'tensors'"
    count, at = _varint(data, 0, MOST_TENSORS, place)
    promised, at = _varint(data, at, MOST_DECODED_BYTES, place)
    length, at = _varint(data, at, len(data), place)
    if length > len(data) - at:
        raise CorruptFile(f"{place} ends inside its table; the file is damaged")
    table, at = _Table(inflate(data[at : at + length], f"{place}, table"), f"{place}, table"), at + length
    tensors: list[Tensor] = []
    stored: list[Stored] = []
    for _ in range(count):
        entry = _read_entry(table)
        promised -= _decoded_bytes(entry.shape, entry.dtype)
        if promised < 0:
            raise CorruptFile(f"{place}: tensor '{entry.name}' decodes to more than the section promises")
        if entry.unit_bytes + entry.length > len(data) - at:
            raise CorruptFile(
                f"{place}: the data of tensor '{entry.name}' end after the section; the file is truncated"
            )
        body = data[at : at + entry.unit_bytes + entry.length]
        at += len(body)
        tensor = _decode(entry, body, f"{place}: tensor '{entry.name}'")
        tensors.append(tensor)
        source = tensor.integers if tensor.integers is not None else tensor.values
        zeros = int(np.count_nonzero(source == 0)) if source is not None else 0
        stored.append(Stored(entry.name, entry.shape, entry.dtype, entry.coder, len(body), zeros))
    if table.at != len(table.data) or at != len(data) or promised:
        raise CorruptFile(f"{place} holds more than its {count:,} tensors; the file is damaged")
    if len({entry.name for entry in stored}) < count:
        raise CorruptFile(f"{place} has two tensors of one name; the file is damaged")
    return tuple(tensors), tuple(stored)


@dataclass(frozen=True)
class _Entry:
    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: int
    coder: str
    axis: int
    units: int
    length: int

    @property
    def unit_bytes(self) -> int:
        return self.units * {GRID: 4, GRID_HALF_UNITS: 2}.get(self.storage, 0)


def _read_entry(table: _Table) -> _Entry:
    where = table.where
    try:
        name = table.take(table.varint(MOST_NAME_BYTES)).decode()
    except UnicodeDecodeError as error:
        raise CorruptFile(f"{where} has a name that is not text; the file is damaged") from error
    dtype = DTYPE_NAMES.get(table.byte())
    shape = tuple(table.varint(MOST_ELEMENTS) for _ in range(table.varint(MOST_DIMS)))
    storage, coder, axis = table.byte(), CODER_NAMES.get(table.byte()), table.byte()
    units, length = table.varint(MOST_ELEMENTS), table.varint(MOST_DECODED_BYTES)
    if dtype is None or coder is None or storage > INTEGERS or math.prod(shape) > MOST_ELEMENTS:
        raise CorruptFile(f"{where}: tensor '{name}' has a dtype, coder, storage or size that version 1 does not know")
    on_grid = storage in (GRID, GRID_HALF_UNITS)
    fits = {
        EXACT: coder in (RAW, DEFLATED),
        HALF: coder in (RAW, DEFLATED) and dtype == "float32",
        INTEGERS: coder in CODERS and dtype in INTEGER_DTYPES,
    }.get(storage, coder in CODERS and dtype == "float32" and axis < len(shape) and units in (1, shape[axis]))
    if not fits or (not on_grid and (units or axis)):
        raise CorruptFile(f"{where}: tensor '{name}' has fields that contradict each other; the file is damaged")
    return _Entry(name, dtype, shape, storage, coder, axis, units, length)


def _decode(entry: _Entry, body: bytes, where: str) -> Tensor:
    coded = body[entry.unit_bytes :]
    if entry.coder in CODERS:
        try:
            integers = CODERS[entry.coder].decode(coded, entry.shape)
        except ValueError as error:
            raise CorruptFile(f"{where} {error}") from error
        if entry.storage == INTEGERS:
            return _integer_values(entry, integers, where)
        unit = np.frombuffer(body[: entry.unit_bytes], "<f2" if entry.storage == GRID_HALF_UNITS else "<f4")
        if not np.isfinite(unit).all():
            raise CorruptFile(f"{where} has a unit that is not a finite number; the file is damaged")
        return Tensor.grid(entry.name, integers, unit.astype(np.float32), entry.axis)
    dtype = np.dtype("<f2") if entry.storage == HALF else np.dtype(entry.dtype).newbyteorder("<")
    expected = math.prod(entry.shape) * dtype.itemsize
    raw = _inflated(coded, expected, where) if entry.coder == DEFLATED else coded
    if len(raw) != expected:
        raise CorruptFile(f"{where} has {len(raw):,} bytes where its shape needs {expected:,}; the file is damaged")
    if entry.dtype == "bool" and not set(raw) <= {0, 1}:
        raise CorruptFile(f"{where} has a truth value that is neither 0 nor 1; the file is damaged")
    values = np.frombuffer(raw, dtype).astype(entry.dtype).reshape(entry.shape)
    return Tensor.exact(entry.name, values)


def _integer_values(entry: _Entry, integers: NDArray[np.int32], where: str) -> Tensor:
    limits = np.iinfo(entry.dtype)
    if integers.size and (integers.min() < limits.min or integers.max() > limits.max):
        raise CorruptFile(f"{where} holds integers that {entry.dtype} does not; the file is damaged")
    return Tensor.exact(entry.name, integers.astype(entry.dtype))
