# SPDX-License-Identifier: Apache-2.0
"""Training from nothing: the baselines that compression starts from, made by the same loop.

A teacher, a trained network for the same images, makes short trainings better: the network learns its outputs
(`tuning/distillation.py`).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.files import read_json, write_json
from gossamer.graph import trace
from gossamer.measure.quality import qualities
from gossamer.plan import Plan
from gossamer.runtime.export import export_onnx
from gossamer.search.claim import claim_folder, identity, weights_sha256
from gossamer.search.watch import Watch
from gossamer.task import Task
from gossamer.tuning import Batch, Numerics, Plug, Settings, fastest_numerics, tune
from gossamer.tuning.checkpoint import save_weights
from gossamer.tuning.distillation import Distillation
from gossamer.tuning.limits import check_device
from gossamer.tuning.scratch import forget

SMOOTHING = 0.1  # of labels, where nobody says
TRAINING_VERSION = 1


class Smoothing(Plug):
    """Cross entropy with smoothed labels (Szegedy et al., CVPR 2016, arXiv 1512.00567, section 7)."""

    def __init__(self, share: float) -> None:
        self.share = share

    def loss(self, outputs: Tensor, teacher_outputs: Tensor | None, batch: Batch) -> Tensor:
        """Outputs (N, classes) against targets (N,)."""
        return F.cross_entropy(outputs, batch.targets, label_smoothing=self.share)


def _plugs(task: Task, smoothing: float, teacher: nn.Module | None) -> tuple[Plug, ...]:
    if teacher is not None:
        return (Distillation(),)
    return (Smoothing(smoothing),) if task.kind == "classification" else ()


def train(
    task: Task,
    settings: Settings,
    *,
    out: Path,
    device: str = "cpu",
    smoothing: float | None = None,
    numerics: str | None = None,
    teacher: nn.Module | None = None,
    plan: Plan | None = None,
    watch: Watch | None = None,
) -> float:
    """Train the task's network; returns its quality on the selection split, measured on the exported file.

    Writes weights.safetensors and history.json into `out`, which must be empty or hold this very training: an
    interrupted call made again goes on, a finished one returns what it measured. With a teacher, which reads the
    same preprocessed images, its outputs take the place of smoothed labels. `smoothing` of labels is 0.1 where it is
    not given; pixels and objects have none. `plan`: only the channels that it keeps are trained, from random weights;
    this is the control that says whether pruning found more than a shape (`tuning/scratch.py`).
    """
    watch = watch or Watch()
    check_device(device)
    if smoothing is not None and (teacher is not None or task.kind != "classification"):
        why = "with a teacher" if teacher is not None else f"for {task.kind}"
        raise ValueError(f"expected no smoothing {why}, got {smoothing}; only labels are smoothed, leave it out")
    smoothing = SMOOTHING if smoothing is None else smoothing
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be a share in [0, 1), got {smoothing}; {SMOOTHING} is usual")
    given = Numerics.parse(numerics) if numerics else None
    network = trace(task.model, task.example)
    if plan is not None:
        network = network.cut(plan.keep())
        forget(network, settings.seed)
    asked = {"version": TRAINING_VERSION, "training": asdict(settings), "device": device}
    asked |= {"smoothing": smoothing, "numerics": numerics}
    asked |= {"teacher": weights_sha256(teacher)} if teacher is not None else {}
    asked |= {"plan": plan.to_json()} if plan is not None else {}
    claim_folder(out, asked | identity(task, network), watch)
    checkpoint = out / "training.safetensors"
    if (out / "history.json").exists():
        checkpoint.unlink(missing_ok=True)
        return float(read_json(out / "history.json")["selection_quality"])
    first, _ = next(task.batches(task.train, min(settings.batch_size, len(task.train)), device=device))
    chosen = out / "numerics.json"  # remembered, so that an interrupted training goes on in the same arithmetic
    if not chosen.exists():
        write_json(chosen, str(given or fastest_numerics(network.module, first)[0]))
    arithmetic = Numerics.parse(read_json(chosen))
    with watch.bar(f"training {task.name}") as step:
        losses = tune(
            network.module,
            task,
            settings,
            _plugs(task, smoothing, teacher),
            teacher=teacher,
            numerics=arithmetic,
            checkpoint=checkpoint,
            device=device,
            progress=step,
        )
    network.module.to("cpu").to(memory_format=torch.contiguous_format)
    save_weights(out / "weights.safetensors", network.module)
    quality = qualities(task, task.selection, export_onnx(network.module, network.example))
    write_json(
        out / "history.json",
        {
            "losses": losses,
            "selection_quality": float(quality.mean()),
            "numerics": str(arithmetic),
            "parameters": network.parameters,
            "macs": network.macs,
        },
    )
    checkpoint.unlink()
    return float(quality.mean())
