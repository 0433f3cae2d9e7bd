# SPDX-License-Identifier: Apache-2.0
"""The two ends of `benchmarks/aarch64.sh`: what goes into the bundle, and what is kept of the emulated board.

    python -m benchmarks.aarch64_check given FOLDER               FastestDet as published, with two pictures of people
    python -m benchmarks.aarch64_check file WORK CPU COMMAND      writes results/aarch64/

The pictures are of data without a licence: they are not kept, their SHA-256 are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.filing import file_circumstances
from gossamer.files import read_json, sha256, write_atomically, write_json

RESULTS = Path(__file__).resolve().parent.parent / "results" / "aarch64"
WEIGHTS, PEOPLE = "weights/detection/fastestdet_coco_ap05_0.253.pth", "pedestrians/pedestrians.npz"
ERROR = 0.03  # of every number, times the root mean square of its tensor
PICTURES = (3, 40)  # of the test split: three people, and one
SIDES = ("x1", "y1", "x2", "y2")
OF_THE_EMULATOR = ("os", "python", "onnxruntime", "numpy")  # the rest of a machine's description is the host's


def main() -> int:
    """One of the two."""
    if sys.argv[1] == "given":
        given(Path(os.environ["GOSSAMER_DATA"]), Path(sys.argv[2]))
    else:
        file(Path(sys.argv[2]), sys.argv[3], sys.argv[4])
    return 0


def given(data: Path, folder: Path) -> None:
    """network.gossamer and pictures/."""
    import torch

    from gossamer import container
    from gossamer.plan import Plan
    from gossamer.quantize.near_lossless import near_lossless
    from gossamer.runtime.export import export_onnx
    from gossamer.runtime.weights import split_weights
    from gossamer.zoo.detectors import detector_preprocess
    from gossamer.zoo.fastestdet import FastestDet
    from gossamer.zoo.weight_files import load_weights

    model = FastestDet(classes=1)
    load_weights(model, data / WEIGHTS)
    preprocess = detector_preprocess("fastestdet")
    assert preprocess is not None
    graph, weights = split_weights(export_onnx(model.eval(), torch.zeros(2, *preprocess.shape)))
    plan = Plan().in_file() | {"head": model.head.to_json(), "error": ERROR}
    payload = container.Payload(graph, near_lossless(weights, ERROR), preprocess.to_json(), ("person",), plan)
    container.write(folder / "network.gossamer", payload, {})
    with np.load(data / PEOPLE) as pack:
        jpeg, offsets, test = pack["jpeg"], pack["offsets"], np.flatnonzero(pack["test"])
    for place in test[list(PICTURES)].tolist():
        content = jpeg[offsets[place] : offsets[place + 1]].tobytes()
        write_atomically(folder / "pictures" / f"people-{place}.jpg", content)


def file(work: Path, cpu: str, command: str) -> None:
    """checks.json, log.txt, and the circumstances."""
    board = work / "root" / "home" / "board"
    check, expected = read_json(board / "check.json"), read_json(board / "expected.json")
    there, here = _rows(board / "found" / "detections.jsonl"), _rows(work / "here.jsonl")
    emulator = subprocess.run(["qemu-aarch64-static", "--version"], capture_output=True, text=True, check=True).stdout
    network = (board / expected["network"]).read_bytes()
    found = {
        "emulator": emulator.splitlines()[0],
        "cpu": cpu,
        **{name: check["machine"][name] for name in OF_THE_EMULATOR},
        "network_bytes": len(network),
        "network_sha256": sha256(network),
        "decoded_sha256": {"here": expected["decoded_sha256"], "there": check["decoded_sha256"]},
        "tolerance": check["tolerance"],
        "pictures": {
            name: row | {"sha256": expected["pictures"][name]["sha256"]} for name, row in check["pictures"].items()
        },
        "boxes_drawn": _lists(there, here),
        "same": check["same"] and _lists(there, here)["same"],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS / "checks.json", found)
    write_atomically(RESULTS / "log.txt", (work / "log.txt").read_bytes())
    file_circumstances(RESULTS, command)
    print(f"{RESULTS / 'checks.json'}: {'the same' if found['same'] else 'NOT the same'}")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _lists(there: list[dict[str, Any]], here: list[dict[str, Any]]) -> dict[str, Any]:
    """What `gossamer detect` and the bundle's `run.sh` list of the same pictures, scores to 4 digits, pixels to 1."""
    alike = [(row["file"], row["class"]) for row in there] == [(row["file"], row["class"]) for row in here]
    if not alike:
        return {"there": len(there), "here": len(here), "same": False}
    pairs = list(zip(there, here, strict=True))
    score = max((abs(a["score"] - b["score"]) for a, b in pairs), default=0.0)
    pixels = max((abs(a[side] - b[side]) for a, b in pairs for side in SIDES), default=0.0)
    same = score <= 2e-4 and pixels <= 0.2
    return {"there": len(there), "here": len(here), "score": round(score, 4), "pixels": round(pixels, 1), "same": same}


if __name__ == "__main__":
    sys.exit(main())
