# SPDX-License-Identifier: Apache-2.0
"""The tensors section: a table of all tensors, then their data one after the other.

    varint tensors | varint decoded bytes | varint table bytes | table | data of each tensor

The table is a block (see blocks.py) of one entry a tensor:

    varint n, name (n bytes) | dtype u8 | varint dims | varint each dim | storage u8 | coder u8 | axis u8
    | varint units | varint coded bytes | with a codebook: varint size of the codebook, varint place of integer 0

and the data of a tensor are its codebook, its units, then its coded values. Every entry is checked before any data
are decoded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.coding import CODERS, smallest
from gossamer.coding.bits import write_varint
from gossamer.container.blocks import deflate, inflate, squeeze, unsqueeze, varint
from gossamer.container.errors import CorruptFile
from gossamer.container.limits import (
    MOST_DECODED_BYTES,
    MOST_DIMS,
    MOST_ELEMENTS,
    MOST_FILE_BYTES,
    MOST_NAME_BYTES,
    MOST_TABLE_BYTES,
    MOST_TENSORS,
)
from gossamer.container.tensor import DTYPES, Tensor, decoded_bytes, problem_of_name, problem_of_shape

# Storage: values as they are; float32 values as float16, which all survive; grids with units in float32 and in
# float16; integer values through an integer coder; codebooks, with their units, in float32 and in float16.
EXACT, HALF, GRID, GRID_HALF_UNITS, INTEGERS, CODEBOOK, CODEBOOK_HALF = range(7)
SIDE_BYTES = {GRID: 4, GRID_HALF_UNITS: 2, CODEBOOK: 4, CODEBOOK_HALF: 2}  # of a unit, or of a value of a codebook
ON_GRID, SHARED = (GRID, GRID_HALF_UNITS), (CODEBOOK, CODEBOOK_HALF)
RAW, DEFLATED = "raw", "deflated"
CODER_NAMES = (RAW, DEFLATED, "packed", "huffman", "adaptive", "relative")  # by number
DTYPE_NAMES = {number: name for name, number in DTYPES.items()}
INTEGER_DTYPES = ("int8", "uint8", "int32")
Choice = Callable[[NDArray[np.int32]], tuple[str, bytes]]
"""How a writer codes integers of any shape: the name of a coder, and what it made of them."""


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


@dataclass(frozen=True)
class Entry:
    """A tensor's row in the table: `storage` as above, `units` a number of them, `coded_bytes` of its values.

    `codebook`: how many values it has; `zero`: which of them is that of integer 0.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: int
    coder: str
    axis: int
    units: int
    coded_bytes: int
    codebook: int = 0
    zero: int = 0

    @property
    def side_bytes(self) -> int:
        """Bytes of data that its codebook and its units take."""
        return (self.codebook + self.units) * SIDE_BYTES.get(self.storage, 0)

    def to_bytes(self) -> bytes:
        """The entry as the table holds it."""
        name = self.name.encode()
        sizes = b"".join(write_varint(number) for number in (len(self.shape), *self.shape))
        kinds = bytes([self.storage, CODER_NAMES.index(self.coder), self.axis])
        head = write_varint(len(name)) + name + bytes([DTYPES[self.dtype]]) + sizes + kinds
        head += write_varint(self.units) + write_varint(self.coded_bytes)
        return head + (write_varint(self.codebook) + write_varint(self.zero) if self.storage in SHARED else b"")


def write_tensors(tensors: Sequence[Tensor], choice: Choice = smallest) -> bytes:
    """The section of these tensors, integers coded by `choice`; ValueError for what a reader would refuse."""
    ((name, times),) = Counter(tensor.name for tensor in tensors).most_common(1) or [("", 1)]
    if times > 1:
        raise ValueError(f"expected a name for each tensor, got '{name}' {times} times")
    if len(tensors) > MOST_TENSORS:
        raise ValueError(f"expected at most {MOST_TENSORS:,} tensors, got {len(tensors):,}")
    memory = sum(decoded_bytes(tensor.shape, tensor.dtype) for tensor in tensors)
    if memory > MOST_DECODED_BYTES:
        raise ValueError(f"expected tensors of at most {MOST_DECODED_BYTES:,} bytes in all, got {memory:,}")
    entries, data = [], []
    for tensor in tensors:
        if problem := problem_of_name(tensor.name) or problem_of_shape(tensor.shape):
            raise ValueError(f"expected a tensor that a file can hold, but {tensor.name[:80]!r} {problem}")
        storage, coder, side, coded = _store(tensor, choice)
        units, codebook = (0 if part is None else part.size for part in (tensor.unit, tensor.centroids))
        entry = Entry(
            *(tensor.name, tensor.dtype, tensor.shape, storage, coder, tensor.axis, units, len(coded)),
            *(codebook, tensor.zero),
        )
        entries.append(entry.to_bytes())
        data += [side, coded]
    table = deflate(b"".join(entries), MOST_TABLE_BYTES, "tensor table")
    return b"".join([write_varint(len(tensors)), write_varint(memory), write_varint(len(table)), table, *data])


def _store(tensor: Tensor, choice: Choice) -> tuple[int, str, bytes, bytes]:
    """(storage, coder, bytes of codebook and units, bytes of the values)."""
    if tensor.integers is not None:
        parts = [part for part in (tensor.centroids, tensor.unit) if part is not None]
        half = all(_survives_half(part) for part in parts)
        side = b"".join(_little(part, "<f2" if half else "<f4") for part in parts)
        coder, coded = choice(tensor.integers)
        return (ON_GRID if tensor.centroids is None else SHARED)[half], coder, side, coded
    assert tensor.values is not None
    if tensor.dtype in INTEGER_DTYPES and tensor.values.size and tensor.values.min() > -(2**31):
        coder, coded = choice(tensor.values.astype(np.int32))
        return INTEGERS, coder, b"", coded
    half = tensor.dtype == "float32" and _survives_half(tensor.values)
    raw = _little(tensor.values, "<f2" if half else tensor.values.dtype.newbyteorder("<"))
    packed = squeeze(raw)
    coder, coded = (DEFLATED, packed) if len(packed) < len(raw) else (RAW, raw)
    return (HALF if half else EXACT), coder, b"", coded


def _survives_half(values: NDArray[Any]) -> bool:
    """Whether float16 keeps these float32 values, the sign of zero included; NaN differ between machines, so never."""
    if np.isnan(values).any():
        return False
    with np.errstate(all="ignore"):
        back = values.astype(np.float16).astype(np.float32)
    return back.tobytes() == np.asarray(values, np.float32).tobytes()


def _little(values: NDArray[Any], dtype: Any) -> bytes:
    with np.errstate(all="ignore"):
        return values.astype(dtype).tobytes()


def read_tensors(data: bytes, most: int, where: str) -> tuple[tuple[Tensor, ...], tuple[Stored, ...]]:
    """The tensors of a section and what each takes in it; CorruptFile names the place of what is wrong.

    `most` bounds the decoded bytes of all tensors together.
    """
    count, at = varint(data, 0, MOST_TENSORS, where)
    promised, at = varint(data, at, MOST_DECODED_BYTES, where)
    if promised > most:
        raise CorruptFile(f"{where} decodes to {promised:,} bytes, at most {most:,} are allowed here; raise the limit")
    length, at = varint(data, at, len(data), where)
    if length > len(data) - at:
        raise CorruptFile(f"{where} ends inside its table; the file is truncated")
    entries = _read_table(data[at : at + length], count, f"{where}, table")
    at += length
    memory = sum(decoded_bytes(entry.shape, entry.dtype) for entry in entries)
    if memory != promised:
        raise CorruptFile(
            f"{where} promises {promised:,} decoded bytes, its shapes need {memory:,}; the file is damaged"
        )
    needed = sum(entry.side_bytes + entry.coded_bytes for entry in entries)
    if needed != len(data) - at:
        how = "truncated" if needed > len(data) - at else "damaged"
        raise CorruptFile(f"{where} has {len(data) - at:,} bytes of data, its table says {needed:,}; the file is {how}")
    tensors: list[Tensor] = []
    stored: list[Stored] = []
    for entry in entries:
        end = at + entry.side_bytes + entry.coded_bytes
        tensor = _decode(entry, data[at:end], f"{where}: tensor '{entry.name}'")
        tensors.append(tensor)
        stored.append(Stored(entry.name, entry.shape, entry.dtype, entry.coder, end - at, _zeros(tensor)))
        at = end
    return tuple(tensors), tuple(stored)


def _zeros(tensor: Tensor) -> int:
    """How many of its numbers are zero; units are not looked at."""
    source = tensor.values if tensor.integers is None else tensor.integers
    assert source is not None
    if tensor.centroids is not None:
        return int((tensor.centroids == 0)[source + tensor.zero].sum())
    return source.size - int(np.count_nonzero(source))


class _Fields:
    """The fields of the table, one after the other, every read bounded."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.at = data, where, 0

    def varint(self, most: int) -> int:
        value, self.at = varint(self.data, self.at, most, self.where)
        return value

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise CorruptFile(f"{self.where} ends after {len(self.data):,} bytes; the file is truncated")
        self.at += count
        return self.data[self.at - count : self.at]


def _read_table(data: bytes, count: int, where: str) -> list[Entry]:
    fields = _Fields(inflate(data, MOST_TABLE_BYTES, where), where)
    entries = [_read_entry(fields) for _ in range(count)]
    if fields.at != len(fields.data):
        raise CorruptFile(f"{where} holds more than {count:,} tensors; the file is damaged")
    names: set[str] = set()
    for entry in entries:
        if entry.name in names:
            raise CorruptFile(f"{where} names '{entry.name}' twice; the file is damaged")
        names.add(entry.name)
    return entries


def _read_entry(fields: _Fields) -> Entry:
    where = fields.where
    try:
        name = fields.take(fields.varint(MOST_NAME_BYTES)).decode()
    except UnicodeDecodeError as error:
        raise CorruptFile(f"{where} has a name that is not UTF-8; the file is damaged") from error
    if problem := problem_of_name(name):
        raise CorruptFile(f"{where} has a name, {name!r}, that {problem}; the file is damaged")
    where = f"{where}, '{name}'"
    dtype = _known(DTYPE_NAMES, fields.take(1)[0], f"{where} has dtype")
    shape = tuple(fields.varint(MOST_ELEMENTS) for _ in range(fields.varint(MOST_DIMS)))
    storage, number, axis = fields.take(3)
    coder = _known(dict(enumerate(CODER_NAMES)), number, f"{where} has coder")
    units, coded_bytes = fields.varint(MOST_ELEMENTS), fields.varint(MOST_FILE_BYTES)
    codebook = [fields.varint(MOST_ELEMENTS) for _ in range(2)] if storage in SHARED else ()
    entry = Entry(name, dtype, shape, storage, coder, axis, units, coded_bytes, *codebook)
    if math.prod(shape) > MOST_ELEMENTS:
        raise CorruptFile(f"{where} has {math.prod(shape):,} elements, at most {MOST_ELEMENTS:,}; the file is damaged")
    if storage > CODEBOOK_HALF:
        raise CorruptFile(f"{where} has storage {storage}, which version 1 does not know; update Gossamer")
    dtypes = {EXACT: tuple(DTYPES), INTEGERS: INTEGER_DTYPES}.get(storage, ("float32",))
    if dtype not in dtypes or (coder in CODERS) != (storage not in (EXACT, HALF)):
        raise CorruptFile(f"{where} has storage {storage} for {dtype} by coder '{coder}'; the file is damaged")
    has_units = storage in ON_GRID or (storage in SHARED and units > 0)
    if (axis >= len(shape) or units not in (1, shape[axis])) if has_units else (units or axis):
        raise CorruptFile(f"{where} has {units:,} units on axis {axis}, which do not fit; the file is damaged")
    if storage in SHARED and entry.zero >= entry.codebook:
        raise CorruptFile(
            f"{where} has integer 0 at place {entry.zero:,} of a codebook of {entry.codebook:,}; the file is damaged"
        )
    return entry


def _known(names: dict[int, str], number: int, what: str) -> str:
    if number not in names:
        raise CorruptFile(f"{what} {number}, which version 1 does not know; update Gossamer")
    return names[number]


def _decode(entry: Entry, data: bytes, where: str) -> Tensor:
    coded = data[entry.side_bytes :]
    if entry.coder in CODERS:
        try:
            integers = CODERS[entry.coder].decode(coded, entry.shape)
        except ValueError as error:
            raise CorruptFile(f"{where} {error}") from error
        if entry.storage == INTEGERS:
            return _integer_values(entry, integers, where)
        return _with_side(entry, integers, data[: entry.side_bytes], where)
    dtype = np.dtype("<f2") if entry.storage == HALF else np.dtype(entry.dtype).newbyteorder("<")
    expected = math.prod(entry.shape) * dtype.itemsize
    raw = unsqueeze(coded, expected, where) if entry.coder == DEFLATED else coded
    if len(raw) != expected:
        raise CorruptFile(f"{where} has {len(raw):,} bytes where its shape needs {expected:,}; the file is damaged")
    if entry.dtype == "bool" and raw.strip(b"\0\1"):
        raise CorruptFile(f"{where} has a truth value that is neither 0 nor 1; the file is damaged")
    with np.errstate(all="ignore"):
        values = np.frombuffer(raw, dtype).astype(entry.dtype).reshape(entry.shape)
    if entry.storage == HALF and np.isnan(values).any():
        raise CorruptFile(f"{where} has a NaN in float16, which no writer puts there; the file is damaged")
    return Tensor.exact(entry.name, values)


def _with_side(entry: Entry, integers: NDArray[np.int32], data: bytes, where: str) -> Tensor:
    """Integers with their codebook and units."""
    side = np.frombuffer(data, f"<f{SIDE_BYTES[entry.storage]}").astype(np.float32)
    centroids, unit = side[: entry.codebook], side[entry.codebook :]
    for what, part in (("centroid", centroids), ("unit", unit)):
        if not np.isfinite(part).all():
            raise CorruptFile(f"{where} has a {what} that is not a finite number; the file is damaged")
    if entry.storage in ON_GRID:
        return Tensor.grid(entry.name, integers, unit, entry.axis)
    low, high = -entry.zero, entry.codebook - entry.zero - 1
    if integers.size and (integers.min() < low or integers.max() > high):
        raise CorruptFile(f"{where} holds integers outside {low}..{high}, its codebook's; the file is damaged")
    return Tensor.codebook(entry.name, integers, centroids, entry.zero, unit if entry.units else None, entry.axis)


def _integer_values(entry: Entry, integers: NDArray[np.int32], where: str) -> Tensor:
    limits = np.iinfo(entry.dtype)
    if integers.size and (integers.min() < limits.min or integers.max() > limits.max):
        raise CorruptFile(f"{where} holds integers that {entry.dtype} does not; the file is damaged")
    return Tensor.exact(entry.name, integers.astype(entry.dtype))
