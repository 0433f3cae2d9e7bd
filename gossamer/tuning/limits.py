# SPDX-License-Identifier: Apache-2.0
"""Limits of what training can be asked for, checked before anything is begun; each refusal is one sentence."""

from __future__ import annotations

import math

import torch


def check_training(epochs: int | None, batch_size: int, learning_rate: float) -> None:
    """Raise ValueError for options that no training can have; `epochs` None is left to the run."""
    if epochs is not None and epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if batch_size < 2:
        raise ValueError(f"batch_size must be at least 2, got {batch_size}; batch norm cannot train on one image")
    if not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise ValueError(f"learning_rate must be positive and finite, got {learning_rate}; 0.04 is usual for tuning")


def check_device(device: str) -> None:
    """Raise ValueError unless tensors can be made on `device` and brought back from it on this machine."""
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise ValueError(f"device must be one that this machine has ({', '.join(there)}), got '{device}'") from error
