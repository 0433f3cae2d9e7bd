# SPDX-License-Identifier: Apache-2.0
"""The decoder printed in docs/format.md, run as it stands: the page is the format."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gossamer.coding import MOST_MIXED, adaptive, mixing
from gossamer.container import dictionaries, limits
from gossamer.container.sections import HEADER_BYTES
from gossamer.container.tensor import DTYPES
from gossamer.container.tensor_table import CODER_NAMES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def printed() -> dict:
    """The names that the page's blocks of Python define."""
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    return names


@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (30, 9), (1, 1), (50,), (), (2, 3, 4, 2, 2), (3, 0), (8, 1, 3, 3)])
@pytest.mark.parametrize("spread", [0.3, 4, 1e6])
def test_the_printed_decoder_reads_what_the_encoder_writes(printed, shape, spread):
    rng = np.random.default_rng(int(10 * spread) + len(shape))
    values = np.rint(rng.laplace(0, spread, shape)).astype(np.int32)
    assert printed["decode"](adaptive.encode(values), shape) == values.ravel().tolist()


def test_the_printed_decoder_refuses_what_ours_refuses(printed):
    values = np.arange(-40, 40, dtype=np.int32)
    data = adaptive.encode(values)
    for wrong in (data[:20], data + b"\0", data[:-1] + bytes([data[-1] ^ 128])):
        for decode in (printed["decode"], adaptive.decode):
            with pytest.raises(ValueError, match=r"truncated|ends|does not end"):
                decode(wrong, (80,))


def test_the_printed_mixing_decoder_reads_one_tensor_after_the_other(printed):
    rng = np.random.default_rng(0)
    shapes = [(6, 5, 3, 3), (30, 9), (1, 1), (50,), (), (2, 3, 4, 2, 2), (3, 0), (8, 1, 3, 3), (2, 1, 9, 9), (5, 4, 3)]
    writer, reader = mixing.Memory(), printed["Memory"]()
    for spread in (0.3, 2, 1e6):
        for shape in shapes:
            values = np.rint(rng.laplace(0, spread, shape)).astype(np.int32)
            data = mixing.encode(values, writer)
            assert printed["decode_mixing"](data, shape, reader) == values.ravel().tolist()
    assert reader.values == writer.values
    assert f"more than {MOST_MIXED:,} values" in PAGE


def test_the_printed_tables_are_ours(printed):
    squash, stretch, _ = adaptive.tables()
    assert (printed["SQUASH"], printed["STRETCH"]) == (squash, stretch)


def test_the_printed_limits_are_ours():
    for value in (limits.MOST_TENSORS, limits.MOST_NAME_BYTES):
        assert f"| {value:,}" in PAGE
    assert limits.MOST_FILE_BYTES == 2**32 - 1
    assert (limits.MOST_GRAPH_BYTES, limits.MOST_TABLE_BYTES, limits.MOST_JSON_BYTES) == (2**22, 2**24, 2**22)
    assert (limits.MOST_DIMS, limits.MOST_ELEMENTS, limits.MOST_DECODED_BYTES) == (8, 2**31 - 1, 2**32)
    assert limits.MOST_JSON_DEPTH == 32
    assert (limits.MOST_GRAPH_DEPTH, limits.FREE_DECODED_BYTES, limits.DECODED_BYTES_PER_BYTE) == (8, 2**22, 4096)


def test_the_printed_dictionaries_are_ours():
    text = PAGE.partition("## Preset dictionaries")[2].partition("## Versions")[0]
    words, graph = (
        "".join(line[4:] for line in part.splitlines() if line.startswith("    "))
        for part in text.split("Of the graph, in hexadecimal")
    )
    assert words.encode() == dictionaries.JSON_WORDS
    assert bytes.fromhex(graph) == dictionaries.GRAPH_WORDS
    for dictionary in (dictionaries.JSON_WORDS, dictionaries.GRAPH_WORDS):
        assert f"{len(dictionary):,}" in PAGE


def test_the_printed_layout_is_ours():
    assert f"| {HEADER_BYTES} | the sections |" in PAGE
    coders = re.search(r"of each stream: (0 raw.*?) \|", PAGE)
    assert coders is not None
    assert coders.group(1) == ", ".join(f"{number} {name}" for number, name in enumerate(CODER_NAMES))
    dtypes = re.search(r"storage x 16 \+ dtype: (.*?) \|", PAGE)
    assert dtypes is not None
    assert dtypes.group(1) == ", ".join(f"{number} {name}" for name, number in DTYPES.items())
