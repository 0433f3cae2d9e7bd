# SPDX-License-Identifier: Apache-2.0
"""Serialized ONNX, read and completed without any ONNX library.

A protocol-buffers message is a sequence of fields: a key (number * 8 + wire type), then a varint, four or eight bytes,
or a length and as many bytes. The graph is field 7 of a ModelProto, an initializer field 5 of a GraphProto, and a
TensorProto has dims (1), data_type (2), name (8) and raw_data (9). Field numbers are those of the ONNX specification,
onnx.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from gossamer.coding.bits import read_varint, write_varint
from gossamer.container.limits import MOST_GRAPH_DEPTH
from gossamer.container.tensor import Tensor

ONNX_DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10}
GRAPH = 7  # in a ModelProto
NODE, INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, SPARSE_INITIALIZER = 1, 5, 11, 12, 15  # in a GraphProto
NODE_INPUT, NODE_OUTPUT, NODE_ATTRIBUTE = 1, 2, 5
ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS = 6, 11
VALUE_NAME = SPARSE_VALUES = 1
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types

Head = tuple[str, tuple[int, ...], str]
"""Name, shape and dtype of a tensor."""


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """(number, wire type, start of the key, start of the content, end) of each field; ValueError where none parses.

    >>> list(fields(bytes.fromhex("0a0168")))
    [(1, 2, 0, 2, 3)]
    """
    at, size = 0, len(message)
    while at < size:
        start = at
        key, at = (message[at], at + 1) if message[at] < 0x80 else read_varint(message, at, 2**32 - 1)
        number, wire = key >> 3, key & 7
        body = at
        if wire == BYTES:
            if at < size and message[at] < 0x80:  # most are short, and an attacker's are many
                body = at + 1
                at = body + message[at]
            else:
                length, body = read_varint(message, at, size)
                at = body + length
        elif wire == VARINT:
            _, at = read_varint(message, at, 2**64 - 1)
        elif wire in (FIXED32, FIXED64):
            at += 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"has a field of wire type {wire} at byte {start:,}")
        if at > size or number == 0:
            raise ValueError(f"has a field that ends outside it at byte {start:,}")
        yield number, wire, start, body, at


def graph_field(model: bytes) -> tuple[int, int, int]:
    """Where the one graph starts, where its content starts, and where it ends; ValueError unless there is one."""
    graphs = [
        (start, body, end) for number, wire, start, body, end in fields(model) if (number, wire) == (GRAPH, BYTES)
    ]
    if len(graphs) != 1:
        raise ValueError(f"has {len(graphs)} graphs where one is expected")
    return graphs[0]


def missing_names(model: bytes) -> list[str]:
    """Names that the graph reads and nothing in it gives, in the order in which they are first read.

    Given are its inputs, its own initializers and what its nodes compute, in graphs inside nodes too (ONNX names are
    unique over all of them). Read are the inputs of nodes, then outputs of the graph that no node computes.
    """
    _, body, end = graph_field(model)
    given: set[str] = set()
    read: dict[str, None] = {}
    _walk(memoryview(model)[body:end], given, read, MOST_GRAPH_DEPTH)
    return [name for name in read if name and name not in given]


def _walk(graph: memoryview, given: set[str], read: dict[str, None], depth: int) -> None:
    """Collect the names of one graph and of those inside its nodes."""
    if not depth:
        raise ValueError(f"has graphs nested more than {MOST_GRAPH_DEPTH} deep")
    outputs = []
    for number, wire, _, start, stop in fields(graph):
        if wire != BYTES:
            continue
        content = graph[start:stop]
        if number == NODE:
            _walk_node(content, given, read, depth)
        elif number == INITIALIZER:
            given.update(_texts(content, NAME))
        elif number == SPARSE_INITIALIZER:
            given.update(name for values in _parts(content, SPARSE_VALUES) for name in _texts(values, NAME))
        elif number == GRAPH_INPUT:
            given.update(_texts(content, VALUE_NAME))
        elif number == GRAPH_OUTPUT:
            outputs += _texts(content, VALUE_NAME)
    read.update(dict.fromkeys(outputs))


def _walk_node(node: memoryview, given: set[str], read: dict[str, None], depth: int) -> None:
    for number, wire, _, start, stop in fields(node):
        if wire != BYTES:
            continue
        if number == NODE_INPUT:
            read[_text(node[start:stop])] = None
        elif number == NODE_OUTPUT:
            given.add(_text(node[start:stop]))
        elif number == NODE_ATTRIBUTE:
            attribute = node[start:stop]
            for inner in (*_parts(attribute, ATTRIBUTE_GRAPH), *_parts(attribute, ATTRIBUTE_GRAPHS)):
                _walk(inner, given, read, depth - 1)


def _parts(message: memoryview, number: int) -> list[memoryview]:
    """The contents of all fields of this number that have a length."""
    return [message[start:stop] for found, wire, _, start, stop in fields(message) if (found, wire) == (number, BYTES)]


def _texts(message: memoryview, number: int) -> list[str]:
    return [_text(part) for part in _parts(message, number)]


def _text(content: memoryview) -> str:
    try:
        return bytes(content).decode()
    except UnicodeDecodeError as error:
        raise ValueError("has a name that is not UTF-8") from error


def with_initializers(model: bytes, heads: Sequence[Head], tensors: Iterable[Tensor]) -> Iterator[bytes]:
    """The pieces of the model with one initializer more for each tensor, at the end of its graph, whose length grows.

    A head is (name, shape, dtype). The tensors, of these heads in this order, are asked for one by one.
    """
    start, body, end = graph_field(model)
    yield model[:start] + _key(GRAPH, BYTES) + write_varint(end - body + _initializer_bytes(heads))
    yield model[body:end]
    for head, tensor in zip(heads, tensors, strict=True):
        yield _front(head)
        values = tensor.decoded()
        yield values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    yield model[end:]


def completed_bytes(model: bytes, heads: Sequence[Head]) -> int:
    """The sum of the lengths of these pieces."""
    start, body, end = graph_field(model)
    more = _initializer_bytes(heads)
    return len(model) + more + len(write_varint(end - body + more)) + len(_key(GRAPH, BYTES)) - (body - start)


def _initializer_bytes(heads: Sequence[Head]) -> int:
    return sum(len(_front(head)) + _value_bytes(head) for head in heads)


def _front(head: Head) -> bytes:
    """An initializer up to its values."""
    name, shape, dtype = head
    values = _value_bytes(head)
    proto = b"".join(
        [
            *(_key(DIMS, VARINT) + write_varint(size) for size in shape),
            _key(DATA_TYPE, VARINT) + write_varint(ONNX_DTYPES[dtype]),
            _field(NAME, name.encode()),
            _key(RAW_DATA, BYTES) + write_varint(values),
        ]
    )
    return _key(INITIALIZER, BYTES) + write_varint(len(proto) + values) + proto


def _value_bytes(head: Head) -> int:
    _, shape, dtype = head
    return math.prod(shape) * np.dtype(dtype).itemsize


def _field(number: int, content: bytes) -> bytes:
    return _key(number, BYTES) + write_varint(len(content)) + content


def _key(number: int, wire: int) -> bytes:
    return write_varint(number << 3 | wire)
