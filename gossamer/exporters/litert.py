# SPDX-License-Identifier: Apache-2.0
"""LiteRT, formerly TensorFlow Lite: .tflite for Android, iOS, small Linux boards and microcontrollers.

Converted from PyTorch by litert-torch (https://github.com/google-ai-edge/litert-torch). Pictures go in with their
channels last, (1, H, W, C), as TensorFlow has them. int8 networks stay int8, from their input on: that is a tensor of
integers, and the caller rounds. The converter leaves up-convolutions in floats, and layers whose output is not rounded.
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

PACKAGE, RUNTIME = "litert-torch", "ai-edge-litert"


@dataclass(frozen=True)
class LiteRT:
    """litert-torch translates, the interpreter of ai-edge-litert runs, with XNNPACK as on a telephone."""

    name: ClassVar[str] = "litert"
    ending: ClassVar[str] = ".tflite"

    def runtime(self) -> str:
        return f"LiteRT {version(RUNTIME)}"

    def export(self, model: bytes, example: Array) -> Exported:
        converter = imported("litert_torch", PACKAGE, self.name)
        from gossamer.exporters.plain_torch import plain_graph

        with translating(PACKAGE, self.name):
            graph = plain_graph(model, example, self.name, channels_last=True, integer_weights=False)
            import torch

            pixels = torch.from_numpy(np.ascontiguousarray(example.transpose(0, 2, 3, 1)))
            config = _static_int8() if is_int8(model) else None
            content = converter.convert(graph, (pixels,), quant_config=config).model_content()
            interpreter = _opened(content)
            (given,) = interpreter.get_input_details()
            return Exported(
                {self.ending: content},
                _port(given, layout="NHWC"),
                tuple(_port(made) for made in interpreter.get_output_details()),
            )

    @contextmanager
    def opened(self, exported: Exported) -> Iterator[Run]:
        with translating(RUNTIME, self.name):
            interpreter = _opened(exported.files[self.ending])
            (given,), made = interpreter.get_input_details(), interpreter.get_output_details()

        def one(image: Array) -> list[Array]:
            interpreter.set_tensor(given["index"], exported.input.encoded(image[None]))
            interpreter.invoke()
            found = [interpreter.get_tensor(each["index"]) for each in made]
            return [port.decoded(value) for port, value in zip(exported.outputs, found, strict=True)]

        def run(images: Array) -> list[Array]:
            with translating(RUNTIME, self.name):
                return together(one(image) for image in images.transpose(0, 2, 3, 1))

        yield run


def _static_int8() -> Any:
    """Asks the converter for integers where the graph rounds; no range is measured anew."""
    quantizer = imported("litert_torch.quantize.pt2e_quantizer", PACKAGE, LiteRT.name)
    config = imported("litert_torch.quantize.quant_config", PACKAGE, LiteRT.name)
    symmetric = quantizer.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    return config.QuantConfig(pt2e_quantizer=quantizer.PT2EQuantizer().set_global(symmetric))


def _opened(content: bytes) -> Any:
    runtime = imported("ai_edge_litert.interpreter", RUNTIME, LiteRT.name)
    interpreter = runtime.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _port(details: Any, layout: str | None = None) -> Port:
    scale, zero = details["quantization"]
    dtype = np.dtype(details["dtype"])
    shape = tuple(int(size) for size in details["shape"])
    if dtype.kind == "f":
        return Port(details["name"], shape, layout=layout)
    return Port(details["name"], shape, dtype.name, float(scale), int(zero), layout)
