# SPDX-License-Identifier: Apache-2.0
"""Thousands of random changes: CorruptFile or, where checksums are forged, another valid file; nothing else."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from gossamer import container
from gossamer.coding import CODERS
from gossamer.coding.bits import read_varint, write_varint
from gossamer.container import CorruptFile
from gossamer.container.blocks import deflate, inflate
from gossamer.container.dictionaries import GRAPH_WORDS, JSON_WORDS
from gossamer.container.sections import split


def damaged(data: bytes, random_source: random.Random) -> bytes:
    """One to three bits flipped, or a byte put in or taken out."""
    out = bytearray(data)
    for _ in range(random_source.randint(1, 3)):
        at = random_source.randrange(len(out))
        how = random_source.random()
        if how < 0.8:
            out[at] ^= 1 << random_source.randrange(8)
        elif how < 0.9:
            out.insert(at, random_source.randrange(256))
        elif len(out) > 1:
            del out[at]
    return bytes(out)


def test_ten_thousand_flips_are_all_noticed(whole, read_bytes):
    """A tenth of them as files; what notices the others is the same check, without a disk."""
    source = random.Random(1)
    for turn in range(10_000):
        data = damaged(whole, source)
        if data != whole:
            with pytest.raises(CorruptFile, match=r"^a.gossamer: "):
                split(data, "a.gossamer") if turn % 10 else read_bytes(data)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6])
def test_a_section_cut_at_any_byte_is_refused_though_its_checksum_holds(whole, read_sections, kind):
    honest = split(whole, "honest")[0][kind]
    for length in range(len(honest)):
        with pytest.raises(CorruptFile, match=r"^a.gossamer: section '"):
            read_sections(**{f"s{kind}": honest[:length]})


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6])
def test_damage_inside_a_section_with_forged_checksums_is_bounded(whole, read_sections, kind):
    """What an attacker can do who computes the checksums again: another file, but never a crash or much memory."""
    source = random.Random(kind)
    honest = split(whole, "honest")[0][kind]
    inside = kind != 2
    refused = 0
    tracemalloc.start()
    for _ in range(200):
        data = damaged(honest, source)
        if inside and source.random() < 0.5:  # damage what is deflated, not the deflate stream
            words = GRAPH_WORDS if kind == 1 else JSON_WORDS
            data = deflate(damaged(inflate(honest, 2**20, "", words), source), 2**20, "", words)
        try:
            file = read_sections(**{f"s{kind}": data})
        except CorruptFile:
            refused += 1
        else:
            container.describe(file)
            container.to_onnx(file.payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused > 40
    assert peak < 2**25


def test_damage_in_the_tensor_table_with_forged_checksums_is_bounded(whole, read_sections):
    source = random.Random(7)
    honest = split(whole, "honest")[0][2]
    _, start = read_varint(honest, 0, 2**20)  # past the promise
    size, at = read_varint(honest, start, 127)
    table, rest = inflate(honest[at : at + size], 2**20, ""), honest[at + size :]
    refused = 0
    tracemalloc.start()
    for _ in range(500):
        packed = deflate(damaged(table, source), 2**20, "")
        try:
            read_sections(s2=honest[:start] + write_varint(len(packed)) + packed + rest)
        except CorruptFile:
            refused += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused > 250
    assert peak < 2**25


@pytest.mark.parametrize("name", CODERS)
def test_noise_given_to_a_coder_is_refused_or_decoded(name):
    source = random.Random(name)
    for _ in range(1000):
        data = source.randbytes(source.randrange(60))
        shape = source.choice([(1,), (3, 5), (2, 3, 3, 3), (40, 40), (0, 2), ()])
        try:
            values = CODERS[name].decode(data, shape)
        except ValueError:
            continue
        assert values.shape == shape
