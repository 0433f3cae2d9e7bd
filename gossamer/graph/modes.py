# SPDX-License-Identifier: Apache-2.0
"""Modes: a network is asked in evaluation form, and every part of it is in its own mode again afterwards.

`network.train(was_training)` would not do: a user's network may train with some batch norms frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Evaluation form inside, every submodule's own mode again afterwards."""
    modes = {child: child.training for network in networks for child in network.modules()}
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training
