# SPDX-License-Identifier: Apache-2.0
"""Payload: everything that is needed to run the network, and nothing that is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gossamer.coding import smallest
from gossamer.container import sections
from gossamer.container.blocks import deflate, inflate, read_json, write_json
from gossamer.container.errors import CorruptFile
from gossamer.container.graph_bytes import initializer_names
from gossamer.container.limits import MOST_DECODED_BYTES, MOST_GRAPH_BYTES
from gossamer.container.tensor import Tensor
from gossamer.container.tensor_table import Choice, Stored, read_tensors, write_tensors


@dataclass(frozen=True, eq=False)
class Payload:
    """A network: its graph (an ONNX ModelProto without these initializers), tensors, and what its input means."""

    graph: bytes
    tensors: tuple[Tensor, ...]
    preprocess: Mapping[str, Any]
    classes: tuple[str, ...]
    plan: Mapping[str, Any]


def payload_bytes(payload: Payload) -> bytes:
    """The bytes whose SHA-256 names this payload; the same payload gives the same bytes."""
    return sections.payload_bytes(to_sections(payload))


def to_sections(payload: Payload, choice: Choice = smallest) -> dict[int, bytes]:
    """The payload's sections by kind, integers coded by `choice`; ValueError for what a reader would refuse."""
    try:
        problem = _overlap(payload.graph, payload.tensors)
    except ValueError as error:
        raise ValueError(f"expected a serialized ONNX ModelProto as graph, but it {error}") from error
    if problem:
        raise ValueError(f"expected a graph without the tensors' initializers, but it {problem}; strip them first")
    return {
        1: deflate(payload.graph, MOST_GRAPH_BYTES, "graph"),
        2: write_tensors(payload.tensors, choice),
        3: write_json(dict(payload.preprocess), "preprocess"),
        4: write_json(list(payload.classes), "classes"),
        5: write_json(dict(payload.plan), "plan"),
    }


def from_sections(
    by_kind: Mapping[int, bytes], where: str, most: int = MOST_DECODED_BYTES
) -> tuple[Payload, tuple[Stored, ...]]:
    """The payload of these sections, and what each tensor takes; CorruptFile names the place of what is wrong."""
    graph = inflate(by_kind[1], MOST_GRAPH_BYTES, f"{where}: section 'graph'")
    preprocess = read_json(by_kind[3], dict, f"{where}: section 'preprocess'")
    classes = read_json(by_kind[4], list, f"{where}: section 'classes'")
    if not all(isinstance(name, str) for name in classes):
        raise CorruptFile(f"{where}: section 'classes' holds something other than names; the file is damaged")
    plan = read_json(by_kind[5], dict, f"{where}: section 'plan'")
    tensors, stored = read_tensors(by_kind[2], most, f"{where}: section 'tensors'")
    try:
        problem = _overlap(graph, tensors)
    except ValueError as error:
        raise CorruptFile(f"{where}: section 'graph' is no ONNX model: it {error}; the file is damaged") from error
    if problem:
        raise CorruptFile(f"{where}: section 'graph' {problem}, which is in the tensors too; the file is damaged")
    return Payload(graph, tensors, preprocess, tuple(classes), plan), stored


def _overlap(graph: bytes, tensors: tuple[Tensor, ...]) -> str | None:
    """Two initializers of one name would leave it to the runtime which one counts."""
    names = {tensor.name for tensor in tensors}
    twice = next((name for name in initializer_names(graph) if name in names), None)
    return None if twice is None else f"has the initializer {twice!r}"
