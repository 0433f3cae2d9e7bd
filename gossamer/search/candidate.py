# SPDX-License-Identifier: Apache-2.0
"""Candidate: one network that the search considers, written to its file and measured there.

steps/NN-name/plan.json            what becomes of the original
steps/NN-name/weights.safetensors  the trained values of the cut network
steps/NN-name/model.gossamer       the file that would be delivered
steps/NN-name/measurement.json     what that file measures, written last: with it the candidate is complete
best.json                          which of them would be delivered if all were proven: what a killed run leaves
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer import container
from gossamer.coding import CHOICES, smallest
from gossamer.files import read_json, write_json
from gossamer.graph import Layer, Network
from gossamer.measure.quality import qualities
from gossamer.measure.sizes import FLOAT_BYTES, Sizes, sizes, zeros
from gossamer.measure.working_memory import working_memory
from gossamer.plan import Plan
from gossamer.quantize.folding import settle
from gossamer.quantize.integers import MANTISSA_BITS, Shared, tensors
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.runtime.export import export_onnx
from gossamer.runtime.weights import split_weights
from gossamer.search.board import board_of, predicted
from gossamer.search.claims import most_claims_bytes
from gossamer.search.judge import Verdict, judge, judge_fit
from gossamer.search.run import Run
from gossamer.task import Task
from gossamer.tuning.checkpoint import load_weights, save_weights

Units = Mapping[str, NDArray[np.float32]]
CALIBRATION_BATCH = 50
BEST = "best.json"


@dataclass(frozen=True)
class Candidate:
    """A finished candidate; sizes in bytes, quality a fraction of the selection split.

    `speedup` and `smaller`: times, against the original, the latter of its float32 values. `ram_bytes`: working memory
    (`measure.working_memory`), None where it was not known, or not yet recorded.
    """

    name: str
    folder: Path
    sizes: Sizes
    parameters: int
    nonzeros: int
    macs: int
    verdict: Verdict
    quality: float
    latency_ms: float | None
    speedup: float | None
    smaller: float
    ram_bytes: int | None = None

    def cost(self, minimise: str) -> float:
        """What the goal wants small: bytes of the file, milliseconds, or multiply-adds."""
        if minimise == "latency":
            assert self.latency_ms is not None
            return self.latency_ms
        return float(self.sizes.coded if minimise == "bytes" else self.macs)

    def rank(self, minimise: str) -> tuple[float, int]:
        """The lower the better: what the goal wants small, and where that is the same, bytes of the file."""
        return self.cost(minimise), self.sizes.coded

    def limited(self, run: Run) -> dict[str, float | None]:
        """Its costs by the names of a goal's limits."""
        return limited(run, self.sizes.coded, self.macs, self.latency_ms, self.ram_bytes)

    @property
    def plan(self) -> Plan:
        """What becomes of the original."""
        return Plan.from_json(read_json(self.folder / "plan.json"))

    @property
    def file(self) -> Path:
        """The .gossamer file."""
        return self.folder / "model.gossamer"

    def onnx(self) -> bytes:
        """The network as a runtime reads it: decoded from the file."""
        return container.to_onnx(container.read(self.file).payload)

    def save(self) -> None:
        """Write the measurement, which completes the candidate."""
        value = asdict(self) | {"folder": self.folder.name}
        write_json(self.folder / "measurement.json", value)

    @classmethod
    def load(cls, folder: Path) -> Candidate | None:
        """The candidate in `folder`, or None where it is not complete."""
        path = folder / "measurement.json"
        if not path.exists():
            return None
        return cls.of(read_json(path) | {"folder": folder})

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Candidate:
        """The candidate of these fields as JSON has them."""
        return cls(**{**value, "sizes": Sizes(**value["sizes"]), "verdict": Verdict(**value["verdict"])})


def limited(
    run: Run, coded: int, macs: int, latency_ms: float | None, ram_bytes: int | None
) -> dict[str, float | None]:
    """Costs by the names of a goal's limits; of bytes, with the most that the certificate adds to the file."""
    return {"bytes": coded + most_claims_bytes(run), "macs": macs, "latency": latency_ms, "ram": ram_bytes}


def ram_bytes_of(run: Run, model: bytes) -> int | None:
    """The working memory of a network in ONNX; None, and a note, where it is not known and nobody limits it."""
    try:
        return working_memory(model).bytes
    except ValueError as error:
        if "ram" in run.goal.fit:
            raise
        run.note(f"the working memory is not told: {error}")
        return None


def finished(run: Run) -> list[Candidate]:
    """Every candidate that stands on disk, in the order of the steps."""
    steps = run.folder / "steps"
    folders = [path.parent for path in steps.rglob("measurement.json")]
    folders.sort(key=lambda folder: (step_of(run, folder), str(folder)))
    return [candidate for folder in folders if (candidate := Candidate.load(folder)) is not None]


def keep_best(run: Run) -> None:
    """Write down which accepted candidate on disk is the best: its file, its bytes, and what the selection split said.

    It is the one that gains most; within limits, the one of the best quality. Nothing is proven of it yet.
    """
    accepted = [candidate for candidate in finished(run) if candidate.verdict.accepted]
    if not accepted:
        return
    if run.goal.fit:
        best = max(accepted, key=lambda candidate: candidate.quality)
    else:
        best = min(accepted, key=lambda candidate: candidate.rank(run.goal.minimise))
    found = {
        "path": best.file.relative_to(run.folder).as_posix(),
        "bytes": best.sizes.coded,
        "verdict": asdict(best.verdict),
    }
    write_json(run.folder / BEST, found)


def step_of(run: Run, folder: Path) -> int:
    """The number of the step that a candidate's folder belongs to."""
    return int(folder.relative_to(run.folder / "steps").parts[0].partition("-")[0])


def reopened(run: Run, candidate: Candidate) -> Network:
    """The network of a candidate with its trained values."""
    keep = candidate.plan.keep()
    network = run.network.cut(keep) if keep else run.network.copy()
    load_weights(candidate.folder / "weights.safetensors", network.module)
    return network


def coded_layers(run: Run, network: Network) -> list[Layer]:
    """The layers whose weights stand beside the exported graph under their own names; the others stay float32.

    `network` is the run's, or a cut of it. A single weight, of a layer from one channel to one, stays in the graph.
    """
    if others := sorted({layer.name for layer in run.network.layers} - run.exported_weights):
        run.note(f"weights that the network computes from its parameters stay float32: {', '.join(others)}")
    return [layer for layer in network.layers if layer.name in run.exported_weights and math.prod(layer.shape) > 1]


def finish(
    run: Run,
    folder: Path,
    name: str,
    network: Network,
    plan: Plan,
    units: Units | None = None,
    shared: Mapping[str, Shared] | None = None,
    choice: container.Choice | None = None,
    model: bytes | None = None,
    timed_as: Candidate | None = None,
) -> Candidate:
    """Write a network to its file, reopen the file, and measure it on the selection split.

    `units` gives the grid of each deployed weight, `shared` its codebook; with `plan.int8` the grids are those of
    int8 arithmetic. `choice` codes the integers, in place of what the run's settings ask for. `model`: the network in
    ONNX, where it is not simply exported. `timed_as`: a candidate with the same operators, whose times are taken over.
    """
    task, goal = run.task, run.goal
    choice = choice or CHOICES[run.settings.coding]
    model = write_network(folder, network, plan, task, units, shared, choice, model)
    quality = qualities(task, task.selection, model, goal.runtime)
    safest_flips = run.stage("flips of the safest", lambda: float(np.mean(run.original_quality() != quality)))
    found = sizes(network.parameters, model, (folder / "model.gossamer").stat().st_size)
    ram_bytes = ram_bytes_of(run, model)
    latency_ms = speedup = None
    if timed_as is not None:
        latency_ms, speedup = timed_as.latency_ms, timed_as.speedup
    elif goal.minimise == "latency":
        table = board_of(run)
        latency_ms, speedup = run.latency(model) if table is None else predicted(run, table, plan)
    if goal.fit:
        costs = limited(run, found.coded, network.macs, latency_ms, ram_bytes)
        verdict = judge_fit(goal, run.original_quality(), quality, costs)
    else:
        verdict = judge(goal, run.original_quality(), quality, len(task.test), run.look, safest_flips)
        untouched = not plan.channels and not plan.int8  # where nothing is faster, the original is the answer
        if verdict.accepted and speedup is not None and speedup <= 1 and not untouched:
            verdict = replace(verdict, accepted=False, note=f"not faster: {speedup:.2f}x in {goal.runtime}")
    candidate = Candidate(
        name=name,
        folder=folder,
        sizes=found,
        parameters=network.parameters,
        nonzeros=network.parameters - zeros(split_weights(model)[1]),
        macs=network.macs,
        verdict=verdict,
        quality=float(quality.mean()),
        latency_ms=latency_ms,
        speedup=speedup,
        smaller=FLOAT_BYTES * run.network.parameters / found.coded,
        ram_bytes=ram_bytes,
    )
    candidate.save()
    keep_best(run)
    run.watch.candidate(candidate.name, asdict(candidate))
    return candidate


def write_network(
    folder: Path,
    network: Network,
    plan: Plan,
    task: Task,
    units: Units | None = None,
    shared: Mapping[str, Shared] | None = None,
    choice: container.Choice = smallest,
    model: bytes | None = None,
) -> bytes:
    """Write plan, weights and file of a network; returns the ONNX bytes decoded from that file.

    Where the file rounds them, the network's own weights and biases become those of the file.
    """
    graph, weights = split_weights(model or deployed(network, task, int8=plan.int8))
    if lost := sorted({*(units or {}), *(shared or {})} - set(weights)):
        raise ValueError(f"expected the weight '{lost[0]}' in the exported graph, but it is not there under its name")
    rounded = units is not None or shared is not None
    stored = tensors(weights, units or {}, shared, mantissa_bits=MANTISSA_BITS if rounded else None)
    if rounded:
        settle(network, weights, {tensor.name: tensor.decoded() for tensor in stored})
    payload = container.Payload(
        graph=graph,
        tensors=stored,
        preprocess=task.preprocess.to_json(),
        classes=task.classes,
        plan=plan.in_file() | task.of_kind.in_file(),
    )
    write_json(folder / "plan.json", plan.to_json())
    save_weights(folder / "weights.safetensors", network.module)
    container.write(folder / "model.gossamer", payload, {}, choice)
    return container.to_onnx(container.read(folder / "model.gossamer").payload)


def deployed(network: Network, task: Task, *, int8: bool) -> bytes:
    """The network in ONNX, in float32 or in int8 arithmetic."""
    model = export_onnx(network.module, network.example)
    return in_int8(model, task) if int8 else model


def in_int8(model: bytes, task: Task, scales: Units | None = None) -> bytes:
    """A network in ONNX with int8 arithmetic, its ranges those of the calibration split.

    `scales`, (1,) or (channels,), by weight name: of grids that weights are on already.
    """
    images = (images for images, _ in task.numpy_batches(task.calibration, CALIBRATION_BATCH))
    return quantize_int8(model, images, units=scales)
