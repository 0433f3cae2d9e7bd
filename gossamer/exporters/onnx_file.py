# SPDX-License-Identifier: Apache-2.0
"""ONNX as it is in the .gossamer file, to the bit; `gossamer decode` writes the same, without what goes beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import onnx

from gossamer.exporters.converters import Refused, translating, version
from gossamer.exporters.exported import Array, Exported, Port, Run, together
from gossamer.runtime.session import open_session

PACKAGE = "onnxruntime"


@dataclass(frozen=True)
class OnnxFile:
    """Nothing is translated; ONNX Runtime runs."""

    name: ClassVar[str] = "onnx"
    ending: ClassVar[str] = ".onnx"

    def runtime(self) -> str:
        return f"ONNX Runtime {version(PACKAGE)}"

    def export(self, model: bytes, example: Array) -> Exported:
        graph = onnx.load_from_string(model).graph
        if len(graph.input) != 1:
            raise Refused(f"expected a network of one input for --to {self.name}, got one of {len(graph.input)}")
        (given,) = graph.input
        return Exported(
            {self.ending: model},
            Port(given.name, _sizes(given), layout="NCHW"),
            tuple(
                Port(made.name, _sizes(made) or (None, *value.shape[1:]))
                for made, value in zip(graph.output, open_session(model).run(example), strict=True)
            ),
        )

    @contextmanager
    def opened(self, exported: Exported) -> Iterator[Run]:
        with translating(PACKAGE, self.name):
            session = open_session(exported.files[self.ending])

        def run(images: Array) -> list[Array]:
            with translating(PACKAGE, self.name):
                return together(session.run(image[None]) for image in images)

        yield run


def is_int8(model: bytes) -> bool:
    """Whether a network computes on rounded activations."""
    return any(node.op_type == "QuantizeLinear" for node in onnx.load_from_string(model).graph.node)


def _sizes(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """The shape that a graph states, () where it states none."""
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value or None for dim in dims)
