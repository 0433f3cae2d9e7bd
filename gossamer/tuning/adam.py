# SPDX-License-Identifier: Apache-2.0
"""Adam, for the few numbers that a plug trains itself (`Plug.leaves`), whose gradients differ by orders of magnitude.

Paper: D. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv 1412.6980, algorithm 1.

Differs from the paper: second moments forget in 100 steps instead of 1000, since a rung may have few.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

BETAS, TINY = (0.9, 0.99), 1e-12


class Adam:
    """Steps of about `rate` on leaves by name; those without a gradient stay."""

    def __init__(self) -> None:
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}

    def step(self, leaves: Mapping[str, Tensor], rate: float, done: int) -> None:
        """Change leaves in place and clear their gradients; this is step number `done`, from 1 on."""
        for name, leaf in leaves.items():
            if leaf.grad is None:
                continue
            zero = torch.zeros_like(leaf)
            first, second = (moment.to(leaf.device) for moment in self._moments.get(name, (zero, zero)))
            first = BETAS[0] * first + (1 - BETAS[0]) * leaf.grad
            second = BETAS[1] * second + (1 - BETAS[1]) * leaf.grad.square()
            self._moments[name] = first, second
            mean, square = first / (1 - BETAS[0] ** done), second / (1 - BETAS[1] ** done)
            with torch.no_grad():
                leaf -= rate * mean / (square.sqrt() + TINY)
            leaf.grad = None

    def state(self) -> dict[str, Tensor]:
        """Both moments of each leaf that was changed, as `first/NAME` and `second/NAME`."""
        pairs = self._moments.items()
        return {f"{which}/{name}": moment for name, both in pairs for which, moment in zip(WHICH, both, strict=True)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave; of other keys nothing."""
        for key in state:
            which, _, name = key.partition("/")
            if which == WHICH[0]:
                self._moments[name] = state[key], state[f"{WHICH[1]}/{name}"]


def leaf_on(leaf: Tensor, device: torch.device) -> Tensor:
    """The leaf itself where it is there already, as it is not after a checkpoint was read; otherwise another one."""
    return leaf if leaf.device == device else leaf.detach().to(device).requires_grad_()


WHICH = ("first", "second")
