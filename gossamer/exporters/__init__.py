# SPDX-License-Identifier: Apache-2.0
"""A network as the files of other runtimes, each compared with the ONNX file in its own runtime before it is written.

    target = TARGETS["litert"]
    exported = target.export(model, example)      ONNX bytes, one batch (1, C, H, W) -> files, and their input
    with target.opened(exported) as run:
        outputs = run(images)                     (N, C, H, W) -> outputs, as the ONNX file gives them

    onnx         .onnx                  ONNX Runtime        int8: yes
    openvino     .xml, .bin             OpenVINO            int8: yes
    litert       .tflite                LiteRT              int8: yes, its input too
    executorch   .pte, for XNNPACK      ExecuTorch          int8: yes
    ncnn         .ncnn.param, .ncnn.bin ncnn                int8: no

One target a file. A converter is imported when its target is used, and says in a sentence where it is missing.
"""

from __future__ import annotations

from gossamer.exporters.executorch import ExecuTorch
from gossamer.exporters.exported import Exported as Exported
from gossamer.exporters.exported import Port as Port
from gossamer.exporters.exported import Target as Target
from gossamer.exporters.litert import LiteRT
from gossamer.exporters.ncnn import Ncnn
from gossamer.exporters.onnx_file import OnnxFile
from gossamer.exporters.openvino_ir import OpenVinoIR

TARGETS: dict[str, Target] = {
    "litert": LiteRT(),
    "executorch": ExecuTorch(),
    "ncnn": Ncnn(),
    "openvino": OpenVinoIR(),
    "onnx": OnnxFile(),
}
