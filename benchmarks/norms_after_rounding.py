# SPDX-License-Identifier: Apache-2.0
"""Whether batch norms are better estimated anew once weights are rounded, without training.

    python -m benchmarks.norms_after_rounding           measures, and writes the table of docs/methods/post-training.md
    python -m benchmarks.norms_after_rounding table     writes the table only

Needs GOSSAMER_DATA (docs/benchmarks.md). Writes results/norms-after-rounding/. Points lost are on the half of the test
images of CIFAR-10 that decisions are taken on. Rounding itself corrects each mean on its calibration images, 500 of
training as they are; the others change what it leaves:

    anew        means and variances are those of the rounded network on training images, augmented as in training
    by change   variances times, means plus, what rounding changed on the calibration images
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.filing import data_folder, file_circumstances, put_between
from gossamer.coding.costs import coded_bits, costs
from gossamer.described_task import task_from
from gossamer.files import read_json, write_json
from gossamer.graph import Network, TracedModule, trace
from gossamer.quantize.folding import fold_factors
from gossamer.quantize.post_training import RateDistortion
from gossamer.quantize.second_order import sensitivity
from gossamer.recipes.post_training import calibration_batches
from gossamer.task import Task
from gossamer.tuning.batch_norm import reestimate_batch_norms

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "norms-after-rounding"
PAGE = ROOT / "docs" / "methods" / "post-training.md"
BEGIN, END = "<!-- norms: made by `python -m benchmarks.norms_after_rounding` -->", "<!-- end of norms -->"
NETWORKS = {"resnet20": ("ResNet-20", "resnet20-12fca82f.th"), "resnet56": ("ResNet-56", "resnet56-4bfd9763.th")}
STRENGTHS = (0.001, 0.004, 0.008, 0.016)
IMAGES, BATCH, BATCHES = 500, 250, 16

Statistics = dict[str, Tensor]


def main() -> int:
    """Write points.json and the table."""
    if sys.argv[1:] != ["table"]:
        rows = [row for name in NETWORKS for row in network(name)]
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_json(RESULTS / "points.json", rows)
        file_circumstances(RESULTS, "python -m benchmarks.norms_after_rounding")
    put_between(PAGE, BEGIN, END, table())
    return 0


def network(name: str) -> Iterator[dict[str, Any]]:
    """A row for each strength."""
    data = data_folder()
    task = task_from(
        data=f"cifar10:{data}/cifar10",
        model=name,
        weights=f"{data}/weights/cifar10/{NETWORKS[name][1]}",
        preset="cifar10-imagenet-stats",
    )
    original = trace(task.model, task.example)
    calibration = calibration_batches(original, task, IMAGES, print)
    augmented = task.batches(task.calibration, BATCH, generator=torch.Generator().manual_seed(0), augment=True)
    seen = [inputs for inputs, _ in islice(augmented, BATCHES)]
    effects, before = sensitivity(original, calibration), quality(task, original)
    plain = _estimated(original, calibration)
    for strength in STRENGTHS:
        rounded, units = RateDistortion(strength).quantize(original, original.layers, calibration, effects, costs)
        factors = fold_factors(original.layers, rounded.tensors)
        bits = sum(
            coded_bits(np.rint((rounded.tensors[layer] * factors[layer]).detach().numpy() / unit).astype(np.int32))
            for layer, unit in units.items()
        )
        left, changed = _statistics(rounded.module), _estimated(rounded, calibration)
        by_change = {
            key: value * changed[key] / plain[key] if key.endswith("var") else value + changed[key] - plain[key]
            for key, value in _statistics(original.module).items()
        }
        forms = {"left": left, "anew": _estimated(rounded, seen), "by_change": by_change}
        lost = {form: before - quality(task, rounded, statistics) for form, statistics in forms.items()}
        yield {"network": name, "strength": strength, "bytes": round(bits / 8), **lost}
        print(name, strength, {form: f"{100 * drop:.2f}" for form, drop in lost.items()}, flush=True)


def quality(task: Task, network: Network, statistics: Statistics | None = None) -> float:
    """The share of the selection split that is right, with these statistics in place of the network's own."""
    copied = network.copy()
    for name, buffer in copied.module.named_buffers():
        if statistics and name in statistics:
            buffer.copy_(statistics[name])
    copied.module.eval()
    with torch.no_grad():
        right = [
            task.quality(copied.module(inputs).numpy(), targets.numpy())
            for inputs, targets in task.batches(task.selection, BATCH)
        ]
    return float(np.concatenate(right).mean())


def _statistics(module: TracedModule) -> Statistics:
    return {
        name: buffer.clone()
        for name, buffer in module.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    }


def _estimated(network: Network, batches: Sequence[Tensor]) -> Statistics:
    copied = network.copy()
    reestimate_batch_norms(copied.module, batches)
    return _statistics(copied.module)


def table() -> str:
    """The rows of points.json."""
    lines = [
        "| network | strength | kB of weights | as rounding leaves them | estimated anew | by what rounding changed |",
        "|---|---|---|---|---|---|",
    ]
    for row in read_json(RESULTS / "points.json"):
        lost = " | ".join(f"{100 * row[form]:.2f}" for form in ("left", "anew", "by_change"))
        lines.append(f"| {NETWORKS[row['network']][0]} | {row['strength']:g} | {row['bytes'] / 1000:.0f} | {lost} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
