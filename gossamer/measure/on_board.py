# SPDX-License-Identifier: Apache-2.0
"""Times the networks of a bundle on the machine that it was copied to. Needs numpy and onnxruntime, nothing else.

    python3 on_board.py [--rounds 200] [--threads 1]        writes board.json beside itself

The networks take turns, one run each a round, in an order that rotates; the ratio is the median of the ratios of each
round. Where the bundle has images, it also counts how many answers differ from those of the machine that packed it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 20


def main() -> int:
    """Measure, and write board.json."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.rounds < 1 or options.threads < 1:
        parser.error("expected at least one round and one thread")
    bundle = json.loads((here / "bundle.json").read_text(encoding="utf-8"))
    found = measure(here, bundle, options.rounds, options.threads)
    part = here / "board.json.part"
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(part, here / "board.json")
    for name, row in found["networks"].items():
        differ = "" if row["different_answers"] is None else f", {row['different_answers']} answers differ"
        print(f"{name}: {row['median_ms']:.3f} ms, opened in {row['open_ms']:.0f} ms{differ}")
    print(f"{here / 'board.json'}: bring it back")
    return 0


def measure(folder: Path, bundle: dict[str, Any], rounds: int, threads: int) -> dict[str, Any]:
    """What this machine is, and what each network takes on it."""
    import onnxruntime

    sessions: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, known in bundle["networks"].items():
        model = (folder / known["file"]).read_bytes()
        if hashlib.sha256(model).hexdigest() != known["sha256"]:
            raise SystemExit(f"expected {known['file']} as it was packed, got another file; copy the bundle again")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        start = time.perf_counter()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: np.zeros(bundle["shape"], np.float32)})
        rows[name] = {"open_ms": 1000 * (time.perf_counter() - start)}  # until the first answer
        sessions[name] = session
    times = _in_turns(sessions, np.random.default_rng(0).standard_normal(bundle["shape"], np.float32), rounds)
    first = next(iter(times))
    for name, row in rows.items():
        p10, median, p90 = (float(value) for value in np.percentile(times[name], (10, 50, 90)))
        ratio = float(np.median(times[first] / times[name]))
        row |= {"median_ms": median, "p10_ms": p10, "p90_ms": p90, "times_as_fast": ratio}
        row["different_answers"] = _different(folder, bundle, name, sessions[name])
    machine = {
        "machine": platform.machine(),
        "system": operating_system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "threads": threads,
        "rounds": rounds,
        "peak_memory_bytes": peak_memory(),
    }
    return {"version": 1, "bundle": bundle["id"], "board": machine, "images": bundle["images"], "networks": rows}


def _in_turns(sessions: dict[str, Any], x: Any, rounds: int) -> dict[str, Any]:
    """Milliseconds of each round, (rounds,) by name."""
    names = list(sessions)
    inputs = {name: {sessions[name].get_inputs()[0].name: x} for name in names}
    times = {name: np.empty(rounds) for name in names}
    for k in range(-WARM_UP, rounds):
        turn = k % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter_ns()
            sessions[name].run(None, inputs[name])
            if k >= 0:
                times[name][k] = (time.perf_counter_ns() - start) / 1e6
    return times


def _different(folder: Path, bundle: dict[str, Any], name: str, session: Any) -> int | None:
    """How many images get another class, anywhere in them, than where the bundle was packed; None without images."""
    if not bundle["images"]:
        return None
    with np.load(folder / "images.npz", allow_pickle=False) as pack:
        images, expected = pack["images"], pack[f"answers of {name}"]
    entry, size = session.get_inputs()[0].name, bundle["shape"][0]
    found = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        filled = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
        found.append(_classes(session.run(None, {entry: filled})[0])[: len(batch)])
    differs = np.concatenate(found) != expected
    return int(np.count_nonzero(differs.reshape(len(differs), -1).any(axis=1)))


def _classes(outputs: Any) -> Any:
    """The class of each image, (N, classes) -> (N,), or of each pixel, (N, 1 or classes, H, W) -> (N, H, W)."""
    if outputs.ndim == 4 and outputs.shape[1] == 1:
        return (outputs[:, 0] > 0).astype(np.uint8)
    return outputs.argmax(axis=1)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    known = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "model\t"))]
    return known[0] if known else platform.processor()


def operating_system() -> str:
    """Name, version and libraries, without what an owner or a distribution appended to the version of the kernel."""
    release = platform.release()
    return platform.platform().replace(release, release.partition("-")[0], 1)


def peak_memory() -> int | None:
    """The largest resident set of this process so far, in bytes; None where the system does not say.

    Linux's getrusage counts what the process was forked from: its own peak is in /proc.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        return 1024 * int(found[1]) if found else None
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)


if __name__ == "__main__":
    sys.exit(main())
