# SPDX-License-Identifier: Apache-2.0
"""Gossamer: the smallest or fastest network that provably keeps the promise.

    import gossamer

    task = gossamer.task_from(model="resnet20", weights=..., data="cifar10:examples/cifar10", preset=...)
    result = gossamer.compress(task, gossamer.Goal(tolerance=0.01), out="runs/mine")
    network = gossamer.load("runs/mine", task)

Names are loaded when they are first used, so importing the package, or decoding a file, needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gossamer.compress import Result as Result
    from gossamer.compress import compress as compress
    from gossamer.compress import load as load
    from gossamer.described_task import task_from as task_from
    from gossamer.goal import Goal as Goal
    from gossamer.graph import resize as resize
    from gossamer.graph import trace as trace
    from gossamer.plan import Plan as Plan
    from gossamer.search.proof import ToleranceNotMet as ToleranceNotMet
    from gossamer.search.settings import Settings as Settings
    from gossamer.task import Task as Task

_HOMES = {
    "Goal": "gossamer.goal",
    "Plan": "gossamer.plan",
    "Result": "gossamer.compress",
    "Settings": "gossamer.search.settings",
    "Task": "gossamer.task",
    "ToleranceNotMet": "gossamer.search.proof",
    "compress": "gossamer.compress",
    "load": "gossamer.compress",
    "resize": "gossamer.graph",
    "task_from": "gossamer.described_task",
    "trace": "gossamer.graph",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gossamer' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
