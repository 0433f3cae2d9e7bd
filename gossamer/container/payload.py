# SPDX-License-Identifier: Apache-2.0
"""Payload: everything that is needed to run the network, and nothing that is said about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gossamer.coding import smallest
from gossamer.container import sections
from gossamer.container.blocks import deflate, inflate, read_json, write_json
from gossamer.container.dictionaries import GRAPH_WORDS
from gossamer.container.errors import CorruptFile
from gossamer.container.graph_bytes import missing_names
from gossamer.container.limits import MOST_GRAPH_BYTES
from gossamer.container.tensor import Tensor, problem_of_name
from gossamer.container.tensor_data import Choice, write_tensors


@dataclass(frozen=True, eq=False)
class Payload:
    """A network: its graph (an ONNX ModelProto without these initializers), tensors, and what its input means.

    The tensors are those that the graph reads and does not give itself; in a file they are in the order in which it
    first reads them.
    """

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
        names = missing_names(payload.graph)
    except ValueError as error:
        raise ValueError(f"expected a serialized ONNX ModelProto as graph, but it {error}") from error
    by_name = {tensor.name: tensor for tensor in payload.tensors}
    if len(by_name) < len(payload.tensors) or set(by_name) != set(names):
        raise ValueError(
            f"expected one tensor for each of the {len(names):,} names that the graph reads and does not give, "
            f"{_difference(names, [tensor.name for tensor in payload.tensors])}"
        )
    return {
        1: deflate(payload.graph, MOST_GRAPH_BYTES, "graph", GRAPH_WORDS),
        2: write_tensors([by_name[name] for name in names], choice),
        3: write_json(dict(payload.preprocess), "preprocess"),
        4: write_json(list(payload.classes), "classes"),
        5: write_json(dict(payload.plan), "plan"),
    }


def from_sections(read: Callable[[int], bytes], where: str) -> tuple[Payload, list[str]]:
    """The payload without its tensors, and their names; CorruptFile names the place of what is wrong.

    `read` gives a section by its kind.
    """
    graph = inflate(read(1), MOST_GRAPH_BYTES, f"{where}: section 'graph'", GRAPH_WORDS)
    preprocess = read_json(read(3), dict, f"{where}: section 'preprocess'")
    classes = read_json(read(4), list, f"{where}: section 'classes'")
    if not all(isinstance(name, str) for name in classes):
        raise CorruptFile(f"{where}: section 'classes' holds something other than names; the file is damaged")
    plan = read_json(read(5), dict, f"{where}: section 'plan'")
    try:
        names = missing_names(graph)
    except ValueError as error:
        raise CorruptFile(f"{where}: section 'graph' is no ONNX model: it {error}; the file is damaged") from error
    for name in names:
        if problem := problem_of_name(name):
            raise CorruptFile(
                f"{where}: section 'graph' has a name, {name[:80]!r}, that {problem}; the file is damaged"
            )
    return Payload(graph, (), preprocess, tuple(classes), plan), names


def _difference(names: list[str], given: list[str]) -> str:
    """What is wrong with the names of the tensors that were given, to follow a sentence that says what they must be."""
    if twice := [name for name in given if given.count(name) > 1]:
        return f"got {twice[0]!r} {given.count(twice[0])} times"
    if missing := sorted(set(names) - set(given)):
        return f"got none for {missing[0]!r}"
    return f"got {min(set(given) - set(names))!r}, which it does not read or gives itself"
