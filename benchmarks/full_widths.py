# SPDX-License-Identifier: Apache-2.0
"""Segmentation networks at their full widths: what the cuts found at a quarter of them are worth there.

    python -m benchmarks.full_widths          all claims that are filed; writes results/full-widths/widths.json

Two cores cannot train the full networks, but count and time them: every group keeps the share of its channels that its
plan keeps at a quarter of the widths, weights are as they come. Of each network, full and cut: parameters,
multiply-adds for a tile of 256x256, and milliseconds at batch 1, one thread, in float32 and int8, interleaved.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.filing import file_circumstances
from benchmarks.segmentation_claims import NETWORKS
from gossamer.files import read_json, write_json
from gossamer.graph import Network, trace
from gossamer.plan import Plan
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.runtime.export import export_onnx
from gossamer.runtime.latency import interleaved
from gossamer.runtime.session import open_session
from gossamer.zoo import ZOO, zoo_network

RESULTS = Path(__file__).resolve().parent.parent / "results"
WIDTH = 64
SIDE, ROUNDS, WARMUP = 256, 30, 3
RUNTIMES = ("onnxruntime", "openvino")


def main() -> int:
    """Measure and file."""
    found = {}
    for name, narrow in NETWORKS.items():
        plain, options = zoo_network(narrow.model)
        for folder in sorted(RESULTS.glob(f"{name}-importance-*")):
            plan = Plan.from_json(read_json(folder / "plan.json"))
            found[folder.name] = measured(ZOO[plain](**options | {"width": WIDTH}), plan)
            print(folder.name, found[folder.name], flush=True)
    if not found:
        print("expected results of a claim of importance weights, found none; run one first", file=sys.stderr)
        return 1
    write_json(RESULTS / "full-widths" / "widths.json", found)
    file_circumstances(RESULTS / "full-widths", "python -m benchmarks.full_widths")
    return 0


def measured(model: torch.nn.Module, plan: Plan) -> dict[str, Any]:
    """Sizes and times of a network, and of its cut by the shares of a plan that is of a narrower form of it."""
    network = trace(model.eval(), torch.zeros(1, 3, SIDE, SIDE))
    smaller = network.cut(kept(network, plan))
    return {
        "parameters": [network.parameters, smaller.parameters],
        "macs": [network.macs, smaller.macs],
        "ms": {runtime: times(network, smaller, runtime) for runtime in RUNTIMES},
    }


def kept(network: Network, plan: Plan) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """The channels of each group, the first ones, as many as the share that the plan keeps of the group of its name."""
    shares = {name: float(row.mean()) for name, row in plan.keep().items()}
    sizes = {group.name: group for group in network.groups}
    if unknown := sorted(shares.keys() - sizes.keys()):
        raise ValueError(f"expected a plan for a narrower form of the network, it has no group '{unknown[0]}'")
    counts = {name: sizes[name].whole(round(share * sizes[name].size)) for name, share in shares.items()}
    return {name: np.arange(sizes[name].size) < count for name, count in counts.items()}


def times(network: Network, smaller: Network, runtime: str) -> Mapping[str, float]:
    """Median milliseconds of both in float32 and of the cut in int8, and how many times as fast the latter are."""
    x = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    full, cut = (export_onnx(one.module, one.example) for one in (network, smaller))
    models = {"full": full, "cut": cut, "cut, int8": quantize_int8(cut, [x])}
    turns = interleaved({name: open_session(made, runtime, 1) for name, made in models.items()}, x, ROUNDS, WARMUP)
    ratios = {f"{name}, times as fast": turns.ratio("full", name).median for name in ("cut", "cut, int8")}
    return {name: round(value, 3) for name, value in ({n: turns[n].median for n in models} | ratios).items()}


if __name__ == "__main__":
    sys.exit(main())
