# SPDX-License-Identifier: Apache-2.0
"""The tensors section: a table of all tensors, then their streams one after the other.

    varint decoded bytes | varint table bytes | table | each stream

A stream is what one coder made of the integers of a tensor, or of several vectors together (see `streams` in
tensor_table.py), which learn from one another what a vector of sixteen numbers could not. First come the side
vectors, the codebook and the units of each tensor in order, as words (float_words.py).

Reading holds the side vectors, the vectors that share a stream, and one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gossamer.coding import Memory, decode, huffman, smallest
from gossamer.coding.bits import write_varint
from gossamer.container.blocks import squeeze, unsqueeze, varint
from gossamer.container.errors import CorruptFile
from gossamer.container.float_words import Form, from_words, to_words
from gossamer.container.limits import (
    DECODED_BYTES_PER_BYTE,
    FREE_DECODED_BYTES,
    MOST_DECODED_BYTES,
    MOST_TENSORS,
)
from gossamer.container.tensor import Tensor, decoded_bytes, problem_of_name, problem_of_shape
from gossamer.container.tensor_table import (
    CODEBOOK,
    DEFLATED,
    EXACT,
    GRID,
    INTEGER_DTYPES,
    INTEGERS,
    NO_UNITS,
    ONE_UNIT,
    RAW,
    UNITS_ALONG,
    WORDS,
    Entry,
    Stream,
    read_table,
    streams,
    write_table,
)

Choice = Callable[[NDArray[np.int32], Memory], tuple[str, bytes]]
"""How a writer codes integers of any shape, after the tensors that a memory has seen: a coder's name, and its bytes."""

_Coded = tuple[str, bytes]
_Content = NDArray[np.int32] | _Coded  # of a tensor: integers to be coded, or what has been


@dataclass(frozen=True)
class Stored:
    """What the file spends on one tensor: `bytes` of data, table entry aside, its share where a stream has several.

    `side` of them are its units and its codebook.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    coder: str
    bytes: int
    zeros: int
    side: int

    @property
    def count(self) -> int:
        """Numbers in the tensor."""
        return int(np.prod(self.shape, dtype=np.int64))


def write_tensors(tensors: Sequence[Tensor], choice: Choice = smallest) -> bytes:
    """The section of these tensors, integers coded by `choice`; ValueError for what a reader would refuse."""
    if len(tensors) > MOST_TENSORS:
        raise ValueError(f"expected at most {MOST_TENSORS:,} tensors, got {len(tensors):,}")
    for tensor in tensors:
        if problem := problem_of_name(tensor.name) or problem_of_shape(tensor.shape):
            raise ValueError(f"expected a tensor that a file can hold, but {tensor.name[:80]!r} {problem}")
    memory = sum(_memory(tensor) for tensor in tensors)
    if memory > MOST_DECODED_BYTES:
        raise ValueError(f"expected tensors of at most {MOST_DECODED_BYTES:,} bytes in all, got {memory:,}")
    entries, side, contents = [], [], []
    for tensor in tensors:
        entry, vectors, content = _prepare(tensor)
        entries.append(entry)
        side += vectors
        contents.append(content)
    learned = Memory()
    coded = [(group, *_code(group, side, contents, choice, learned)) for group in streams(entries)]
    table = write_table(entries, [Stream(group, coder, len(data)) for group, coder, data in coded])
    section = b"".join([write_varint(memory), write_varint(len(table)), table, *(data for *_, data in coded)])
    if memory > (most := _may_promise(len(section))):
        raise ValueError(
            f"expected tensors of at most {most:,} decoded bytes in a section of {len(section):,}, got {memory:,}; "
            "a reader would take it for a bomb"
        )
    return section


def _memory(tensor: Tensor) -> int:
    parts = (tensor.centroids, tensor.unit)
    return decoded_bytes(tensor.shape, tensor.dtype) + 4 * sum(part.size for part in parts if part is not None)


def _may_promise(section_bytes: int) -> int:
    """Decoded bytes that a section of this length may ask for."""
    return FREE_DECODED_BYTES + DECODED_BYTES_PER_BYTE * section_bytes


def _prepare(tensor: Tensor) -> tuple[Entry, list[NDArray[np.int32]], _Content]:
    """The tensor's entry, the integers of its side vectors, and its own."""
    head = tensor.name, tensor.dtype, tensor.shape
    if tensor.integers is not None:
        words = [to_words(part) for part in (tensor.centroids, tensor.unit) if part is not None]
        forms, side = tuple(form for form, _ in words), [integers for _, integers in words]
        units = NO_UNITS if tensor.unit is None else ONE_UNIT if tensor.unit.size == 1 else UNITS_ALONG + tensor.axis
        if tensor.centroids is None:
            return Entry(*head, GRID, units, forms=forms), side, tensor.integers
        return Entry(*head, CODEBOOK, units, tensor.centroids.size, tensor.zero, forms), side, tensor.integers
    assert tensor.values is not None
    values = tensor.values
    if tensor.dtype in INTEGER_DTYPES and values.size and values.min() > -(2**31):
        return Entry(*head, INTEGERS), [], values.astype(np.int32)
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    packed = squeeze(raw)
    coded = (DEFLATED, packed) if len(packed) < len(raw) else (RAW, raw)
    if tensor.dtype != "float32" or np.isnan(values).any():
        return Entry(*head, EXACT), [], coded
    form, integers = to_words(values)
    if values.ndim < 2:
        return Entry(*head, WORDS, forms=(form,)), [], integers
    # As huge integers, whole tensors of floats would take the adaptive coders minutes and gain a hundredth.
    data = huffman.encode(integers.reshape(tensor.shape))
    if len(data) < len(coded[1]):
        return Entry(*head, WORDS, forms=(form,)), [], ("huffman", data)
    return Entry(*head, EXACT), [], coded


def _code(
    group: tuple[int, ...],
    side: Sequence[NDArray[np.int32]],
    contents: Sequence[_Content],
    choice: Choice,
    learned: Memory,
) -> _Coded:
    """What becomes of the integers of one stream; of side vectors where it has no members."""
    members = [contents[place] for place in group]
    if len(members) == 1 and isinstance(members[0], tuple):
        return members[0]
    parts = [member for member in members if not isinstance(member, tuple)] if group else side
    alone = group and parts[0].ndim > 1
    return choice(parts[0] if alone else np.concatenate([part.reshape(-1) for part in parts]), learned)


class Tensors:
    """The tensors of a section, decoded one by one as they are asked for, in the order of the file.

    `entries` is what the table says of them; all of it was checked, and `memory`, the bytes that they will take
    together, before this object was made. Iterating gives each tensor and what it takes in the file; CorruptFile
    names the place of what is wrong.
    """

    def __init__(self, source: BinaryIO, names: Sequence[str], most: int, where: str, at: int, length: int) -> None:
        """Read the table of the section that begins at byte `at` of `source` and has `length` bytes.

        `names` are those that the graph asks for; `most` bounds the decoded bytes of all tensors together.
        """
        if len(names) > MOST_TENSORS:
            raise CorruptFile(
                f"{where} would be of {len(names):,} tensors, at most {MOST_TENSORS:,}; the file is damaged"
            )
        source.seek(at)
        head = source.read(min(length, 20))
        self.memory, used = varint(head, 0, MOST_DECODED_BYTES, where)
        if self.memory > most:
            raise CorruptFile(
                f"{where} decodes to {self.memory:,} bytes, at most {most:,} are allowed here; raise the limit"
            )
        if self.memory > (may := _may_promise(length)):
            raise CorruptFile(
                f"{where} promises {self.memory:,} decoded bytes, its {length:,} bytes may promise {may:,}; "
                "the file is damaged"
            )
        table, used = varint(head, used, length, where)
        if table > length - used:
            raise CorruptFile(f"{where} ends inside its table; the file is truncated")
        source.seek(at + used)
        self.entries, self._streams = read_table(source.read(table), names, f"{where}, table")
        self._source, self._where, self._start = source, where, at + used + table
        memory = sum(entry.memory for entry in self.entries)
        if memory != self.memory:
            raise CorruptFile(
                f"{where} promises {self.memory:,} decoded bytes, its shapes need {memory:,}; the file is damaged"
            )
        needed, there = sum(stream.bytes for stream in self._streams), length - used - table
        if needed != there:
            how = "truncated" if needed > there else "damaged"
            raise CorruptFile(f"{where} has {there:,} bytes of data, its table says {needed:,}; the file is {how}")

    def __iter__(self) -> Iterator[tuple[Tensor, Stored]]:
        """Streams lie in the order in which tensors first need them; what several share is kept until the last."""
        coded, learned = self._read(), Memory()
        side = _Shared(np.zeros(0, np.int32), "", 0)
        if self._streams and not self._streams[0].members:
            total = sum(sum(entry.side) for entry in self.entries)
            side = _shared(*next(coded), total, learned, f"{self._where}: the stream of units and codebooks")
        shared: dict[int, _Shared] = {}
        for place, entry in enumerate(self.entries):
            what = f"{self._where}: tensor '{entry.name}'"
            vectors, side_bytes = _side(entry, side, what)
            if place in shared or not entry.alone:
                if place not in shared:
                    stream, data = next(coded)
                    total = sum(self.entries[member].count for member in stream.members)
                    shared |= dict.fromkeys(stream.members, _shared(stream, data, total, learned, what))
                part = shared.pop(place)
                integers, own = part.take(entry.count)
                coder, tensor = part.coder, _tensor(entry, integers.reshape(entry.shape), vectors, what)
            else:
                stream, data = next(coded)
                coder, own = stream.coder, stream.bytes
                if entry.storage == EXACT:
                    tensor = _exact(entry, coder, data, what)
                else:
                    tensor = _tensor(entry, _integers(coder, data, entry.shape, learned, what), vectors, what)
            head = (entry.name, entry.shape, entry.dtype)
            yield tensor, Stored(*head, coder, own + side_bytes, _zeros(tensor), side_bytes)

    def _read(self) -> Iterator[tuple[Stream, bytes]]:
        """The bytes of each stream."""
        at = self._start
        for stream in self._streams:
            self._source.seek(at)
            data = self._source.read(stream.bytes)
            if len(data) != stream.bytes:
                raise CorruptFile(f"{self._where} became shorter while it was read; read the file again")
            at += stream.bytes
            yield stream, data


class _Shared:
    """The integers of a stream of several vectors, handed out one after the other, each with its share of the bytes."""

    def __init__(self, integers: NDArray[np.int32], coder: str, coded_bytes: int) -> None:
        self.integers, self.coder, self.bytes, self.at = integers, coder, coded_bytes, 0

    def take(self, count: int) -> tuple[NDArray[np.int32], int]:
        start, self.at = self.at, self.at + count
        total = max(1, len(self.integers))
        return self.integers[start : self.at], self.bytes * self.at // total - self.bytes * start // total


def _shared(stream: Stream, data: bytes, count: int, learned: Memory, where: str) -> _Shared:
    return _Shared(_integers(stream.coder, data, (count,), learned, where), stream.coder, stream.bytes)


def _integers(coder: str, data: bytes, shape: tuple[int, ...], learned: Memory, where: str) -> NDArray[np.int32]:
    try:
        return decode(coder, data, shape, learned)
    except ValueError as error:
        raise CorruptFile(f"{where} {error}") from error


def _side(entry: Entry, side: _Shared, where: str) -> tuple[list[NDArray[np.float32]], int]:
    """The entry's codebook and units, and the bytes that they take."""
    vectors, taken = [], 0
    kinds = ("centroid", "unit") if entry.storage == CODEBOOK else ("unit",)
    for what, count, form in zip(kinds, entry.side, entry.forms if entry.side else (), strict=False):
        integers, share = side.take(count)
        vectors.append(_floats(form, integers, f"{where}: {what}s"))
        taken += share
        if not np.isfinite(vectors[-1]).all():
            raise CorruptFile(f"{where} has a {what} that is not a finite number; the file is damaged")
    return vectors, taken


def _floats(form: Form, integers: NDArray[np.int32], where: str) -> NDArray[np.float32]:
    try:
        return from_words(form, integers)
    except ValueError as error:
        raise CorruptFile(f"{where} {error}") from error


def _tensor(entry: Entry, integers: NDArray[np.int32], side: Sequence[NDArray[np.float32]], where: str) -> Tensor:
    """The tensor of these integers."""
    if entry.storage == WORDS:
        return Tensor.exact(entry.name, _floats(entry.forms[0], integers, where))
    if entry.storage == INTEGERS:
        limits = np.iinfo(entry.dtype)
        if integers.size and (integers.min() < limits.min or integers.max() > limits.max):
            raise CorruptFile(f"{where} holds integers that {entry.dtype} does not; the file is damaged")
        return Tensor.exact(entry.name, integers.astype(entry.dtype))
    if entry.storage == GRID:
        return Tensor.grid(entry.name, integers, side[0], entry.axis)
    low, high = -entry.zero, entry.codebook - entry.zero - 1
    if integers.size and (integers.min() < low or integers.max() > high):
        raise CorruptFile(f"{where} holds integers outside {low}..{high}, its codebook's; the file is damaged")
    unit = side[1] if entry.units else None
    return Tensor.codebook(entry.name, integers, side[0], entry.zero, unit, entry.axis)


def _exact(entry: Entry, coder: str, data: bytes, where: str) -> Tensor:
    """A tensor whose bytes are in the file."""
    dtype = np.dtype(entry.dtype).newbyteorder("<")
    expected = entry.count * dtype.itemsize
    raw = unsqueeze(data, expected, where) if coder == DEFLATED else data
    if len(raw) != expected:
        raise CorruptFile(f"{where} has {len(raw):,} bytes where its shape needs {expected:,}; the file is damaged")
    if entry.dtype == "bool" and raw.strip(b"\0\1"):
        raise CorruptFile(f"{where} has a truth value that is neither 0 nor 1; the file is damaged")
    return Tensor.exact(entry.name, np.frombuffer(raw, dtype).astype(entry.dtype).reshape(entry.shape))


def _zeros(tensor: Tensor) -> int:
    """How many of its numbers are zero; units are not looked at."""
    source = tensor.values if tensor.integers is None else tensor.integers
    assert source is not None
    if tensor.centroids is not None:
        return int((tensor.centroids == 0)[source + tensor.zero].sum())
    return source.size - int(np.count_nonzero(source))
