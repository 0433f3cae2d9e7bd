# SPDX-License-Identifier: Apache-2.0
"""Serialized ONNX, read and completed without any ONNX library.

A protocol-buffers message is a sequence of fields: a key (number * 8 + wire type), then a varint, four or eight bytes,
or a length and as many bytes. The graph is field 7 of a ModelProto, an initializer field 5 of a GraphProto, and a
TensorProto has dims (1), data_type (2), name (8) and raw_data (9).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gossamer.coding.bits import read_varint, write_varint
from gossamer.container.tensor import Tensor

ONNX_DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10}
GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """(number, wire type, start of the key, start of the content, end) of each field; ValueError where none parses.

    >>> list(fields(bytes.fromhex("0a0168")))
    [(1, 2, 0, 2, 3)]
    """
    at = 0
    while at < len(message):
        start = at
        key, at = read_varint(message, at, 2**32 - 1)
        number, wire = key >> 3, key & 7
        body = at
        if wire == BYTES:
            length, body = read_varint(message, at, len(message))
            at = body + length
        elif wire == VARINT:
            _, at = read_varint(message, at, 2**64 - 1)
        elif wire in (FIXED32, FIXED64):
            at += 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"has a field of wire type {wire} at byte {start:,}")
        if at > len(message) or number == 0:
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


def initializer_names(model: bytes) -> list[str]:
    """Names of the initializers that the graph holds itself."""
    _, body, end = graph_field(model)
    graph = memoryview(model)[body:end]
    names = []
    for number, wire, _, start, stop in fields(graph):
        if (number, wire) == (INITIALIZER, BYTES):
            tensor = graph[start:stop]
            names += [
                bytes(tensor[first:last]).decode(errors="replace")
                for inner, kind, _, first, last in fields(tensor)
                if (inner, kind) == (NAME, BYTES)
            ]
    return names


def with_initializers(model: bytes, tensors: Sequence[Tensor]) -> bytes:
    """The model with one initializer more for each tensor, at the end of its graph, whose length grows."""
    start, body, end = graph_field(model)
    initializers = [_field(INITIALIZER, _tensor_proto(tensor)) for tensor in tensors]
    length = (end - body) + sum(map(len, initializers))
    head = model[:start] + _key(GRAPH, BYTES) + write_varint(length)
    return b"".join([head, model[body:end], *initializers, model[end:]])


def _tensor_proto(tensor: Tensor) -> bytes:
    values = tensor.decoded()
    return b"".join(
        [
            *(_key(DIMS, VARINT) + write_varint(size) for size in tensor.shape),
            _key(DATA_TYPE, VARINT) + write_varint(ONNX_DTYPES[tensor.dtype]),
            _field(NAME, tensor.name.encode()),
            _field(RAW_DATA, values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()),
        ]
    )


def _field(number: int, content: bytes) -> bytes:
    return _key(number, BYTES) + write_varint(len(content)) + content


def _key(number: int, wire: int) -> bytes:
    return write_varint(number << 3 | wire)
