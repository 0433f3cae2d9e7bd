# SPDX-License-Identifier: Apache-2.0
"""ONNX bytes of a payload, without any ONNX library: initializers are appended to the serialized graph.

A ModelProto is a sequence of fields; field 7 is its GraphProto, and field 5 of that repeats the initializers. So the
graph field is found, its length grown, and one TensorProto for each tensor is put at its end: dims (1), data_type (2),
name (8), raw_data (9), in the order in which protocol buffers write them.
"""

from __future__ import annotations

import numpy as np

from gossamer.coding.bits import read_varint, write_varint
from gossamer.container.errors import CorruptFile
from gossamer.container.payload import Payload
from gossamer.container.tensor import Tensor

ONNX_DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10}
GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


def to_onnx(payload: Payload) -> bytes:
    """The whole model as a runtime reads it; the same payload gives the same bytes."""
    start, body, end = _graph_field(payload.graph)
    initializers = [_field(INITIALIZER, _tensor_proto(tensor)) for tensor in payload.tensors]
    length = (end - body) + sum(map(len, initializers))
    head = payload.graph[:start] + _key(GRAPH, BYTES) + write_varint(length)
    return b"".join([head, payload.graph[body:end], *initializers, payload.graph[end:]])


def _graph_field(model: bytes) -> tuple[int, int, int]:
    """Where the one graph field starts, where its content starts, and where it ends."""
    found = None
    at = 0
    try:
        while at < len(model):
            start = at
            key, at = read_varint(model, at, 2**32)
            number, wire = key >> 3, key & 7
            if wire == BYTES:
                length, at = read_varint(model, at, len(model))
                body, at = at, at + length
                if number == GRAPH:
                    if found is not None:
                        raise ValueError("has two graphs")
                    found = start, body, at
            elif wire == VARINT:
                _, at = read_varint(model, at, 2**64 - 1)
            elif wire in (FIXED32, FIXED64):
                at += 4 if wire == FIXED32 else 8
            else:
                raise ValueError(f"has a field of wire type {wire}")
            if at > len(model):
                raise ValueError("ends inside a field")
        if found is None:
            raise ValueError("has no graph")
    except ValueError as error:
        raise CorruptFile(f"section 'graph': the ONNX model {error}; the file is damaged") from error
    return found


def _tensor_proto(tensor: Tensor) -> bytes:
    values = tensor.decoded()
    raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
    fields = [
        *(_key(DIMS, VARINT) + write_varint(size) for size in tensor.shape),
        _key(DATA_TYPE, VARINT) + write_varint(ONNX_DTYPES[tensor.dtype]),
        _field(NAME, tensor.name.encode()),
        _field(RAW_DATA, raw),
    ]
    return b"".join(fields)


def _field(number: int, content: bytes) -> bytes:
    return _key(number, BYTES) + write_varint(len(content)) + content


def _key(number: int, wire: int) -> bytes:
    return write_varint(number << 3 | wire)
