# SPDX-License-Identifier: Apache-2.0
"""Attacks on the tensor table and the data behind it: counts, shapes, coders and units that lie."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gossamer.coding import CODERS
from gossamer.coding.bits import write_varint, zigzag
from gossamer.container import CorruptFile
from gossamer.container.blocks import deflate, squeeze
from gossamer.container.tensor_table import CODEBOOK, CODER_NAMES, EXACT, GRID, INTEGERS, WORDS
from tests.attacks.hostile import graph_section, graph_that_reads

F32, F16, I8, I32, BOOL = 0, 1, 2, 4, 6
RAW, DEFLATED, PACKED, HUFFMAN, ADAPTIVE, RELATIVE, MIXING = range(7)
NAMELESS = graph_section(graph_that_reads())  # of a graph that reads nothing
ONE = graph_section(graph_that_reads("t"))


def varints(*numbers: int) -> bytes:
    return b"".join(map(write_varint, numbers))


def table(
    *,
    dtype=F32,
    shape=(2,),
    storage=EXACT,
    coder=RAW,
    units=None,
    book=None,
    forms=(),
    bases=(),
    lengths=(8,),
    rank=None,
    coders=None,
    rest=b"",
) -> bytes:
    """The table of one tensor, honest or not, not deflated; `book` is the codebook's size and integer 0's place."""
    head = bytes([storage << 4 | dtype, len(shape) if rank is None else rank]) + varints(*shape)
    head += b"" if units is None else bytes([units])
    head += (b"" if book is None else varints(*book)) + bytes(forms) + varints(*bases)
    return head + bytes([coder] * len(lengths) if coders is None else coders) + varints(*lengths) + rest


def section(rows: bytes, data: bytes = bytes(8), promised=8, block=None) -> bytes:
    packed = deflate(rows, 2**30, "table") if block is None else block
    return write_varint(promised) + write_varint(len(packed)) + packed + data


WITH_UNIT = {"storage": GRID, "coder": PACKED, "units": 1, "forms": (22,), "bases": (zigzag(254),), "lengths": (2, 2)}
WITH_BOOK = {
    "storage": CODEBOOK, "coder": PACKED, "units": 0, "book": (3, 1), "forms": (22,), "bases": (zigzag(254),),
    "lengths": (2, 2),
}  # fmt: skip
ZEROS = b"\0\0"  # what `packed` makes of zeros: the smallest is 0, and the rest needs no bits


def grid(**changes) -> bytes:
    return table(**(WITH_UNIT | changes))


def book(**changes) -> bytes:
    return table(**(WITH_BOOK | changes))


def test_honest_tables_are_read(read_sections):
    for rows, data, promised, values in (
        (table(), bytes(8), 8, [0, 0]),
        (grid(), ZEROS * 2, 12, [0, 0]),
        (book(), ZEROS * 2, 20, [1, 1]),
        (table(storage=WORDS, coder=PACKED, forms=(22,), bases=(zigzag(254),), lengths=(2,)), ZEROS, 8, [1, 1]),
    ):
        file = read_sections(s1=ONE, s2=section(rows, data, promised))
        assert file.payload.tensors[0].decoded().tolist() == values


LIES = [
    (section(b""), "table ends after 0 bytes; the file is truncated"),
    (section(table(rest=b"\0")), "table goes on after its 1 tensors; the file is damaged"),
    (section(table(), promised=2**32 + 1), "holds the number 4,294,967,297"),
    (section(table(), promised=2**31), r"promises 2,147,483,648 decoded bytes, its \d+ bytes may promise 4,"),
    (section(table(), promised=9), "promises 9 decoded bytes, its shapes need 8"),
    (section(grid(), ZEROS * 2, promised=8), "promises 8 decoded bytes, its shapes need 12"),
    (section(table(), data=bytes(7)), "has 7 bytes of data, its table says 8; the file is truncated"),
    (section(table(), data=bytes(9)), "has 9 bytes of data, its table says 8; the file is damaged"),
    (section(table())[:9], "holds the number|ends inside its table"),
    (b"\x08\x7f", "holds the number 127 where at most 2"),
    (b"", "ends inside a number"),
    (section(table(dtype=7)), "'t' has dtype 7, which version 1 does not know; update Gossamer"),
    (section(table(coder=7)), "'t' has coder 7, which version 1 does not know; update Gossamer"),
    (section(table(storage=5)), "'t' has storage 5, which version 1 does not know; update Gossamer"),
    (section(table(rank=9)), "'t' has 9 dimensions, at most 8 are allowed; the file is damaged"),
    (section(table(rank=255)), "'t' has 255 dimensions"),
    (section(table(shape=(2**31,))), "holds the number 2,147,483,648 where at most 2,147,483,647"),
    (section(table(shape=(2**30, 2**30))), "has 1,152,921,504,606,846,976 elements"),
    (section(table(shape=(2**30, 1)), promised=8), "promises 8 decoded bytes, its shapes need 4,294,967,296"),
    (section(table(lengths=(2**32,))), "holds the number 4,294,967,296"),
    (section(table(coder=ADAPTIVE)), "'t' is coded by 'adaptive', which does not fit its storage"),
    (section(grid(coder=RAW)), "the stream of units and codebooks is coded by 'raw', which does not fit"),
    (section(grid(coders=[PACKED, RAW])), "'t' is coded by 'raw', which does not fit its storage"),
    (section(grid(coders=[PACKED, DEFLATED])), "'t' is coded by 'deflated', which does not fit its storage"),
    (section(table(storage=INTEGERS, coder=PACKED)), "has storage 3 for float32"),
    (section(table(storage=WORDS, dtype=I8)), "has storage 1 for int8"),
    (section(grid(dtype=F16)), "has storage 2 for float16"),
    (section(book(dtype=I8)), "has storage 4 for int8"),
    (section(grid(units=0)), "'t' has units of kind 0, which do not fit its shape"),
    (section(grid(units=3)), "'t' has units of kind 3, which do not fit its shape"),
    (section(grid(units=255)), "'t' has units of kind 255"),
    (section(grid(units=2, shape=(1,))), "'t' has units of kind 2, which do not fit its shape"),
    (section(grid(units=2, shape=())), "'t' has units of kind 2, which do not fit its shape"),
    (section(book(units=4)), "'t' has units of kind 4, which do not fit its shape"),
    (section(book(book=(0, 0))), "has integer 0 at place 0 of a codebook of 0"),
    (section(book(book=(3, 3))), "has integer 0 at place 3 of a codebook of 3"),
    (section(book(book=(2**31, 0))), "holds the number 2,147,483,648"),
    (section(book(book=(2**31 - 1, 0)), ZEROS * 2, 20), "its shapes need 8,589,934,596; the file is damaged"),
    (section(table(storage=CODEBOOK, units=0, book=(3,), lengths=(), coders=b"")), "table ends inside a number"),
    (section(grid(forms=(64,))), "has words of form 64, which do not exist; the file is damaged"),
    (section(grid(bases=(2**33,))), "holds the number 8,589,934,592 where at most 8,589,934,590"),
    (section(grid(bases=(zigzag(-1),)), ZEROS * 2, 12), "tensor 't': units holds a word that is no number in float32"),
    (section(grid(bases=(zigzag(512),)), ZEROS * 2, 12), "tensor 't': units holds a word that is no number in float32"),
    (section(grid(bases=(zigzag(511),)), ZEROS * 2, 12), "tensor 't': units holds a word that is no number in float32"),
    (section(grid(bases=(zigzag(510),)), ZEROS * 2, 12), "has a unit that is not a finite number"),
    (section(book(bases=(zigzag(510),)), ZEROS * 2, 20), "has a centroid that is not a finite number"),
    (
        section(table(storage=WORDS, coder=PACKED, forms=(22,), bases=(zigzag(511),), lengths=(2,)), ZEROS),
        "tensor 't' holds a word that is no number in float32",
    ),
    (section(table(lengths=(7,)), data=bytes(7)), "tensor 't' has 7 bytes where its shape needs 8"),
    (section(table(coder=DEFLATED)), "tensor 't' (cannot be inflated|does not inflate to the 8 bytes)"),
    (section(table(dtype=BOOL, lengths=(2,)), data=b"\1\2"), "has a truth value that is neither 0 nor 1"),
    (section(book(), ZEROS + b"\4\0", 20), r"holds integers outside -1\.\.1, its codebook's; the file is damaged"),
    (section(book(), ZEROS + b"\3\0", 20), r"holds integers outside -1\.\.1, its codebook's; the file is damaged"),
    (
        section(book(coders=[PACKED, RELATIVE], lengths=(2, 3)), ZEROS + b"\x0d\0\0", 20),
        "tensor 't' has gaps of 13 bits where 1 to 12 are allowed",
    ),
    (
        section(table(dtype=I8, storage=INTEGERS, coder=PACKED, lengths=(3,)), data=b"\x80\x02\0"),
        "holds integers that int8 does not",
    ),
    (
        section(table(dtype=I32, storage=INTEGERS, coder=PACKED, lengths=(2,)), data=b"\0\x21"),
        "tensor 't' says its values are 33 bits wide where at most 32",
    ),
    (
        section(table(dtype=I32, storage=INTEGERS, coder=ADAPTIVE, lengths=(0,)), data=b""),
        "tensor 't' ends after 0 of 2 symbols",
    ),
]


@pytest.mark.parametrize(("data", "message"), LIES, ids=[message for _, message in LIES])
def test_a_table_that_lies_is_refused(read_sections, data, message):
    with pytest.raises(CorruptFile, match=rf"^a.gossamer: section 'tensors'.*({message})"):
        read_sections(s1=ONE, s2=data)


def test_a_table_of_other_tensors_than_the_graph_reads_is_refused(read_sections):
    with pytest.raises(CorruptFile, match="table goes on after its 0 tensors; the file is damaged"):
        read_sections(s1=NAMELESS, s2=section(table()))
    with pytest.raises(CorruptFile, match=r"table ends|ends inside a number|has dtype|holds the number"):
        read_sections(s1=graph_section(graph_that_reads("t", "u")), s2=section(table()))


def test_a_graph_that_reads_more_tensors_than_there_may_be_is_refused(read_sections):
    names = [b"%d" % i for i in range(100_001)]
    with pytest.raises(CorruptFile, match="would be of 100,001 tensors, at most 100,000; the file is damaged"):
        read_sections(s1=graph_section(graph_that_reads(*names)))


def test_a_table_bomb_is_not_inflated(read_sections):
    with pytest.raises(CorruptFile, match="table holds the number 16,777,217 where at most 16,777,216"):
        read_sections(s1=ONE, s2=section(b"", block=write_varint(2**24 + 1) + squeeze(bytes(2**20))))


@pytest.mark.parametrize("coder", [HUFFMAN, ADAPTIVE, RELATIVE, MIXING])
@pytest.mark.parametrize("shape", [(2**10, 2**10), (2**20,)])
def test_a_coder_asked_for_more_than_its_bytes_hold_takes_no_memory(read_sections, coder, shape):
    coded = CODERS[CODER_NAMES[coder]].encode(np.array([1, 2, 3], np.int32))
    rows = table(dtype=I32, shape=shape, storage=INTEGERS, coder=coder, lengths=(len(coded),))
    tracemalloc.start()
    with pytest.raises(CorruptFile, match=r"tensor 't' (ends after at most \d+ of|has \d+ bytes, which cannot hold)"):
        read_sections(s1=ONE, s2=section(rows, data=coded, promised=2**22))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_the_slowest_coder_may_have_a_few_million_values(read_sections):
    rows = table(dtype=I32, shape=(2**11, 2**11 + 1), storage=INTEGERS, coder=MIXING, lengths=(5000,))
    with pytest.raises(CorruptFile, match=r"'t' brings the values of the mixing coder to 4,196,352, at most 4,194,304"):
        read_sections(s1=ONE, s2=section(rows, data=bytes(5000), promised=4 * 2**11 * (2**11 + 1)))


def test_a_small_file_cannot_ask_for_much(read_sections):
    """Constants take no bytes: 2^28 zeros would be two, and a gigabyte."""
    rows = table(dtype=I32, shape=(2**14, 2**14), storage=INTEGERS, coder=PACKED, lengths=(2,))
    tracemalloc.start()
    with pytest.raises(CorruptFile, match=r"promises 1,073,741,824 decoded bytes, its \d+ bytes may promise 4,"):
        read_sections(s1=ONE, s2=section(rows, ZEROS, 2**30))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_many_tensors_cannot_promise_little_and_take_much(read_sections):
    """Every shape is counted before anything is decoded, constants of no bytes too."""
    count = 900
    rows = bytes([INTEGERS << 4 | I32]) * count + bytes([1]) * count + varints(2**20) * count
    rows += bytes([PACKED]) + varints(2)
    names = [b"%d" % i for i in range(count)]
    tracemalloc.start()
    with pytest.raises(CorruptFile, match="promises 4,194,304 decoded bytes, its shapes need 3,774,873,600"):
        read_sections(s1=graph_section(graph_that_reads(*names)), s2=section(rows, ZEROS, 2**22))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


def test_tensors_of_no_elements_are_no_way_around_the_limits(read_sections):
    rows = table(shape=(0, 2**31 - 1), lengths=(0,))
    file = read_sections(s1=ONE, s2=section(rows, data=b"", promised=0))
    assert file.payload.tensors[0].decoded().shape == (0, 2**31 - 1)
    with pytest.raises(CorruptFile, match="has 4 bytes where its shape needs 0"):
        read_sections(s1=ONE, s2=section(table(shape=(0, 7), lengths=(4,)), data=bytes(4), promised=0))
    units = table(storage=GRID, shape=(0, 2**30), units=3, forms=(0,), bases=(0,), coder=PACKED, lengths=(2, 0))
    with pytest.raises(CorruptFile, match=r"promises 0 decoded bytes, its shapes need 4,294,967,296"):
        read_sections(s1=ONE, s2=section(units, data=ZEROS, promised=0))
