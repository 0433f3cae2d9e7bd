# SPDX-License-Identifier: Apache-2.0
"""Grafting: copies of a network train side by side and, after each epoch, take over from each other.

Paper: F. Meng, H. Cheng, K. Li, Z. Xu, R. Ji, X. Sun, G. Lu, "Filter Grafting for Deep Neural Networks", CVPR 2020,
arXiv 2001.05868, sections 4.2 and 4.3, and its published code. After every epoch copy i mixes with copy i - 1 of a
ring, all as they were before the exchange:

    W_self <- alpha W_self + (1 - alpha) W_other
    alpha = A / pi atan(c (H(W_self) - H(W_other))) + 1/2, to two digits        H: `gossamer.measure.entropy`

One alpha serves a convolution and all that follows it up to the next: its batch norm, statistics included; in networks
without convolutions the linear layers take their place. Of two copies, the alphas add up to 1, so both leave every
exchange as the same network, a weighted mean; of three and more, they stay apart.

Joint grafting: Y. Wei, Y. Chen, Acta Electronica Sinica 50(10), 2022, 2398-2408, doi 10.12263/DZXB.20201372.

    alpha = A / pi atan(c ((H_conv,self - H_conv,other) + (H_norm,self - H_norm,other))) + 1/2

Cost: K trainings; an entropy of all weights after each epoch. The copy that is kept costs nothing more.

Differs from the papers:
1. Joint grafting is reconstructed from its abstract: H_norm is the entropy of the batch norm's scales.
2. Copies start from the same weights, those that are left after a cut, and differ by their images' order and by their
   learning rates; the first paper starts each from its own random weights.
3. Learning rates follow one cosine with a warm-up, of height (1 + cos(pi (K - i) / K)) / 2 for copy i of K, as in its
   code with different rates.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gossamer.measure.entropy import entropy
from gossamer.task import Task
from gossamer.tuning.checkpoint import load_training, save_training
from gossamer.tuning.loop import Progress, Settings, Training, batch_size, begin, effective_weights, go_through
from gossamer.tuning.numerics import Numerics
from gossamer.tuning.plug import Plug, learned_by
from gossamer.tuning.processes import present
from gossamer.tuning.watched import Watched

OTHER_ORDER = 7_919  # between the seeds of two copies


@dataclass(frozen=True)
class Grafting:
    """`amplitude` A and `steepness` c; `joint`: with the entropy of batch norms; `copies` K."""

    amplitude: float = 0.4
    steepness: float = 500.0
    joint: bool = True
    copies: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.amplitude <= 1:
            raise ValueError(f"amplitude of grafting must be in [0, 1], got {self.amplitude}; the paper has 0.4")
        if self.copies < 2:
            raise ValueError(f"grafting needs at least 2 copies, got {self.copies}")

    def exchange(self, networks: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
        """Mix state dicts of the same names, in place; returns alpha of each convolution, for each network."""
        before = [{name: value.detach().clone() for name, value in network.items()} for network in networks]
        shares: list[dict[str, float]] = []
        for index, network in enumerate(networks):
            own, other = before[index], before[index - 1]
            shares.append({})
            for block in blocks(network):
                heard = [block[0], *(_scales(block) if self.joint else ())]
                alpha = shares[-1][block[0]] = self.alpha([own[n] for n in heard], [other[n] for n in heard])
                for name in block:
                    if own[name].is_floating_point():
                        with torch.no_grad():
                            network[name].copy_(alpha * own[name] + (1 - alpha) * other[name])
        return shares

    def alpha(self, own: Sequence[Tensor], other: Sequence[Tensor]) -> float:
        """How much of its own a network keeps, by the entropies of these tensors, added up."""
        more = sum(_entropy(a) - _entropy(b) for a, b in zip(own, other, strict=True))
        alpha = self.amplitude / math.pi * math.atan(self.steepness * more) + 0.5
        return alpha if self.joint else round(alpha, 2)


def _entropy(weight: Tensor) -> float:
    return entropy(weight.detach().cpu().numpy())


def _scales(block: Sequence[str]) -> list[str]:
    """The scale of the batch norm in a block: what stands beside a running mean."""
    return [name for name in block if name.replace(".weight", ".running_mean") in block and name.endswith(".weight")]


def blocks(network: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of a state dict, cut before each convolution; what comes before the first belongs to it, after it.

    Where there is no convolution, before each linear layer. What follows a weight is what its module registers next: a
    batch norm's scale, shift and statistics.
    """
    found: list[list[str]] = []
    early: list[str] = []
    least = 3 if any(value.ndim >= 3 for value in network.values()) else 2
    for name, value in network.items():
        if value.ndim >= least:
            found.append([name])
        elif found:
            found[-1].append(name)
        else:
            early.append(name)
    if found:
        found[0] += early
    return found


def graft(
    module: nn.Module,
    task: Task,
    settings: Settings,
    plugs: Sequence[Plug] = (),
    grafting: Grafting = Grafting(),
    *,
    teacher: nn.Module | None = None,
    numerics: Numerics | None = None,
    checkpoint: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    watched: Watched | None = None,
) -> tuple[list[nn.Module], list[float]]:
    """Train copies of `module`, which is the last of them; returns all, and the mean loss of each epoch over them.

    The arguments are those of `tune`; `watched` is asked of the copies after their exchange. ValueError for plugs that
    learn something themselves: all copies share them.
    """
    if learned_by(plugs) or any(list(plug.leaves()) for plug in plugs):
        raise ValueError(
            "expected plugs that learn nothing of their own, since copies share them; train a single network"
        )
    modules = [*(copy.deepcopy(module) for _ in range(grafting.copies - 1)), module]
    trainings = []
    for number, network in enumerate(modules, start=1):
        height = (1 + math.cos(math.pi * (grafting.copies - number) / grafting.copies)) / 2
        own = replace(
            settings,
            learning_rate=height * settings.learning_rate,
            seed=settings.seed + OTHER_ORDER * (grafting.copies - number),
        )
        trainings.append(begin(network, task, own, plugs, teacher, numerics, device))
    if checkpoint:
        load_training(checkpoint, *trainings, watched=watched)
    steps = grafting.copies * settings.epochs * (len(task.train) // batch_size(settings, task))
    for epoch in range(len(trainings[0].history), settings.epochs):
        for number, training in enumerate(trainings):
            _one_epoch(training, task, epoch, _share(progress, grafting.copies, number, epoch, settings, steps))
        grafting.exchange([training.module.state_dict() for training in trainings])
        if watched:
            watched.ask([(of.module, effective_weights(of.module, plugs)) for of in trainings], device)
        if checkpoint:
            save_training(checkpoint, *trainings, watched=watched)
    for network in modules:
        network.eval()
    losses = [training.history for training in trainings]
    return modules, [sum(of) / len(of) for of in zip(*losses, strict=True)]


def _one_epoch(training: Training, task: Task, epoch: int, progress: Progress | None) -> None:
    processes = present()
    with processes.sharing(training, task, batch_size(training.settings, task)):
        go_through(training, task, processes, progress=progress, until=epoch + 1)


def _share(
    progress: Progress | None, copies: int, number: int, epoch: int, settings: Settings, steps: int
) -> Progress | None:
    """Progress of one copy as progress of all."""
    if progress is None:
        return None
    in_epoch = steps // (copies * max(1, settings.epochs))

    def all_of_them(done: int, _: int, words: str) -> None:
        progress((copies * epoch + number) * in_epoch + done - epoch * in_epoch, steps, words)

    return all_of_them
