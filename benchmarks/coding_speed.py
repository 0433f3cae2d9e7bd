# SPDX-License-Identifier: Apache-2.0
"""How fast files are written and read: each coder, and a whole ResNet-50.

    python -m benchmarks.coding_speed          writes results/coding-speed/

Needs no data: ResNet-50 has its initial weights, on grids of half a root mean square, which cost more bits and more
time than those of a compressed network. Seconds are of one thread's processor time, medians of five; megabytes are of
the float32 weights.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from benchmarks.filing import file_circumstances
from gossamer import container
from gossamer.coding import CODERS
from gossamer.files import write_json
from gossamer.quantize.integers import fine_unit, tensors
from gossamer.runtime.export import export_onnx
from gossamer.runtime.weights import split_weights

RESULTS = Path(__file__).resolve().parent.parent / "results" / "coding-speed"
TIMES, COARSENESS = 5, 0.5


def main() -> int:
    """Write speed.json."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None).eval()
    onnx = export_onnx(model, torch.zeros(1, 3, 224, 224))
    graph, weights = split_weights(onnx)
    units = {name: fine_unit(weight, COARSENESS) for name, weight in weights.items() if weight.ndim > 1}
    stored = tensors(weights, units)
    payload = container.Payload(graph, stored, {}, (), {})
    layer = max((t.integers for t in stored if t.integers is not None), key=lambda values: values.size)
    megabytes = 4 * sum(int(np.prod(t.shape)) for t in stored) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resnet50.gossamer"
        writing = seconds(lambda: container.write(file, payload, {}), 3)
        reading = seconds(lambda: container.read(file), 3)
        size = file.stat().st_size
    result = {
        "coders": {name: speed(name, layer) for name in CODERS},
        "weights_of_the_coders": layer.size,
        "resnet50": {
            "write_seconds": round(writing, 2),
            "read_seconds": round(reading, 2),
            "read_megabytes_per_second": round(megabytes / reading, 1),
            "bytes": size,
        },
    }
    write_json(RESULTS / "speed.json", result)
    file_circumstances(RESULTS, "python -m benchmarks.coding_speed")
    print((RESULTS / "speed.json").read_text(encoding="utf-8"))
    return 0


def speed(name: str, values: NDArray[np.int32]) -> dict[str, float]:
    """Megabytes a second of one coder, and what it needs."""
    coder = CODERS[name]
    data = coder.encode(values)
    coder.decode(data, values.shape)  # compiled now
    megabytes = 4 * values.size / 1e6
    return {
        "encode_megabytes_per_second": round(megabytes / seconds(lambda: coder.encode(values), TIMES), 1),
        "decode_megabytes_per_second": round(megabytes / seconds(lambda: coder.decode(data, values.shape), TIMES), 1),
        "bits_per_weight": round(8 * len(data) / values.size, 3),
    }


def seconds(work: Callable[[], object], times: int) -> float:
    """Median processor seconds."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
