# SPDX-License-Identifier: Apache-2.0
"""ExecuTorch: .pte for telephones, with XNNPACK for what it can do and ExecuTorch's own operators for the rest.

Converted from PyTorch by executorch (https://docs.pytorch.org/executorch/). int8 networks stay int8 where XNNPACK takes
the operator, and their layers where XNNPACK computes them in integers; what goes in and comes out is float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gossamer.exporters.converters import imported, translating, version
from gossamer.exporters.exported import Array, Exported, Port, Run, together
from gossamer.exporters.onnx_file import is_int8

XNNPACK = "executorch.backends.xnnpack.partition.xnnpack_partitioner"
QUANTIZED = "executorch.kernels.quantized"  # registers what rounds outside of XNNPACK

PACKAGE = "executorch"


@dataclass(frozen=True)
class ExecuTorch:
    """executorch translates and runs."""

    name: ClassVar[str] = "executorch"
    ending: ClassVar[str] = ".pte"

    def runtime(self) -> str:
        return f"ExecuTorch {version(PACKAGE)} (XNNPACK)"

    def export(self, model: bytes, example: Array) -> Exported:
        exir = imported("executorch.exir", PACKAGE, self.name)
        from gossamer.exporters.plain_torch import plain_graph

        with translating(PACKAGE, self.name):
            graph = plain_graph(model, example, self.name)
            import torch

            if is_int8(model):
                imported(QUANTIZED, PACKAGE, self.name)
            partitioner = imported(XNNPACK, PACKAGE, self.name).XnnpackPartitioner()
            program = torch.export.export(graph, (torch.from_numpy(example),))
            edge = exir.to_edge_transform_and_lower(program, partitioner=[partitioner])
            content = bytes(edge.to_executorch().buffer)
            outputs = _opened(content)(example)
        return Exported(
            {self.ending: content},
            Port("input 0", example.shape, layout="NCHW"),
            tuple(Port(f"output {index}", value.shape) for index, value in enumerate(outputs)),
        )

    @contextmanager
    def opened(self, exported: Exported) -> Iterator[Run]:
        with translating(PACKAGE, self.name):
            executed = _opened(exported.files[self.ending])

        def run(images: Array) -> list[Array]:
            with translating(PACKAGE, self.name):
                return executed(images)

        yield run


def _opened(content: bytes) -> Run:
    import torch

    runtime = imported("executorch.runtime", PACKAGE, ExecuTorch.name)
    program: Any = runtime.Runtime.get().load_program(content)
    method = program.load_method("forward")

    def run(images: Array, program: Any = program) -> list[Array]:  # a method does not keep its program
        return together(
            [np.array(value) for value in method.execute([torch.from_numpy(np.ascontiguousarray(image[None]))])]
            for image in images
        )

    return run
