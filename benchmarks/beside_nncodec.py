# SPDX-License-Identifier: Apache-2.0
"""Ours beside NNCodec, the reference encoder of ISO/IEC 15938-17: bytes at equal quality, nothing trained.

    python -m benchmarks.beside_nncodec resnet20 resnet56 vgg16        writes results/nncodec-NAME/

Needs GOSSAMER_DATA, and GOSSAMER_NNCODEC: the folder that nncodec_setup.sh made. Work in progress lies under
GOSSAMER_RUNS; a point that is there is not measured again.

Both sides sweep their one dial. NNCodec has dependent quantization on, batch norms folded, and the better of its two
ways of choosing quantization parameters (one for all tensors, or by the tensor's size and spread). The sizes compared
are those of all weights and whatever else is needed to rebuild them: the bitstream; of our file, all sections but the
graph's, which NNCodec does not carry.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import lite0
from benchmarks.filing import file_circumstances, folder_in
from benchmarks.rate_curves import RANGE, Point, rate_ratios
from gossamer import container
from gossamer.data.images import Split
from gossamer.described_task import task_from
from gossamer.files import read_json, write_json
from gossamer.graph import Network, trace
from gossamer.measure.quality import qualities
from gossamer.recipes.post_training import Rounding, calibration_batches, plan_of
from gossamer.runtime.export import export_onnx
from gossamer.search.candidate import write_network
from gossamer.task import Task

ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).with_name("nncodec_worker.py")
IMAGES = 500

Settings = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Subject:
    """A network to compress: where it comes from, our strengths, and NNCodec's parameters without and with opt_qp."""

    task: Callable[[Path], Task]
    strengths: Sequence[float]
    parameters: Sequence[int]
    tensorwise: Sequence[int]
    nonweight: int = -40  # NNCodec's parameter of biases: on ResNet-20, -75 took 2 % more bytes, -30 cost quality
    pooled: bool = False  # measured on selection and test together: too few images to halve


def _cifar(name: str, weights: str) -> Callable[[Path], Task]:
    """With weights of the data folder, or of a baseline that was trained here and is filed."""
    ours = ROOT / "results" / weights / "model.gossamer"
    return lambda data: task_from(
        data=f"cifar10:{data / 'cifar10'}",
        model=name,
        weights=data / "weights" / "cifar10" / weights if weights.endswith(".th") else ours,
        preset="cifar10-imagenet-stats",
    )


SUBJECTS = {
    "resnet20": Subject(
        _cifar("resnet20", "resnet20-12fca82f.th"),
        (0.001, 0.002, 0.004, 0.006, 0.008, 0.011, 0.016, 0.022, 0.03),
        (-30, -28, -26, -25, -24, -23, -22),
        (-35, -33, -31, -30, -29, -28, -27, -26, -25, -24, -23),
    ),
    "resnet56": Subject(
        _cifar("resnet56", "resnet56-4bfd9763.th"),
        (0.001, 0.002, 0.003, 0.006, 0.008, 0.011, 0.014, 0.017, 0.02, 0.025, 0.035),
        (-30, -27, -25, -24, -23, -22, -21, -20, -19),
        (-34, -31, -29, -27, -25, -24, -23, -22, -21, -20),
    ),
    "vgg16": Subject(
        _cifar("vgg16_bn", "vgg16-baseline"),
        (0.001, 0.003, 0.006, 0.01, 0.015, 0.022, 0.03, 0.045, 0.065, 0.1),
        (-30, -27, -25, -23, -21, -19, -17, -15),
        (-34, -31, -28, -26, -24, -22, -20, -18),
    ),
    "mobilenetv2": Subject(
        _cifar("mobilenetv2", "mobilenetv2-baseline"),
        (0.0005, 0.001, 0.002, 0.004, 0.006, 0.009, 0.013, 0.018, 0.025, 0.035),
        (-34, -31, -29, -27, -25, -24, -23, -21),
        (-38, -35, -32, -30, -28, -26, -24, -22),
    ),
    "lite0": Subject(
        lite0.task_of,
        (0.00003, 0.0001, 0.0005, 0.002, 0.004, 0.006, 0.01, 0.016),
        (-42, -38, -34, -31, -29, -27, -25),
        (-46, -43, -40, -37, -35, -33, -31),
        nonweight=-75,  # its default: -40 cost two points at any rate
        pooled=True,
    ),
}


def main() -> int:
    """Measure the networks named, or all."""
    data, peer = (folder_in(name) for name in ("GOSSAMER_DATA", "GOSSAMER_NNCODEC"))
    names = sys.argv[1:] or list(SUBJECTS)
    if unknown := sorted(set(names) - SUBJECTS.keys()):
        raise SystemExit(f"expected networks of {', '.join(SUBJECTS)}, got {', '.join(unknown)}")
    for name in names:
        compare(name, SUBJECTS[name], data, peer)
    return 0


def compare(name: str, subject: Subject, data: Path, peer: Path) -> None:
    """Both curves of one network, and what they say."""
    work = Path(os.environ.get("GOSSAMER_RUNS", ROOT / "runs")) / f"nncodec-{name}"
    work.mkdir(parents=True, exist_ok=True)
    task = subject.task(data)
    network = trace(task.model.eval(), task.example)
    judge = Judge(task, export_onnx(network.module, network.example))
    points = list(ours(network, judge, subject, work)) + list(theirs(network, judge, subject, work, peer))
    share = len(task.selection) / (len(task.selection) + len(task.test)) if subject.pooled else 0.0
    results = ROOT / "results" / f"nncodec-{name}"
    write_json(
        results / "curves.json",
        {
            "network": name,
            "fp32_bytes": 4 * network.parameters,
            "calibration_images": min(IMAGES, len(task.calibration)),
            "selection": {"images": len(task.selection), "quality": judge.quality("selection")},
            "test": {"images": len(task.test), "quality": judge.quality("test")},
            "measured_on": "selection and test" if subject.pooled else "test",
            "range_points": RANGE,
            "rate_ratio": rate_ratios(points, share),
            "points": [asdict(point) for point in points],
        },
    )
    file_circumstances(results, f"python -m benchmarks.beside_nncodec {name}")
    print(json.dumps(read_json(results / "curves.json")["rate_ratio"], indent=1), flush=True)


class Judge:
    """Right answers lost against the original, on both splits."""

    def __init__(self, task: Task, original: bytes) -> None:
        self.task = task
        self._original = {split.name: qualities(task, split, original) for split in (task.selection, task.test)}

    def quality(self, split: str) -> float:
        """Of the original."""
        return float(self._original[split].mean())

    def drops(self, model: bytes) -> dict[str, float]:
        """By split, as fractions."""

        def drop(split: Split) -> float:
            return self.quality(split.name) - float(qualities(self.task, split, model).mean())

        return {"selection_drop": drop(self.task.selection), "test_drop": drop(self.task.test)}


def _point(file: Path, measure: Callable[[], Point]) -> Point:
    """A measured point, from its file where it is there."""
    if not file.exists():
        write_json(file, asdict(measure()))
    point = Point(**read_json(file))
    print(f"{point.side:<10} {point.setting} {point.bytes:,} bytes, {100 * point.test_drop:+.2f} points", flush=True)
    return point


# --- the two sides


def ours(network: Network, judge: Judge, subject: Subject, work: Path) -> Iterator[Point]:
    """Rate-distortion quantization at each strength, as written to a file and read back."""
    rounding = Rounding(network, list(network.layers), calibration_batches(network, judge.task, IMAGES, print))

    def measure(strength: float) -> Point:
        rounded, units = rounding.at(strength)
        folder = work / f"strength-{strength:g}"
        model = write_network(folder, rounded, plan_of(units), judge.task, units)
        file = container.read(folder / "model.gossamer")
        graph = sum(place.length for place in file.places if place.name == "graph")
        return Point("ours", {"strength": strength}, file.bytes - graph, **judge.drops(model))

    for strength in subject.strengths:
        yield _point(work / f"ours-{strength:g}.json", lambda strength=strength: measure(strength))  # type: ignore[misc]


def theirs(network: Network, judge: Judge, subject: Subject, work: Path, peer: Path) -> Iterator[Point]:
    """NNCodec at each setting, its decoded tensors put back into the network."""
    ways = [("one qp", {}, subject.parameters), ("qp by tensor", {"opt_qp": True}, subject.tensorwise)]
    settings = [
        (side, {"qp": qp, "nonweight_qp": subject.nonweight} | option) for side, option, qps in ways for qp in qps
    ]
    folder = work / "peer"
    folder.mkdir(exist_ok=True)
    tensors = {name: value.numpy() for name, value in network.module.state_dict().items() if value.is_floating_point()}
    np.savez(folder / "network.npz", **tensors)
    write_json(folder / "blocks.json", blocks(network, tensors))
    wanted = [dict(setting) for _, setting in settings]
    asked = folder / "settings.json"
    if not (folder / "sizes.json").exists() or not asked.exists() or read_json(asked) != wanted:
        write_json(asked, wanted)
        with (folder / "log.txt").open("w") as log:
            command = [peer / "bin" / "python", WORKER, folder]
            subprocess.run(command, check=True, stdout=log, stderr=log)
    sizes = read_json(folder / "sizes.json")

    def measure(number: int, side: str, setting: Mapping[str, Any]) -> Point:
        model = export_onnx(rebuilt(network, folder / f"{number}.npz").module, network.example)
        return Point(f"NNCodec, {side}", setting, sizes[number]["bytes"], **judge.drops(model))

    for number, (side, setting) in enumerate(settings):
        yield _point(
            work / f"theirs-{side.replace(' ', '-')}{setting['qp']}.json",
            lambda number=number, side=side, setting=setting: measure(number, side, setting),  # type: ignore[misc]
        )


def blocks(network: Network, names: Sequence[str] | Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What NNCodec needs to know to fold a batch norm: the type of each tensor and the block it belongs to."""
    kinds: dict[str, str] = {}
    owner: dict[str, str] = {}
    for layer in network.layers:
        block = layer.name.removesuffix(".weight")
        parts = {layer.name: "weight"}
        if f"{block}.bias" in names:
            parts[f"{block}.bias"] = "bias"
        if layer.norm:
            norm = layer.norm
            known = {norm.weight: "bn.gamma", norm.bias: "bn.beta", norm.mean: "bn.mean", norm.var: "bn.var"}
            parts |= {name: kind for name, kind in known.items() if name}
        kinds |= parts
        owner |= dict.fromkeys(parts, block)
    return {"parameter_type": kinds, "block_identifier": owner}


def rebuilt(network: Network, decoded: Path) -> Network:
    """The network with decoded tensors; where a batch norm was folded, it is left to add the bias."""
    result = network.copy()
    values = result.module.state_dict()
    norms = {layer.name: layer.norm for layer in network.layers if layer.norm}
    with np.load(decoded) as pack, torch.no_grad():
        for name in pack.files:
            tensor = torch.from_numpy(pack[name])
            norm = norms.get(name.removesuffix(".bias")) if name not in values else None
            if name in values:
                values[name].copy_(tensor.reshape(values[name].shape))
            elif norm is None or not (norm.weight and norm.bias):
                raise ValueError(f"expected tensors of the network from NNCodec, got '{name}'")
            else:
                values[norm.weight].fill_(1.0)
                values[norm.bias].copy_(tensor)
                values[norm.mean].fill_(0.0)
                values[norm.var].fill_(1.0 - norm.eps)
    return result


if __name__ == "__main__":
    sys.exit(main())
