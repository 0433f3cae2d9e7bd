# SPDX-License-Identifier: Apache-2.0
"""Attacks on the header: lengths, counts, kinds, versions and checksums that lie."""

from __future__ import annotations

import struct

import pytest

from gossamer import container
from gossamer.container import CorruptFile
from gossamer.container.blocks import write_json
from gossamer.container.sections import HEADER_BYTES, split
from tests.attacks.hostile import HONEST

TOTAL = 10  # where the total length is, u32
DIGEST = 14
ENTRY = 46  # where the first section's entry starts: length u32, CRC-32 u32


def test_an_honest_file_is_read(whole, read_bytes, reseal):
    assert read_bytes(reseal(whole)).claims["n"] == 1


def test_a_file_cut_at_any_byte_is_truncated(whole, read_bytes):
    for length in range(len(whole)):
        with pytest.raises(CorruptFile, match=r"^a.gossamer: .*the file is truncated$"):
            read_bytes(whole[:length])


def test_bytes_behind_the_end_are_refused(whole, read_bytes):
    with pytest.raises(CorruptFile, match="the file is followed by something else"):
        read_bytes(whole + b"\0")


def test_line_ends_rewritten_by_a_transfer_are_noticed_at_once(whole, read_bytes):
    with pytest.raises(CorruptFile, match=r"does not begin as a \.gossamer file does"):
        read_bytes(whole.replace(b"\r\n", b"\n"))


def test_a_later_version_asks_for_an_update(whole, read_bytes, reseal):
    data = bytearray(whole)
    data[8:10] = struct.pack("<H", 2)
    with pytest.raises(CorruptFile, match="has format version 2, and this program reads version 1; update Gossamer"):
        read_bytes(reseal(data))


@pytest.mark.parametrize("total", [0, 98, 2**31, 2**32 - 1])
def test_a_total_length_that_lies_is_refused(whole, read_bytes, reseal, total):
    data = bytearray(whole)
    data[TOTAL : TOTAL + 4] = struct.pack("<I", total)
    with pytest.raises(CorruptFile, match=f"bytes long and says {total:,}; the file is"):
        read_bytes(reseal(data))


@pytest.mark.parametrize("length", [2**20, 2**31, 2**32 - 1])
def test_a_section_longer_than_the_file_is_refused(whole, read_bytes, reseal, length):
    data = bytearray(whole)
    data[ENTRY : ENTRY + 4] = struct.pack("<I", length)
    with pytest.raises(CorruptFile, match=f"section 'graph' says {length:,} bytes, .* are left; the file is damaged"):
        read_bytes(reseal(data))


def test_a_last_section_that_is_too_short_leaves_bytes_over(whole, read_bytes, reseal):
    data = bytearray(whole)
    at = ENTRY + 5 * 8
    data[at : at + 8] = struct.pack("<II", 0, 0)
    with pytest.raises(CorruptFile, match="bytes follow the last section"):
        read_bytes(reseal(data))


def test_a_changed_section_is_named(whole, read_bytes):
    places = {
        "graph": 98,
        "tensors": 98 + len(HONEST[1]),
    }
    for name, at in places.items():
        data = bytearray(whole)
        data[at] ^= 1
        with pytest.raises(CorruptFile, match=f"the checksum of section '{name}' does not hold; the file is damaged"):
            read_bytes(bytes(data))


def test_a_changed_header_is_named(whole, read_bytes):
    data = bytearray(whole)
    data[60] ^= 1
    with pytest.raises(CorruptFile, match="the header's checksum does not hold; the file is damaged"):
        read_bytes(bytes(data))


def test_a_payload_swapped_with_all_cyclic_checksums_right_is_noticed(whole, read_bytes, reseal):
    data = bytearray(whole)
    data[DIGEST : DIGEST + 32] = bytes(32)
    with pytest.raises(
        CorruptFile, match="the SHA-256 of the payload does not hold; the file was changed, get it again"
    ):
        read_bytes(reseal(data))


def test_claims_of_another_file_are_not_believed(read_sections, whole):
    sections = split(whole, "honest")[0]
    with pytest.raises(CorruptFile, match="section 'claims' is about another payload; do not trust it"):
        read_sections(s6=sections[6], s4=write_json([], "classes"))
    with pytest.raises(CorruptFile, match="section 'claims' is about another payload"):
        read_sections(s6=write_json({}, "claims"))


def test_a_huge_other_file_is_not_read_whole(tmp_path, whole):
    path = tmp_path / "a.gossamer"
    with path.open("wb") as file:
        file.truncate(2**36)  # sparse: takes no room, and nobody could read it into memory
    with pytest.raises(CorruptFile, match="does not begin as"):
        container.read(path)
    with path.open("rb+") as file:
        file.write(whole[:HEADER_BYTES])
    with pytest.raises(CorruptFile, match=r"is 68,719,476,736 bytes long and says \d+; .* followed by something else"):
        container.read(path)
