# SPDX-License-Identifier: Apache-2.0
"""OpenVINO IR: .xml and .bin for processors and accelerators of Intel; Arm's processors run it too.

OpenVINO reads ONNX by itself (`--runtime openvino`); the IR spares the device the translation, and the library that
does it. Numbers stay float32 in the file, int8 networks stay int8, and the batch stays free.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from gossamer.exporters.converters import imported, translating, version
from gossamer.exporters.exported import Array, Exported, Port, Run, together
from gossamer.runtime.session import openvino_core

PACKAGE = "openvino"
XML, BIN = ".xml", ".bin"


@dataclass(frozen=True)
class OpenVinoIR:
    """openvino translates and runs."""

    name: ClassVar[str] = "openvino"
    ending: ClassVar[str] = XML

    def runtime(self) -> str:
        return f"OpenVINO {version(PACKAGE).split('-')[0]}"

    def export(self, model: bytes, example: Array) -> Exported:
        openvino = imported("openvino", PACKAGE, self.name)
        with translating(PACKAGE, self.name), TemporaryDirectory() as folder:
            network = openvino_core().read_model(model)
            path = Path(folder, f"network{XML}")
            openvino.save_model(network, path, compress_to_fp16=False)
            files = {ending: path.with_suffix(ending).read_bytes() for ending in (XML, BIN)}
            return Exported(
                files,
                Port(network.input(0).get_any_name(), _sizes(network.input(0)), layout="NCHW"),
                tuple(Port(made.get_any_name(), _sizes(made)) for made in network.outputs),
            )

    @contextmanager
    def opened(self, exported: Exported) -> Iterator[Run]:
        with translating(PACKAGE, self.name):
            core = openvino_core()
            network = core.read_model(exported.files[XML], exported.files[BIN])
            config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
            compiled = core.compile_model(network, "CPU", config)

        def run(images: Array) -> list[Array]:
            with translating(PACKAGE, self.name):
                found = (compiled([np.ascontiguousarray(image[None])]) for image in images)
                return together([np.array(each[index]) for index in range(len(compiled.outputs))] for each in found)

        yield run


def _sizes(port: Any) -> tuple[int | None, ...]:
    return tuple(size.get_length() if size.is_static else None for size in port.get_partial_shape())
