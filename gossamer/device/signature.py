# SPDX-License-Identifier: Apache-2.0
"""What an ONNX network says of its input, and how its first output is made: read from its bytes, by no ONNX library.

A ModelProto holds a graph; a graph holds nodes, initializers, and its inputs as ValueInfoProtos: a name (1) and a type
(2), in it a tensor type (1) with an element type (1) and a shape (2), whose dimensions (1) have a value (1) where they
are fixed. Field numbers are those of the ONNX specification, onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gossamer.coding.bits import read_varint
from gossamer.container.graph_bytes import (
    BYTES,
    GRAPH_INPUT,
    GRAPH_OUTPUT,
    INITIALIZER,
    NAME,
    NODE,
    NODE_OUTPUT,
    ONNX_DTYPES,
    VALUE_NAME,
    VARINT,
    fields,
    graph_field,
)

VALUE_TYPE, TENSOR_TYPE, ELEMENT_TYPE, SHAPE, DIMENSION, DIMENSION_VALUE = 2, 1, 1, 2, 1, 1
NODE_OPERATOR = 4
DTYPES = {number: name for name, number in ONNX_DTYPES.items()}


@dataclass(frozen=True)
class Signature:
    """Of the one input its dtype and its shape, None where a dimension is free; `last` gives the first output."""

    dtype: str
    shape: tuple[int | None, ...]
    last: str  #: the name of an operator, such as 'Conv' or 'Sigmoid'; '' where no node gives the output


def read_signature(model: bytes) -> Signature:
    """The signature of a network with one input; ValueError completes 'expected a network, but it ...'."""
    _, body, end = graph_field(model)
    graph = memoryview(model)[body:end]
    constants = {_text(tensor, NAME) for tensor in _parts(graph, INITIALIZER)}
    inputs = [value for value in _parts(graph, GRAPH_INPUT) if _text(value, VALUE_NAME) not in constants]
    outputs = [_text(value, VALUE_NAME) for value in _parts(graph, GRAPH_OUTPUT)]
    if len(inputs) != 1 or not outputs:
        raise ValueError(f"has {len(inputs)} inputs and {len(outputs)} outputs")
    tensor = next((t for value in _parts(inputs[0], VALUE_TYPE) for t in _parts(value, TENSOR_TYPE)), memoryview(b""))
    shape = next(_parts(tensor, SHAPE), memoryview(b""))
    last = ""
    for node in _parts(graph, NODE):
        if any(bytes(name).decode() == outputs[0] for name in _parts(node, NODE_OUTPUT)):
            last = _text(node, NODE_OPERATOR)
    return Signature(
        DTYPES.get(_number(tensor, ELEMENT_TYPE) or 0, "another type"),
        tuple(_number(dimension, DIMENSION_VALUE) for dimension in _parts(shape, DIMENSION)),
        last,
    )


def _parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """The contents of all fields of this number that have a length."""
    return (message[body:end] for found, wire, _, body, end in fields(message) if (found, wire) == (number, BYTES))


def _text(message: memoryview, number: int) -> str:
    return bytes(next(_parts(message, number), memoryview(b""))).decode()


def _number(message: memoryview, number: int) -> int | None:
    for found, wire, _, body, _ in fields(message):
        if (found, wire) == (number, VARINT):
            return read_varint(message, body, 2**64 - 1)[0]
    return None
