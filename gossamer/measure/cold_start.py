# SPDX-License-Identifier: Apache-2.0
"""Cold start: from a network's file to its first answer, and the memory that the process has taken by then.

Each measurement is a process of its own, files in turns: `python -m gossamer.measure.cold_start FILE RUNTIME THREADS`
reads the file (decoding it where it is a .gossamer), opens it in the runtime and runs one image of zeros. Imports are
not timed: they are the program's, not the network's. Memory is the largest that the process ever held, libraries
included: what they alone take is told beside it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gossamer.measure.on_board import peak_memory
from gossamer.runtime.lock import latency_lock

WARM_UP, ROUNDS = 1, 3  # processes for each network; those that warm up the disk's memory are not counted


@dataclass(frozen=True)
class ColdStart:
    """Medians over the processes: milliseconds to the first answer, and peak memory, of which `libraries` before it.

    `ms_range` and `peak_range`: the least and the most of any process.
    """

    ms: float
    peak_bytes: int | None
    libraries_bytes: int | None
    ms_range: tuple[float, float]
    peak_range: tuple[int, int] | None


def cold_starts(files: Mapping[str, Path], runtime: str = "onnxruntime", threads: int = 1) -> dict[str, ColdStart]:
    """Networks by name, .onnx or .gossamer -> what each takes; processes in turns."""
    found: dict[str, list[dict[str, float | None]]] = {name: [] for name in files}
    with latency_lock():
        for number in range(WARM_UP + ROUNDS):
            for name, file in files.items():
                command = [sys.executable, "-m", __name__, str(file), runtime, str(threads)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    said = [f"it ended with status {done.returncode}", *done.stderr.strip().splitlines()]
                    raise ValueError(f"expected {file} to run in {runtime}, got: {said[-1]}")
                if number >= WARM_UP:
                    found[name].append(json.loads(done.stdout))
    return {name: _medians(rows) for name, rows in found.items()}


def _medians(rows: Sequence[Mapping[str, float | None]]) -> ColdStart:
    def of(key: str) -> list[float]:
        return [value for row in rows if (value := row[key]) is not None]

    ms, peak, libraries = of("ms"), of("peak_bytes"), of("libraries_bytes")
    return ColdStart(
        float(np.median(ms)),
        int(np.median(peak)) if peak else None,
        int(np.median(libraries)) if libraries else None,
        (min(ms), max(ms)),
        (int(min(peak)), int(max(peak))) if peak else None,
    )


def main(arguments: Sequence[str]) -> int:
    """One measurement, as JSON on standard output."""
    from gossamer.measure.bench import input_shape, network_bytes
    from gossamer.runtime.session import open_session

    file, runtime, threads = Path(arguments[0]), arguments[1], int(arguments[2])
    wanted = [runtime, "numba"] if file.suffix == ".gossamer" else [runtime]
    for library in wanted:
        if importlib.util.find_spec(library):
            importlib.import_module(library)
    libraries = peak_memory()
    start = time.perf_counter()
    model = network_bytes(file)
    session = open_session(model, runtime, threads)
    shape = input_shape(model, 1, None)  # of the decoded graph; takes a fraction of a millisecond
    session.run(np.zeros(shape, np.float32))
    elapsed = 1000 * (time.perf_counter() - start)
    print(json.dumps({"ms": elapsed, "peak_bytes": peak_memory(), "libraries_bytes": libraries}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
