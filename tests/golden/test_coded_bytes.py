# SPDX-License-Identifier: Apache-2.0
"""The bytes that each coder writes for one awkward tensor: they decode to the same integers for ever.

A change that makes this test fail makes a new version of the format. What may change is what an encoder chooses
(shorter Huffman tables, say); then a second golden is added beside this one, and this one still decodes.
"""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.coding import CODERS, adaptive, mixing

SHAPE = (3, 4, 3, 3)


def awkward() -> np.ndarray:
    """Zeros, runs, both signs and one wide value, without any random generator that might change."""
    state, out = 1, []
    for i in range(108):
        state = (1103515245 * state + 12345) % 2**31
        size = (state >> 16) % (2 + i % 7)
        out.append(0 if state % 5 < 2 else (size if (state >> 8) % 3 else -size))
    out[50] = 70_000
    return np.array(out, np.int32).reshape(SHAPE)


GOLDEN = {
    "packed": (
        "0b11000300018000a00060003800300010000600030001000040006000300018000e0006000300024001200080006000"
        "1800100006000400018000c0006000300018000c0006000400018000c000600038001c000e0006000300008000a00060"
        "001800180012000600020001a22ec000600030002c0006000600030001c000c0006000280018000c0006000280024000"
        "c0006000080020000c000600040001400140001000300018000e0008000180018000c000600030001400060006000300"
        "018000c0005000300018000c0006000000024000c0006000400018000c0008000000018000c00070"
    ),
    "huffman": (
        "05018d11210f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
        "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
        "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f092020"
        "280000000a4262042104820a082010003e00984007b800002000c623004010000000001000008420073e0e8060f02000"
        "17a000400f8000f8c00d880017c9b00022e800007fa00001f00000d0c0010002d00010"
    ),
    "relative": (
        "0233110000041323b13c36ff936da5748473b94805018d11210f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
        "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
        "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
        "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f09208500054b4a44894908f84c2f7023188c2100410879fe8fd02f"
        "43ff8f6217c9b08ba0ff41f068621682"
    ),
    "mixing": "b5a60d85c9c2ddf43872c40985e69384d9a8a679a796a92447e800e35f35e3893e9e485bab6fb515b8a0ca2fc558a8",
    "adaptive": "aa3196800107631a83cca9e4bbf6416d7389ecc72263ebf8679afcdc616478f54e35c9ace5a085cbfa62",
}
#: The same tensor by the mixing coder, after a memory has seen it once.
AGAIN = "bf6445d99c9d4a97041fba52fbf0838d391869b61249efb79096c3e5"


@pytest.mark.parametrize("name", CODERS)
def test_the_golden_bytes_decode_for_ever(name):
    assert (CODERS[name].decode(bytes.fromhex(GOLDEN[name]), SHAPE) == awkward()).all()


@pytest.mark.parametrize("name", CODERS)
def test_the_encoders_write_the_golden_bytes(name):
    assert CODERS[name].encode(awkward()).hex() == GOLDEN[name]


def test_plain_python_decodes_the_golden_bytes(monkeypatch):
    monkeypatch.setattr(adaptive, "_compiled", lambda: None)
    assert (adaptive.decode(bytes.fromhex(GOLDEN["adaptive"]), SHAPE) == awkward()).all()
    assert adaptive.encode(awkward()).hex() == GOLDEN["adaptive"]


@pytest.mark.parametrize("plain", [False, True], ids=["machine code", "plain Python"])
def test_with_a_memory_too(monkeypatch, plain):
    if plain:
        monkeypatch.setattr(mixing, "_compiled", lambda: None)
    writer, reader = mixing.Memory(), mixing.Memory()
    for golden in (GOLDEN["mixing"], AGAIN):
        assert mixing.encode(awkward(), writer).hex() == golden
        assert (mixing.decode(bytes.fromhex(golden), SHAPE, reader) == awkward()).all()


def test_the_tables_are_the_ones_of_version_1():
    squash, stretch, step = adaptive.tables()
    assert (sum(squash), sum(x * i for i, x in enumerate(squash)) % 2**32) == (167739494, 1272594896)
    assert (sum(stretch), sum(x * i for i, x in enumerate(stretch)) % 2**32) == (1883, 2165812752)
    assert sum(step) == 777
