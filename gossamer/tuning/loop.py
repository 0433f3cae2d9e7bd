# SPDX-License-Identifier: Apache-2.0
"""The one training loop: baselines, fine-tuning after a cut, and whatever plugs into it.

On the CPU it is resumable to the same result: every epoch draws its randomness from (seed, epoch) alone, and a
checkpoint after each epoch holds weights, momentum and plug state. Several processes may share its steps (`processes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gossamer.task import Task
from gossamer.tuning.checkpoint import load_training, save_training
from gossamer.tuning.limits import check_training
from gossamer.tuning.numerics import Numerics
from gossamer.tuning.plug import Batch, Clock, Learned, Plug, learned_by
from gossamer.tuning.processes import OneProcess, present
from gossamer.tuning.watched import Watched

Progress = Callable[[int, int, str], None]
"""Called with (steps done, all steps, a word on the loss)."""
OTHER_DROPOUT = 1_000_003  # between the seeds of two ranks: their parts of a batch must not be thinned out alike


class Diverged(ArithmeticError):
    """The loss is no longer a number; the last whole epoch is in the checkpoint."""


@dataclass(frozen=True)
class Settings:
    """One cosine cycle of stochastic gradient descent with Nesterov momentum.

    `learning_rate` is the peak, reached after `warmup` (a share of all steps); it ends at zero.
    `weight_decay` acts on weights of two and more dimensions. `cutout`: side of the square that augmentation covers.
    """

    epochs: int = 12
    batch_size: int = 128
    learning_rate: float = 0.04
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.05
    augment: bool = True
    cutout: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_training(self.epochs, self.batch_size, self.learning_rate)

    def learning_rate_at(self, fraction: float) -> float:
        """Warm-up to the peak, then half a cosine to zero; `fraction` of all steps done."""
        warm = min(1.0, fraction / self.warmup) if self.warmup else 1.0
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * fraction))


@dataclass
class Training:
    """A training between two epochs; pickled whole, its optimizer keeps to the weights of its module and its plugs."""

    module: nn.Module
    settings: Settings
    plugs: Sequence[Plug]
    teacher: nn.Module | None
    numerics: Numerics
    device: str
    optimizer: torch.optim.SGD
    history: list[float]


def tune(
    module: nn.Module,
    task: Task,
    settings: Settings,
    plugs: Sequence[Plug] = (),
    *,
    teacher: nn.Module | None = None,
    numerics: Numerics | None = None,
    checkpoint: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    watched: Watched | None = None,
) -> list[float]:
    """Train `module` in place on the task's training split; returns the mean loss of each epoch.

    With `checkpoint`, an interrupted call made again with the same arguments goes on after the last whole epoch.
    `watched` is asked after each epoch. Inside `data_parallel` all its processes take part. Raises Diverged when the
    loss is not finite.
    """
    training = begin(module, task, settings, plugs, teacher, numerics, device)
    if checkpoint:
        load_training(checkpoint, training, watched=watched)
    processes = present()
    with processes.sharing(training, task, batch_size(settings, task)):
        go_through(training, task, processes, checkpoint, progress, watched=watched)
    module.eval()
    return training.history


def begin(
    module: nn.Module,
    task: Task,
    settings: Settings,
    plugs: Sequence[Plug],
    teacher: nn.Module | None,
    numerics: Numerics | None,
    device: str,
) -> Training:
    """A training before its first epoch; network, teacher and what plugs learn are on the device."""
    numerics = numerics or Numerics()
    for network in (module, teacher):
        if network is not None:
            network.to(device)
            numerics.lay_out(network)
    learned = learned_by(plugs).values()
    for own in learned:
        own.tensor.data = own.tensor.data.to(device)
    return Training(module, settings, plugs, teacher, numerics, device, _optimizer(module, learned, settings), [])


def go_through(
    training: Training,
    task: Task,
    processes: OneProcess,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    until: int | None = None,
    watched: Watched | None = None,
) -> None:
    """The epochs that a training still lacks, or those before epoch `until`; its history grows by each.

    They draw from seeds of their own; what the caller draws before and after is none of theirs.
    """
    device = torch.device(training.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _epochs(training, task, processes, checkpoint, progress, until, watched)


def _epochs(
    training: Training,
    task: Task,
    processes: OneProcess,
    checkpoint: Path | None,
    progress: Progress | None,
    until: int | None,
    watched: Watched | None,
) -> None:
    module, settings, plugs, optimizer = training.module, training.settings, training.plugs, training.optimizer
    weights: dict[str, Tensor] = dict(module.named_parameters()) | dict(module.named_buffers())
    size = batch_size(settings, task)
    steps_per_epoch = len(task.train) // size  # other examples are left over in the next epoch
    steps = settings.epochs * steps_per_epoch

    for epoch in range(len(training.history), settings.epochs if until is None else until):
        seed = settings.seed * 100_003 + epoch
        torch.manual_seed(seed + OTHER_DROPOUT * processes.rank)
        batches = task.batches(
            task.train,
            size,
            generator=torch.Generator().manual_seed(seed),
            augment=settings.augment,
            cutout=settings.cutout,
            device=training.device,
        )
        total = 0.0
        for index, (inputs, targets) in zip(range(steps_per_epoch), batches, strict=False):
            clock = Clock(epoch * steps_per_epoch + index, steps, steps_per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * settings.learning_rate_at(clock.fraction)
            for plug in plugs:
                plug.before_step(clock, weights)
            with processes.step():
                loss = _backward(training, processes, Batch(inputs, targets, task.loss, task.imitation), weights)
            for plug in plugs:
                plug.after_backward(weights)
            optimizer.step()
            for plug in plugs:
                plug.after_step(clock, weights)
            value = loss.item()
            if not math.isfinite(value):
                raise Diverged(
                    f"expected a finite loss, got {value} in epoch {epoch + 1} of {settings.epochs}; "
                    f"lower the learning rate (now {settings.learning_rate}) or look for bad values in the data"
                )
            total += value
            if progress:
                said = [words for plug in plugs if (words := plug.words())]
                progress(clock.step + 1, steps, ", ".join([f"loss {value:.3f}", *said]))
        if not all(bool(weight.isfinite().all()) for weight in module.parameters()):
            raise Diverged(
                f"expected finite weights, got others after epoch {epoch + 1} of {settings.epochs}; "
                f"lower the learning rate (now {settings.learning_rate})"
            )
        training.history.append(total / steps_per_epoch)
        if watched:
            watched.ask([(module, effective_weights(module, plugs))], training.device)
        if checkpoint:
            save_training(checkpoint, training, watched=watched)


def effective_weights(module: nn.Module, plugs: Sequence[Plug]) -> dict[str, Tensor]:
    """The weights that the forward pass really uses: every plug's transform applied, without gradients."""
    with torch.no_grad():
        weights: dict[str, Tensor] = dict(module.named_parameters()) | dict(module.named_buffers())
        return {name: value.detach() for name, value in _transformed(weights, plugs).items()}


def _transformed(weights: Mapping[str, Tensor], plugs: Sequence[Plug]) -> dict[str, Tensor]:
    changed = dict(weights)
    for plug in plugs:
        changed = plug.transform(changed)
    return {name: value for name, value in changed.items() if value is not weights[name]}


def batch_size(settings: Settings, task: Task) -> int:
    """Examples in a batch."""
    return min(settings.batch_size, len(task.train))


def _backward(training: Training, processes: OneProcess, batch: Batch, weights: Mapping[str, Tensor]) -> Tensor:
    """Gradients of the batch's loss for everything that is learned; returns the loss, ()."""
    training.optimizer.zero_grad()
    part, share = processes.part(replace(batch, inputs=training.numerics.lay_out_input(batch.inputs)))
    with training.numerics.convolutions(), processes.norms():
        loss = share * _loss(training, part, weights)
        loss.backward()  # type: ignore[no-untyped-call]
    trained = [parameter for group in training.optimizer.param_groups for parameter in group["params"]]
    return processes.add_up(loss.detach(), [*trained, *(leaf for plug in training.plugs for leaf in plug.leaves())])


def _loss(training: Training, batch: Batch, weights: Mapping[str, Tensor]) -> Tensor:
    """The sum of the plugs' losses, or the task's own where no plug gives one, and of their penalties."""
    module, plugs, teacher, numerics = training.module, training.plugs, training.teacher, training.numerics
    module.train()
    with numerics.autocast(batch.inputs.device.type):
        teacher_outputs = None
        if teacher is not None:
            teacher.eval()
            with torch.no_grad():
                teacher_outputs = teacher(batch.inputs).float()
        outputs = functional_call(module, _transformed(weights, plugs), (batch.inputs,)).float()
    losses = [plug.loss(outputs, teacher_outputs, batch) for plug in plugs]
    given = [loss for loss in losses if loss is not None] or [batch.loss(outputs, batch.targets)]
    penalties = [penalty for plug in plugs if (penalty := plug.penalty()) is not None]
    return torch.stack([*given, *penalties]).sum()


def _optimizer(module: nn.Module, learned: Iterable[Learned], settings: Settings) -> torch.optim.SGD:
    trained = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay, "rate": 1.0},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0, "rate": 1.0},
        *({"params": [own.tensor], "weight_decay": 0.0, "rate": own.rate} for own in learned),
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
    )
