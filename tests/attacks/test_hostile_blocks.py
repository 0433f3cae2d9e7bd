# SPDX-License-Identifier: Apache-2.0
"""Attacks on deflated blocks and on JSON: bombs, lies about lengths, depth, numbers that are none."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from gossamer.coding.bits import write_varint
from gossamer.container import CorruptFile
from gossamer.container.blocks import squeeze
from gossamer.container.dictionaries import JSON_WORDS
from tests.attacks.hostile import field, graph_section, graph_that_reads


def block(text: str | bytes, length: int | None = None, words: bytes = JSON_WORDS) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return write_varint(len(data) if length is None else length) + squeeze(data, words)


def test_a_bomb_that_says_it_is_small_is_stopped_at_what_it_says(read_sections):
    bomb = block(bytes(2**26), length=100)  # 64 MiB of zeros in 65 kB
    tracemalloc.start()
    with pytest.raises(CorruptFile, match="section 'plan' does not inflate to the 100 bytes it says"):
        read_sections(s5=bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21


@pytest.mark.parametrize(("kind", "name", "most"), [(1, "graph", 2**22), (3, "preprocess", 2**22), (5, "plan", 2**22)])
def test_a_bomb_that_says_how_large_it_is_is_not_begun(read_sections, kind, name, most):
    with pytest.raises(CorruptFile, match=f"section '{name}' holds the number {most + 1:,} where at most {most:,}"):
        read_sections(**{f"s{kind}": block(b"", length=most + 1)})


def test_a_length_larger_than_what_comes_is_refused(read_sections):
    with pytest.raises(CorruptFile, match="section 'plan' does not inflate to the 9 bytes it says"):
        read_sections(s5=block("{}", length=9))


def test_bytes_behind_the_deflate_stream_are_refused(read_sections):
    with pytest.raises(CorruptFile, match="section 'plan' does not inflate to the 2 bytes it says"):
        read_sections(s5=block("{}") + b"\0")


def test_a_deflate_stream_that_breaks_off_is_refused(read_sections):
    with pytest.raises(CorruptFile, match="section 'plan' does not inflate"):
        read_sections(s5=block('{"a":[1,2,3,4,5]}')[:-1])


def test_noise_instead_of_deflate_is_refused(read_sections):
    with pytest.raises(CorruptFile, match="section 'plan' cannot be inflated; the file is damaged"):
        read_sections(s5=b"\x05\xff\xff\xff\xff\xff")


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00"])
def test_an_empty_or_endless_length_is_refused(read_sections, data):
    with pytest.raises(CorruptFile, match=r"section 'plan' (ends inside a number|spells a number)"):
        read_sections(s5=data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("{} {}", "is not JSON"),
        ("[]", "must hold a dict, got list"),
        ("1", "must hold a dict, got int"),
        ('{"a":NaN}', r"is not JSON \(NaN is not a JSON number\)"),
        ('{"a":-Infinity}', r"is not JSON \(-Infinity is not"),
        ('{"a":1,"a":2}', r"is not JSON \(a key comes twice\)"),
        ('{"a":' + "9" * 5000 + "}", "is not JSON"),
        ('{"a":' + "[" * 32 + "]" * 32 + "}", "is nested 33 deep, at most 32 is allowed"),
        ('{"a":' * 100_000, "is not JSON"),
        ("[" * 100_000 + "]" * 100_000, "is not JSON|is nested"),
        (b'{"a":"\xff"}', "is not JSON"),
    ],
)
def test_json_that_is_none_or_too_deep_is_refused(read_sections, text, message):
    with pytest.raises(CorruptFile, match=f"section 'plan' {message}"):
        read_sections(s5=block(text))


def test_classes_that_are_not_names_are_refused(read_sections):
    with pytest.raises(CorruptFile, match="section 'classes' holds something other than names"):
        read_sections(s4=block("[1]"))
    with pytest.raises(CorruptFile, match="section 'classes' must hold a list, got dict"):
        read_sections(s4=block("{}"))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (b"", "has 0 graphs where one is expected"),
        (b"not a model at all", "field"),
        (b"\x3a\x00\x3a\x00", "has 2 graphs"),
        (b"\x3a\x7fabc", "has a field that ends outside it at byte 0"),
        (b"\x3a\x05\x2a\x7f\x42\x01w", "has a field that ends outside it at byte 0"),
    ],
)
def test_a_graph_that_is_no_model_is_refused(read_sections, graph, message):
    with pytest.raises(CorruptFile, match=f"section 'graph' is no ONNX model: it .*{message}.*the file is damaged"):
        read_sections(s1=graph_section(graph))


def test_a_graph_that_brings_its_own_weights_under_a_tensors_name_reads_one_tensor_less(read_sections):
    """Which of the two counts cannot be a question: a tensor is what the graph does not give itself."""
    own = field(5, field(8, b"w"))
    reads = graph_that_reads("w", "c", "b", "q")[4:]
    with pytest.raises(CorruptFile, match="section 'tensors', table"):
        read_sections(s1=graph_section(field(7, own + reads)))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([b"\xff", "c", "b", "q"], "is no ONNX model: it has a name that is not UTF-8"),
        (["\x1b[2J", "c", "b", "q"], r"has a name, '\\x1b\[2J', that holds control characters"),
        (["w" * 1025, "c", "b", "q"], "has 1,025 bytes where at most 1,024 are allowed"),
    ],
)
def test_names_that_no_tensor_may_have_are_refused(read_sections, names, message):
    with pytest.raises(CorruptFile, match=f"section 'graph' .*{message}.*; the file is damaged"):
        read_sections(s1=graph_section(graph_that_reads(*names)))


def test_graphs_inside_one_another_without_end_are_refused(read_sections):
    graph = b""
    for _ in range(1000):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(CorruptFile, match="is no ONNX model: it has graphs nested more than 8 deep"):
        read_sections(s1=graph_section(field(7, graph)))


def test_a_graph_of_millions_of_nodes_takes_seconds(read_sections):
    """Four million bytes, the most there may be, as nodes that read nothing: a few bytes of deflate."""
    start = time.perf_counter()
    with pytest.raises(CorruptFile, match="section 'tensors', table"):
        read_sections(s1=graph_section(field(7, b"\x0a\x00" * (2**21 - 10))))
    assert time.perf_counter() - start < 20
