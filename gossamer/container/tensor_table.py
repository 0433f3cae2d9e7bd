# SPDX-License-Identifier: Apache-2.0
"""The table of the tensors section: what each tensor is and how each stream is coded, one column after the other.

The tensors have no names here: they are those that the graph reads and does not give, in its order (graph_bytes.py).
A block (see blocks.py) of columns, each over all tensors, or over those that have the thing:

    kinds       u8: storage x 16 + dtype
    ranks       u8
    shapes      varint each dimension
    units       u8, of grids and codebooks: 0 none, 1 one, 2 + axis: one for each index along that axis
    codebooks   varint centroids, varint place of integer 0
    forms       u8, of each vector of floats stored as words: shift, + 32 with signs
    bases       zigzag varint, of the same
    coders      u8, of each stream
    lengths     varint, of each stream

Columns deflate better than rows, as neighbours in a column are alike. Every field is checked before any data are
decoded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from gossamer.coding import CODERS
from gossamer.coding.bits import unzigzag, write_varint, zigzag
from gossamer.container.blocks import deflate, inflate, varint
from gossamer.container.errors import CorruptFile
from gossamer.container.float_words import MOST_SHIFT, MOST_WORD, SIGNED, Form
from gossamer.container.limits import MOST_DIMS, MOST_ELEMENTS, MOST_FILE_BYTES, MOST_TABLE_BYTES
from gossamer.container.tensor import DTYPES, decoded_bytes

# Storage: values as they are; float32 values as words; grids; integer values; codebooks. All but the first are
# integers that a coder codes.
EXACT, WORDS, GRID, INTEGERS, CODEBOOK = range(5)
STORAGES = 5
RAW, DEFLATED = "raw", "deflated"
CODER_NAMES = (RAW, DEFLATED, "packed", "huffman", "adaptive", "relative", "mixing")  # by number
DTYPE_NAMES = {number: name for name, number in DTYPES.items()}
INTEGER_DTYPES = ("int8", "uint8", "int32")
NO_UNITS, ONE_UNIT, UNITS_ALONG = 0, 1, 2


@dataclass(frozen=True)
class Entry:
    """What a tensor is: `units` as the table has it, `codebook` the number of its centroids, `zero` integer 0's place.

    `forms`: of its vectors of words: its values', or its codebook's and its units'.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: int
    units: int = NO_UNITS
    codebook: int = 0
    zero: int = 0
    forms: tuple[Form, ...] = ()

    @property
    def count(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def axis(self) -> int:
        """Along which the units lie; 0 where there is one or none."""
        return max(0, self.units - UNITS_ALONG)

    @property
    def unit_count(self) -> int:
        """How many units there are."""
        return self.shape[self.axis] if self.units >= UNITS_ALONG else self.units

    @property
    def side(self) -> tuple[int, ...]:
        """How many values each of its side vectors has: codebook, then units."""
        return ((self.codebook,) if self.storage == CODEBOOK else ()) + ((self.unit_count,) if self.units else ())

    @property
    def alone(self) -> bool:
        """Whether it has a stream of its own."""
        return self.storage == EXACT or len(self.shape) > 1

    @property
    def memory(self) -> int:
        """Bytes that it is counted with when it is decoded."""
        return decoded_bytes(self.shape, self.dtype) + 4 * sum(self.side)


@dataclass(frozen=True)
class Stream:
    """Coded integers (or bytes) of one or more tensors, by their places; the one of side vectors has no members."""

    members: tuple[int, ...]
    coder: str
    bytes: int


def streams(entries: Sequence[Entry]) -> list[tuple[int, ...]]:
    """Which tensors have a stream together, by their places: vectors of one storage and dtype, others alone.

    The stream of side vectors is the first, (), if there are any.
    """
    groups: list[list[int]] = [[]] if any(sum(entry.side) for entry in entries) else []
    shared: dict[tuple[int, str], list[int]] = {}
    for place, entry in enumerate(entries):
        key = entry.storage, entry.dtype
        if not entry.alone and key in shared:
            shared[key].append(place)
            continue
        groups.append([place])
        if not entry.alone:
            shared[key] = groups[-1]
    return [tuple(group) for group in groups]


def write_table(entries: Sequence[Entry], coded: Sequence[Stream]) -> bytes:
    """The table as a block."""
    forms = [form for entry in entries for form in entry.forms]
    columns = [
        bytes(entry.storage << 4 | DTYPES[entry.dtype] for entry in entries),
        bytes(len(entry.shape) for entry in entries),
        _varints(size for entry in entries for size in entry.shape),
        bytes(entry.units for entry in entries if entry.storage in (GRID, CODEBOOK)),
        _varints(n for entry in entries if entry.storage == CODEBOOK for n in (entry.codebook, entry.zero)),
        bytes(form.shift + SIGNED * form.signed for form in forms),
        _varints(zigzag(form.base) for form in forms),
        bytes(CODER_NAMES.index(stream.coder) for stream in coded),
        _varints(stream.bytes for stream in coded),
    ]
    return deflate(b"".join(columns), MOST_TABLE_BYTES, "tensor table")


def _varints(numbers: Iterable[int]) -> bytes:
    return b"".join(map(write_varint, numbers))


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


def read_table(data: bytes, names: Sequence[str], where: str) -> tuple[list[Entry], list[Stream]]:
    """The entries of the tensors with these names, and their streams in the order of the data."""
    fields = _Fields(inflate(data, MOST_TABLE_BYTES, where), where)
    kinds, ranks = fields.take(len(names)), fields.take(len(names))
    entries = [_entry(fields, *row) for row in zip(names, kinds, ranks, strict=True)]
    with_units = iter(fields.take(sum(entry.storage in (GRID, CODEBOOK) for entry in entries)))
    entries = [_with_units(entry, with_units, where) for entry in entries]
    entries = [_with_codebook(fields, entry) for entry in entries]
    entries = _with_forms(fields, entries)
    groups = streams(entries)
    coders = fields.take(len(groups))
    coded = [
        Stream(group, _coder(entries, group, number, where), fields.varint(MOST_FILE_BYTES))
        for group, number in zip(groups, coders, strict=True)
    ]
    if fields.at != len(fields.data):
        raise CorruptFile(f"{where} goes on after its {len(names):,} tensors; the file is damaged")
    return entries, coded


def _entry(fields: _Fields, name: str, kind: int, rank: int) -> Entry:
    where = f"{fields.where}, '{name}'"
    if rank > MOST_DIMS:
        raise CorruptFile(f"{where} has {rank} dimensions, at most {MOST_DIMS} are allowed; the file is damaged")
    shape = tuple(fields.varint(MOST_ELEMENTS) for _ in range(rank))
    if math.prod(shape) > MOST_ELEMENTS:
        raise CorruptFile(f"{where} has {math.prod(shape):,} elements, at most {MOST_ELEMENTS:,}; the file is damaged")
    storage, dtype = kind >> 4, _known(DTYPE_NAMES, kind & 15, f"{where} has dtype")
    if storage >= STORAGES:
        raise CorruptFile(f"{where} has storage {storage}, which version 1 does not know; update Gossamer")
    if dtype not in {EXACT: tuple(DTYPES), INTEGERS: INTEGER_DTYPES}.get(storage, ("float32",)):
        raise CorruptFile(f"{where} has storage {storage} for {dtype}; the file is damaged")
    return Entry(name, dtype, shape, storage)


def _with_units(entry: Entry, column: Iterator[int], where: str) -> Entry:
    if entry.storage not in (GRID, CODEBOOK):
        return entry
    units = next(column)
    along = units - UNITS_ALONG
    fits = (along < len(entry.shape) and entry.shape[along] != 1) if along >= 0 else entry.storage == CODEBOOK or units
    if not fits:
        raise CorruptFile(
            f"{where}, '{entry.name}' has units of kind {units}, which do not fit its shape; the file is damaged"
        )
    return replace(entry, units=units)


def _with_codebook(fields: _Fields, entry: Entry) -> Entry:
    if entry.storage != CODEBOOK:
        return entry
    size, zero = fields.varint(MOST_ELEMENTS), fields.varint(MOST_ELEMENTS)
    if zero >= size:
        raise CorruptFile(
            f"{fields.where}, '{entry.name}' has integer 0 at place {zero:,} of a codebook of {size:,}; "
            "the file is damaged"
        )
    return replace(entry, codebook=size, zero=zero)


def _with_forms(fields: _Fields, entries: Sequence[Entry]) -> list[Entry]:
    vectors = [1 if entry.storage == WORDS else len(entry.side) for entry in entries]
    column = fields.take(sum(vectors))
    if column and max(column) > MOST_SHIFT + SIGNED:
        raise CorruptFile(f"{fields.where} has words of form {max(column)}, which do not exist; the file is damaged")
    forms = iter([Form(byte % SIGNED, byte >= SIGNED, unzigzag(fields.varint(zigzag(MOST_WORD)))) for byte in column])
    return [replace(entry, forms=tuple(islice(forms, n))) for entry, n in zip(entries, vectors, strict=True)]


def _coder(entries: Sequence[Entry], group: tuple[int, ...], number: int, where: str) -> str:
    place = f"{where}, '{entries[group[0]].name}'" if group else f"{where}, the stream of units and codebooks"
    coder = _known(dict(enumerate(CODER_NAMES)), number, f"{place} has coder")
    exact = bool(group) and entries[group[0]].storage == EXACT
    if (coder in CODERS) == exact:
        raise CorruptFile(f"{place} is coded by '{coder}', which does not fit its storage; the file is damaged")
    return coder


def _known(names: dict[int, str], number: int, what: str) -> str:
    if number not in names:
        raise CorruptFile(f"{what} {number}, which version 1 does not know; update Gossamer")
    return names[number]
