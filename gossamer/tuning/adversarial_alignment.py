# SPDX-License-Identifier: Apache-2.0
"""Adversarial alignment: a network with a factor a channel learns outputs that cannot be told from the original's.

Paper: S. Lin, R. Ji, C. Yan, B. Zhang, L. Cao, Q. Ye, F. Huang, D. Doermann, "Towards Optimal Structured CNN Pruning
via Generative Adversarial Learning" (GAL), CVPR 2019, arXiv 1903.09291, section 3, and its published code. No label is
used.

    network        mu MSE(f_t, f_s) + BCE(D(f_s), 1) + lambda sum |m|        f_t, f_s: outputs of original and network
    discriminator  BCE(D(f_t), 1) + BCE(D(f_s), 0) + BCE(D(f_s), 1)          D: 128-256-128-1, linear, on the outputs
    factors        FISTA, every so many batches: y = m + (a - 1) / a' (m - m_before), a' = (1 + sqrt(1 + 4 a^2)) / 2,
                   m = max(0, soft(y - lr g, lr lambda))                     soft(x, t) = sign(x) max(0, |x| - t)

Cost: a forward pass of the original for each batch; the discriminator is small beside it.

Differs from the paper:
1. One factor a channel, as Y. Wei, Y. Chen (AMAS, doi 10.1007/s00034-021-01668-y) count channels; the paper has one a
   residual block in ResNets. It acts on the weights that read the channel.
2. lambda enters by FISTA's threshold alone; the code adds the gradient of sum |m| too.
3. Factors start at 1; `start` "normal" draws them, as the code does, which a training of few epochs does not mend.
4. The factors are updated as often in the whole training as in the code's 100 epochs, `UPDATES` times, and lambda is
   such that a factor that no loss holds falls by `pull` in all, FISTA's momentum included. That momentum is never
   reset, and the rates of factors and discriminator stay: there are no steps of the learning rate to do it at.
5. The discriminator has no biases and does not decay; the code's layers have biases, and decay by 2e-4. The network's
   own rate is one cosine, as in all trainings here, not the code's steps of a tenth every 30 epochs.
6. Where an image has many answers, one a pixel or an anchor, the discriminator judges each by itself.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.graph import Group
from gossamer.tuning.gates import gated, reading
from gossamer.tuning.plug import Batch, Clock, Plug, Weights

UPDATES = 195  # of the factors: 100 epochs of 390 batches, one every 200
HIDDEN = (128, 256, 128)
DISCRIMINATOR_RATE, MOMENTUM = 1e-2, 0.9


def answers_last(outputs: Tensor) -> Tensor:
    """What is judged at a time goes last: the scores of an image, of a pixel (N, classes, H, W), or of an anchor."""
    return outputs.movedim(1, -1) if outputs.ndim == 4 else outputs


def answer_width(outputs: Tensor) -> int:
    """How many numbers that are."""
    return answers_last(outputs).shape[-1]


AfterEpoch = Callable[[int, Mapping[str, Tensor], Mapping[str, Tensor]], None]
"""Called with (epochs done, weights by name, factors by group)."""


class AdversarialAlignment(Plug):
    """`pull`: how far a factor that no loss holds falls in the whole training; `fidelity` is the paper's mu.

    `width`: numbers that the discriminator judges at a time (`answer_width`). `labelled`: the task's own loss is added,
    as AMAS tunes what it has chosen; without groups there are no factors, and the outputs alone are aligned.
    """

    taught: ClassVar[bool] = True

    def __init__(
        self,
        groups: Sequence[Group],
        width: int,
        pull: float = 1.5,
        fidelity: float = 1.0,
        start: str = "ones",
        rate: float = 1e-2,
        seed: int = 0,
        labelled: bool = False,
        after_epoch: AfterEpoch | None = None,
    ) -> None:
        if not pull > 0:
            raise ValueError(f"pull must be positive, got {pull}")
        if start not in ("ones", "normal"):
            raise ValueError(f"start must be ones or normal, got '{start}'")
        self.pull, self.fidelity, self.rate, self.after_epoch = pull, fidelity, rate, after_epoch
        self.labelled = labelled
        generator = torch.Generator().manual_seed(seed)
        self.members = {group.name: reading(group) for group in groups}
        self.factors: dict[str, Tensor] = {}
        for group in groups:
            ones = torch.ones(group.size)
            drawn = torch.normal(0.0, ones, generator=generator) if start == "normal" else ones
            self.factors[group.name] = drawn.requires_grad_()
        self.before = {name: value.detach().clone() for name, value in self.factors.items()}
        self.inertia = torch.ones(())
        sizes = (width, *HIDDEN, 1)
        self.discriminator = [
            torch.normal(0.0, 0.01, (out, fan_in), generator=generator).requires_grad_()
            for fan_in, out in itertools.pairwise(sizes)
        ]
        self.velocity = [torch.zeros_like(weight) for weight in self.discriminator]
        self._update, self._threshold = False, 0.0

    def __getstate__(self) -> dict[str, object]:
        """For other processes, which take part in each step; the epochs are shown by the first alone."""
        return self.__dict__ | {"after_epoch": None}

    def leaves(self) -> Iterable[Tensor]:
        """The factors and the discriminator: their gradients come from the one backward pass."""
        return [*self.factors.values(), *self.discriminator]

    def transform(self, weights: Weights) -> Weights:
        """Every channel is read times its factor."""
        return weights | gated(weights, ((self.members[name], value) for name, value in self.factors.items()))

    def before_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Forget the gradients of the batch before; decide whether this one moves the factors."""
        device = next(iter(weights.values())).device if weights else torch.device("cpu")
        for leaf in self.leaves():
            leaf.grad = None
            leaf.data = leaf.data.to(device)
        updates = min(UPDATES, clock.steps)
        self._update = (clock.step + 1) * updates // clock.steps > clock.step * updates // clock.steps
        self._threshold = self.pull / _reach(updates)

    def loss(self, outputs: Tensor, teacher_outputs: Tensor | None, batch: Batch) -> Tensor | None:
        """Outputs near the original's, and such that the discriminator takes them for the original's."""
        if teacher_outputs is None:
            raise ValueError("adversarial alignment needs a teacher, got none; pass teacher= to tune")
        fooled = self._judge(outputs, [weight.detach() for weight in self.discriminator])
        real, fake = (self._judge(given.detach(), self.discriminator) for given in (teacher_outputs, outputs))
        ones = torch.ones_like(real)
        told = [(real, ones), (fake, 0 * ones), (fake, ones), (fooled, ones)]  # the last alone reaches the network
        judged = torch.stack([F.binary_cross_entropy_with_logits(*pair) for pair in told]).sum()
        aligned = self.fidelity * F.mse_loss(outputs, teacher_outputs) + judged
        return aligned + batch.loss(outputs, batch.targets) if self.labelled else aligned

    def after_backward(self, weights: Mapping[str, Tensor]) -> None:
        """A step of the discriminator, and of the factors where it is their turn."""
        self._train_discriminator()
        if self._update:
            self._fista()

    def after_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Show the network as it is after each epoch."""
        done = clock.step + 1
        if self.after_epoch and done % clock.steps_per_epoch == 0:
            self.after_epoch(done // clock.steps_per_epoch, weights, self.factors)

    def words(self) -> str:
        """How many channels are off."""
        if not self.factors:
            return ""
        off = sum(int((value <= 0).sum()) for value in self.factors.values())
        return f"{off} of {sum(len(value) for value in self.factors.values())} channels off"

    def _judge(self, outputs: Tensor, layers: Sequence[Tensor]) -> Tensor:
        outputs = answers_last(outputs)
        for layer in layers:
            outputs = F.linear(outputs, layer.to(outputs.device))
        return outputs

    def _train_discriminator(self) -> None:
        with torch.no_grad():
            for weight, velocity in zip(self.discriminator, self.velocity, strict=True):
                assert weight.grad is not None
                velocity.data = velocity.data.to(weight.device)
                velocity.mul_(MOMENTUM).add_(weight.grad)
                weight.sub_(velocity, alpha=DISCRIMINATOR_RATE)

    def _fista(self) -> None:
        faster = _next(float(self.inertia))
        with torch.no_grad():
            for name, factors in self.factors.items():
                ahead = factors + (float(self.inertia) - 1) / faster * (factors - self.before[name].to(factors.device))
                if factors.grad is not None:
                    ahead -= self.rate * factors.grad
                self.before[name] = factors.detach().clone()
                factors.copy_(F.softshrink(ahead, self._threshold).clamp(min=0))
        self.inertia.fill_(faster)

    def state(self) -> Weights:
        """Factors, discriminator and what carries both on."""
        state = {"inertia": self.inertia}
        for name, value in self.factors.items():
            state |= {f"factors/{name}": value, f"before/{name}": self.before[name]}
        for index, (weight, velocity) in enumerate(zip(self.discriminator, self.velocity, strict=True)):
            state |= {f"discriminator/{index}": weight, f"velocity/{index}": velocity}
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        with torch.no_grad():
            for name, value in self.state().items():
                value.copy_(state[name])


def _next(inertia: float) -> float:
    """FISTA's a'."""
    return (1 + math.sqrt(1 + 4 * inertia**2)) / 2


@functools.cache
def _reach(updates: int) -> float:
    """How far so many updates take a factor that falls by 1 in each, with the momentum that grows meanwhile."""
    reached = speed = 0.0
    inertia = 1.0
    for _ in range(updates):
        faster = _next(inertia)
        speed = (inertia - 1) / faster * speed + 1
        reached, inertia = reached + speed, faster
    return reached
