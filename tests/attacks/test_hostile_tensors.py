# SPDX-License-Identifier: Apache-2.0
"""Attacks on the tensor table and the data behind it: counts, shapes, coders and units that lie."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gossamer.coding import CODERS
from gossamer.coding.bits import write_varint
from gossamer.container import CorruptFile
from gossamer.container.blocks import deflate, squeeze
from gossamer.container.tensor_table import (
    CODEBOOK,
    CODEBOOK_HALF,
    CODER_NAMES,
    EXACT,
    GRID,
    GRID_HALF_UNITS,
    HALF,
    INTEGERS,
    SHARED,
)

F32, F16, I8, I32, BOOL = 0, 1, 2, 4, 6
RAW, DEFLATED, PACKED, HUFFMAN, ADAPTIVE, RELATIVE = range(6)


def entry(
    *,
    name: bytes = b"t",
    dtype=F32,
    shape=(2,),
    storage=EXACT,
    coder=RAW,
    axis=0,
    units=0,
    length=8,
    dims=None,
    book=(3, 1),
) -> bytes:
    """A row of the table, honest or not; `book` is the size of a codebook and the place of integer 0."""
    sizes = b"".join(write_varint(n) for n in (len(shape) if dims is None else dims, *shape))
    head = write_varint(len(name)) + name + bytes([dtype]) + sizes + bytes([storage, coder, axis])
    head += write_varint(units) + write_varint(length)
    return head + (b"".join(write_varint(n) for n in book) if storage in SHARED else b"")


def section(*entries: bytes, data: bytes = bytes(8), promised=8, count=None, table=None) -> bytes:
    rows = deflate(b"".join(entries), 2**30, "table") if table is None else table
    head = write_varint(len(entries) if count is None else count) + write_varint(promised)
    return head + write_varint(len(rows)) + rows + data


def test_an_honest_table_is_read(read_sections):
    file = read_sections(s2=section(entry()))
    assert file.payload.tensors[0].decoded().tolist() == [0, 0]


LIES = [
    (section(entry(), count=100_001), "holds the number 100,001 where at most 100,000"),
    (section(entry(), count=2), "table ends|table ends inside a number"),
    (section(entry(), count=0), "table holds more than 0 tensors"),
    (section(entry(), entry(), promised=16, data=bytes(16)), "table names 't' twice"),
    (section(entry(), promised=2**32 + 1), "holds the number 4,294,967,297"),
    (section(entry(), promised=9), "promises 9 decoded bytes, its shapes need 8"),
    (section(entry(), data=bytes(7)), "has 7 bytes of data, its table says 8; the file is truncated"),
    (section(entry(), data=bytes(9)), "has 9 bytes of data, its table says 8; the file is damaged"),
    (section(entry())[:9], "holds the number|ends inside its table"),
    (b"\x01\x08\x7f", "holds the number 127 where at most 3"),
    (b"", "ends inside a number"),
    (section(entry(name=b"")), "has a name, '', that is empty"),
    (section(entry(name=b"\xff")), "has a name that is not UTF-8"),
    (section(entry(name=b"\x1b[2J")), r"has a name, '\\x1b\[2J', that holds control characters"),
    (section(entry(name=b"n" * 1025)), "holds the number 1,025 where at most 1,024"),
    (section(write_varint(1000) + b"short"), "table ends after 7 bytes; the file is truncated"),
    (section(entry(dtype=7)), "'t' has dtype 7, which version 1 does not know; update Gossamer"),
    (section(entry(coder=6)), "'t' has coder 6, which version 1 does not know; update Gossamer"),
    (section(entry(storage=7)), "'t' has storage 7, which version 1 does not know; update Gossamer"),
    (section(entry(dims=9)), "holds the number 9 where at most 8"),
    (section(entry(shape=(2**31,))), "holds the number 2,147,483,648 where at most 2,147,483,647"),
    (section(entry(shape=(2**30, 2**30))), "has 1,152,921,504,606,846,976 elements"),
    (section(entry(shape=(2**30, 1)), promised=8), "promises 8 decoded bytes, its shapes need 4,294,967,296"),
    (section(entry(length=2**32)), "holds the number 4,294,967,296"),
    (section(entry(coder=ADAPTIVE)), "has storage 0 for float32 by coder 'adaptive'"),
    (section(entry(storage=GRID, coder=RAW)), "has storage 2 for float32 by coder 'raw'"),
    (section(entry(storage=INTEGERS, coder=PACKED)), "has storage 4 for float32"),
    (section(entry(storage=HALF, dtype=I8)), "has storage 1 for int8"),
    (section(entry(storage=GRID, coder=PACKED, dtype=F16, units=1)), "has storage 2 for float16"),
    (section(entry(units=1)), "has 1 units on axis 0, which do not fit"),
    (section(entry(axis=1)), "has 0 units on axis 1, which do not fit"),
    (section(entry(storage=GRID, coder=PACKED, axis=1, units=1)), "has 1 units on axis 1"),
    (section(entry(storage=GRID, coder=PACKED, units=3)), "has 3 units on axis 0"),
    (section(entry(storage=GRID, coder=PACKED, units=0)), "has 0 units on axis 0"),
    (section(entry(storage=GRID, coder=PACKED, shape=(), units=1)), "has 1 units on axis 0"),
    (section(entry(storage=CODEBOOK)), "has storage 5 for float32 by coder 'raw'"),
    (section(entry(storage=CODEBOOK, coder=PACKED, dtype=I8)), "has storage 5 for int8"),
    (section(entry(storage=CODEBOOK, coder=PACKED, book=(0, 0))), "has integer 0 at place 0 of a codebook of 0"),
    (section(entry(storage=CODEBOOK_HALF, coder=PACKED, book=(3, 3))), "has integer 0 at place 3 of a codebook of 3"),
    (section(entry(storage=CODEBOOK, coder=PACKED, book=(2**31, 0))), "holds the number 2,147,483,648"),
    (section(entry(storage=CODEBOOK, coder=PACKED, book=(2**31 - 1, 0))), "its table says 8,589,934,596; the file is"),
    (section(entry(storage=CODEBOOK, coder=PACKED, axis=1)), "has 0 units on axis 1, which do not fit"),
    (section(entry(storage=CODEBOOK, coder=PACKED, axis=1, units=1)), "has 1 units on axis 1, which do not fit"),
    (section(entry(storage=CODEBOOK, coder=PACKED, units=3)), "has 3 units on axis 0, which do not fit"),
    (section(entry(storage=CODEBOOK, coder=PACKED, book=(3,))), "table ends inside a number"),
    (section(entry(length=7), data=bytes(7)), "tensor 't' has 7 bytes where its shape needs 8"),
    (section(entry(coder=DEFLATED)), "tensor 't' (cannot be inflated|does not inflate to the 8 bytes)"),
    (section(entry(storage=HALF, length=4), data=b"\0\x7e\0\0"), "tensor 't' has a NaN in float16"),
    (section(entry(dtype=BOOL, length=2), data=b"\1\2"), "has a truth value that is neither 0 nor 1"),
    (
        section(entry(storage=GRID, coder=PACKED, units=1, length=2), data=b"\0\0\xc0\x7f\0\0"),
        "has a unit that is not a finite number",
    ),
    (
        section(entry(storage=GRID_HALF_UNITS, coder=PACKED, units=1, length=2), data=b"\0\x7c\0\0"),
        "has a unit that is not a finite number",
    ),
    (
        section(entry(storage=CODEBOOK, coder=PACKED, length=2, book=(1, 0)), data=b"\0\0\xc0\x7f\0\0"),
        "has a centroid that is not a finite number",
    ),
    (
        section(entry(storage=CODEBOOK_HALF, coder=PACKED, length=2, book=(1, 0), units=1), data=b"\0\0\0\x7c\0\0"),
        "has a unit that is not a finite number",
    ),
    (
        section(entry(storage=CODEBOOK_HALF, coder=PACKED, length=2), data=bytes(6) + b"\4\0"),
        r"holds integers outside -1\.\.1, its codebook's; the file is damaged",
    ),
    (
        section(entry(storage=CODEBOOK_HALF, coder=PACKED, length=2), data=bytes(6) + b"\3\0"),
        r"holds integers outside -1\.\.1, its codebook's; the file is damaged",
    ),
    (
        section(entry(storage=CODEBOOK_HALF, coder=RELATIVE, length=3), data=bytes(6) + b"\x0d\0\0"),
        "tensor 't' has gaps of 13 bits where 1 to 12 are allowed",
    ),
    (
        section(entry(dtype=I8, storage=INTEGERS, coder=PACKED, length=3), data=b"\x80\x02\0"),
        "holds integers that int8 does not",
    ),
    (
        section(entry(dtype=I32, storage=INTEGERS, coder=PACKED, length=2), data=b"\0\x21"),
        "tensor 't' says its values are 33 bits wide where at most 32",
    ),
    (
        section(entry(dtype=I32, storage=INTEGERS, coder=ADAPTIVE, length=0), data=b""),
        "tensor 't' ends after 0 of 2 symbols",
    ),
]


@pytest.mark.parametrize(("data", "message"), LIES, ids=[message for _, message in LIES])
def test_a_table_that_lies_is_refused(read_sections, data, message):
    with pytest.raises(CorruptFile, match=rf"^a.gossamer: section 'tensors'.*({message})"):
        read_sections(s2=data)


def test_a_table_bomb_is_not_inflated(read_sections):
    with pytest.raises(CorruptFile, match="table holds the number 16,777,217 where at most 16,777,216"):
        read_sections(s2=section(table=write_varint(2**24 + 1) + squeeze(bytes(2**20)), count=1))


@pytest.mark.parametrize("coder", [HUFFMAN, ADAPTIVE, RELATIVE])
def test_a_coder_asked_for_more_than_its_bytes_hold_takes_no_memory(read_sections, coder):
    shape = (2**15, 2**15)
    coded = CODERS[CODER_NAMES[coder]].encode(np.array([1, 2, 3], np.int32))
    row = entry(dtype=I32, shape=shape, storage=INTEGERS, coder=coder, length=len(coded))
    tracemalloc.start()
    with pytest.raises(CorruptFile, match=r"tensor 't' (ends after at most \d+ of|has \d bytes, which cannot hold)"):
        read_sections(s2=section(row, data=coded, promised=2**32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


def test_many_tensors_cannot_promise_little_and_take_much(read_sections):
    """Every shape is counted before anything is decoded, constants of no bytes too."""
    coded = b"\0\0"  # all values 0, in no bits
    rows = [
        entry(name=b"%d" % i, dtype=I32, shape=(2**20,), storage=INTEGERS, coder=PACKED, length=2) for i in range(900)
    ]
    tracemalloc.start()
    with pytest.raises(CorruptFile, match="promises 4,194,304 decoded bytes, its shapes need 3,774,873,600"):
        read_sections(s2=section(*rows, data=coded * 900, promised=2**22))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


def test_tensors_of_no_elements_are_no_way_around_the_limits(read_sections):
    row = entry(shape=(0, 2**31 - 1), length=0)
    assert read_sections(s2=section(row, data=b"", promised=0)).payload.tensors[0].decoded().shape == (0, 2**31 - 1)
    with pytest.raises(CorruptFile, match="has 4 bytes where its shape needs 0"):
        read_sections(s2=section(entry(shape=(0, 7), length=4), data=bytes(4), promised=0))
