# SPDX-License-Identifier: Apache-2.0
"""Networks stored as they are: bytes, and answers that change, at several error bounds.

    python -m benchmarks.near_lossless

Needs GOSSAMER_DATA (docs/benchmarks.md). Writes results/near-lossless/. The answers are those of the half of CIFAR-10's
test images that decisions are taken on; `zip_bytes` is zip of the float32 weights.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.filing import file_circumstances
from gossamer import container
from gossamer.described_task import task_from
from gossamer.files import write_json
from gossamer.measure.quality import qualities
from gossamer.measure.sizes import zipped_bytes
from gossamer.plan import Plan
from gossamer.quantize.near_lossless import near_lossless
from gossamer.runtime.export import export_onnx
from gossamer.runtime.weights import split_weights
from gossamer.task import Task

RESULTS = Path(__file__).resolve().parent.parent / "results" / "near-lossless"
NETWORKS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
ERRORS = (0.0, 1e-4, 1e-3, 1e-2, 3e-2)


def main() -> int:
    """Write sizes.json."""
    data = os.environ["GOSSAMER_DATA"]
    rows = []
    for name, weights in NETWORKS.items():
        path = f"{data}/weights/cifar10/{weights}"
        task = task_from(data=f"cifar10:{data}/cifar10", model=name, weights=path, preset="cifar10-imagenet-stats")
        rows += network(name, task)
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS / "sizes.json", rows)
    file_circumstances(RESULTS, "python -m benchmarks.near_lossless")
    return 0


def network(name: str, task: Task) -> list[dict[str, Any]]:
    """A row for each bound."""
    onnx = export_onnx(task.model, task.example)
    graph, weights = split_weights(onnx)
    before = qualities(task, task.selection, onnx, "onnxruntime")
    rows = []
    for error in ERRORS:
        plan = Plan().in_file() | {"error": error}
        payload = container.Payload(graph, near_lossless(weights, error), task.preprocess.to_json(), task.classes, plan)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.gossamer"
            container.write(file, payload, {})
            size, model = file.stat().st_size, container.to_onnx(container.read(file).payload)
        after = qualities(task, task.selection, model, "onnxruntime")
        row = {
            "network": name,
            "error": error,
            "bytes": size,
            "fp32_bytes": 4 * sum(value.size for value in weights.values()),
            "zip_bytes": zipped_bytes(weights),
            "images": len(before),
            "right_before": int(before.sum()),
            "right_after": int(after.sum()),
            "changed": int(np.sum(before != after)),
        }
        print(row, flush=True)
        rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
