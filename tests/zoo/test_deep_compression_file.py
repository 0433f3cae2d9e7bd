# SPDX-License-Identifier: Apache-2.0
"""The published layout, written here by hand: nibbles, fillers, codebooks, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.zoo.deep_compression_file import read_layers

CONV, LINEAR = ((2, 3, 4, 4), 8), ((3, 40), 4)


def layer(entries: list[tuple[int, int]], bits: int, outputs: int, first: float = 0.0) -> bytes:
    """Codebook, bias, codes and gaps of (gap, code) entries."""
    book = np.arange(2**bits, dtype="<f4") / 8
    book[0] = first
    codes, gaps = ([entry[i] for entry in entries] for i in (1, 0))
    packed = bytes(codes) if bits == 8 else nibbles(codes)
    return book.tobytes() + np.arange(outputs, dtype="<f4").tobytes() + packed + nibbles([gap - 1 for gap in gaps])


def nibbles(values: list[int]) -> bytes:
    padded = [*values, 0][: len(values) + len(values) % 2]
    return bytes(low | high << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))


def counts(*numbers: int) -> bytes:
    return np.array(numbers, "<u4").tobytes()


ENTRIES_8 = [(1, 7), (16, 0), (16, 255), (3, 1)]
ENTRIES_4 = [(5, 15), (1, 3), (16, 0), (16, 0), (2, 9)]
WHOLE = counts(4, 5) + layer(ENTRIES_8, 8, 2) + layer(ENTRIES_4, 4, 3)


def test_codes_of_eight_and_of_four_bits_are_placed_by_their_gaps(tmp_path):
    (tmp_path / "a.net").write_bytes(WHOLE)
    conv, linear = read_layers(tmp_path / "a.net", [CONV, LINEAR])
    assert {i: v for i, v in enumerate(conv.codes.ravel().tolist()) if v} == {0: 7, 32: 255, 35: 1}
    assert {i: v for i, v in enumerate(linear.codes.ravel().tolist()) if v} == {4: 15, 5: 3, 39: 9}
    assert (conv.codes.shape, linear.codes.shape, conv.entries, linear.entries) == ((2, 3, 4, 4), (3, 40), 4, 5)
    assert conv.weight.ravel()[[0, 1, 32, 35]].tolist() == [7 / 8, 0, 255 / 8, 1 / 8]
    assert (conv.bias.tolist(), linear.bias.tolist()) == ([0, 1], [0, 1, 2])


@pytest.mark.parametrize(
    ("data", "layers", "message"),
    [
        (WHOLE[:-1], [CONV, LINEAR], "ends at byte .*, inside a layer"),
        (WHOLE + b"\0", [CONV, LINEAR], "expected 2 layers in .*, got 1 bytes more"),
        (WHOLE[:7], [CONV, LINEAR], "ends at byte 7, inside a layer"),
        (counts(2**32 - 1, 5) + WHOLE[8:], [CONV, LINEAR], "inside a layer"),
        (WHOLE, [((2, 3, 4, 1), 8), LINEAR], r"expected 24 weights of shape \(2, 3, 4, 1\) in .*, got one at place 35"),
        (counts(1) + layer([(1, 1)], 8, 2, first=0.5), [CONV], r"expected code 0 to be zero in .*, got 0\.5"),
        (WHOLE, [((2, 3, 4, 4), 5), LINEAR], "codes have 4 or 8 bits in these files, got 5"),
    ],
)
def test_another_network_s_file_is_refused(tmp_path, data, layers, message):
    (tmp_path / "a.net").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_layers(tmp_path / "a.net", layers)


def test_no_file_has_its_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*a.net"):
        read_layers(tmp_path / "a.net", [CONV])
