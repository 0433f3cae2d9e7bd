# SPDX-License-Identifier: Apache-2.0
"""Numerics: the fastest arithmetic for training one network on one machine, found by trial.

Which of float32 and bfloat16, of plain and channels-last memory, is fastest differs between networks and
machines by factors of up to 13 (MobileNetV2's float32 depthwise backward on a CPU), so nothing is assumed.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

HOPELESS = 4.0  # times as slow as the best so far


@dataclass(frozen=True)
class Numerics:
    """Memory layout and precision of training; `str` gives the word stored with a run."""

    channels_last: bool = False
    bfloat16: bool = False

    def lay_out(self, module: nn.Module) -> None:
        """Put the module's four-dimensional weights in this memory layout, in place."""
        if self.channels_last:  # module.to(memory_format=...) refuses weights of three-dimensional convolutions
            for parameter in module.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def lay_out_input(self, inputs: Tensor) -> Tensor:
        """The same batch (N, C, H, W) in this memory layout."""
        if self.channels_last and inputs.ndim == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def autocast(self, device_type: str) -> AbstractContextManager[object]:
        """The context in which forward passes run."""
        return torch.autocast(device_type, torch.bfloat16) if self.bfloat16 else nullcontext()

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "plain"
        return f"{layout} {'bfloat16' if self.bfloat16 else 'float32'}"

    @classmethod
    def parse(cls, word: str) -> Numerics:
        """The numerics that `str` wrote.

        >>> Numerics.parse(str(Numerics(channels_last=True)))
        Numerics(channels_last=True, bfloat16=False)
        """
        known = {str(numerics): numerics for numerics in ALL_NUMERICS}
        if word not in known:
            raise ValueError(f"numerics must be one of {', '.join(known)}, got '{word}'; leave it out for a trial")
        return known[word]


#: The likeliest to be fast first.
ALL_NUMERICS = tuple(Numerics(c, b) for b in (True, False) for c in (True, False))


def fastest_numerics(
    module: nn.Module, inputs: Tensor, among: Sequence[Numerics] = ALL_NUMERICS, *, steps: int = 4
) -> tuple[Numerics, dict[str, float]]:
    """Time forward and backward on a copy of `module`; returns the fastest and the milliseconds of each.

    The first step of each only warms up; an arithmetic that starts hopelessly slow is not tried further.
    """
    times: dict[str, float] = {}
    for numerics in among:
        trial = copy.deepcopy(module).to(inputs.device).train()
        numerics.lay_out(trial)
        batch = numerics.lay_out_input(inputs)
        fastest = float("inf")
        for step in range(1 + steps):
            start = time.perf_counter()
            trial.zero_grad()
            with numerics.autocast(inputs.device.type):
                outputs = trial(batch)
            outputs.float().square().mean().backward()
            elapsed = 1000 * (time.perf_counter() - start)
            hopeless = elapsed > HOPELESS * min(times.values(), default=elapsed)
            if step or hopeless:
                fastest = min(fastest, elapsed)
            if hopeless:
                break
        times[str(numerics)] = fastest
    return Numerics.parse(min(times, key=lambda word: times[word])), times
