# SPDX-License-Identifier: Apache-2.0
"""Numerics: the fastest arithmetic for training one network on one machine, found by trial.

Which of float32 and bfloat16, of plain and channels-last memory, is fastest differs between networks and
machines by factors of up to 13 (MobileNetV2's float32 depthwise backward on a CPU), so nothing is assumed.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gossamer.tuning.detours import Detours, may_gain

HOPELESS = 4.0  # times as slow as the best so far


@dataclass(frozen=True)
class Numerics:
    """Memory layout and precision of training; `str` gives the words stored with a run.

    `products`: convolutions of many channels on small maps are products of matrices, and more (`detours`).
    """

    channels_last: bool = False
    bfloat16: bool = False
    products: bool = False

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

    def convolutions(self) -> AbstractContextManager[object]:
        """The context in which forward and backward passes run."""
        return Detours() if self.products else nullcontext()  # type: ignore[no-untyped-call]

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "plain"
        return f"{layout} {'bfloat16' if self.bfloat16 else 'float32'}{' products' if self.products else ''}"

    @classmethod
    def parse(cls, word: str) -> Numerics:
        """The numerics that `str` wrote.

        >>> Numerics.parse(str(Numerics(channels_last=True)))
        Numerics(channels_last=True, bfloat16=False, products=False)
        """
        every = [*ALL_NUMERICS, *(replace(numerics, products=True) for numerics in ALL_NUMERICS)]
        known = {str(numerics): numerics for numerics in every}
        if word not in known:
            raise ValueError(f"numerics must be one of {', '.join(known)}, got '{word}'; leave it out for a trial")
        return known[word]


#: The likeliest to be fast first; each of them is possible with products too.
ALL_NUMERICS = tuple(Numerics(c, b) for b in (True, False) for c in (True, False))


def fastest_numerics(
    module: nn.Module, inputs: Tensor, among: Sequence[Numerics] = ALL_NUMERICS, *, steps: int = 4
) -> tuple[Numerics, dict[str, float]]:
    """Time forward and backward on a copy of `module`; returns the fastest and the milliseconds of each.

    Where there was a choice, the fastest is timed with products too, if any kernel is of a kind that gains by them. The
    first step of each only warms up; an arithmetic that starts hopelessly slow is not tried further.
    """
    times: dict[str, float] = {}

    def fastest() -> Numerics:
        return Numerics.parse(min(times, key=lambda words: times[words]))

    for numerics in among:
        times[str(numerics)] = _milliseconds(module, inputs, numerics, steps, min(times.values(), default=math.inf))
    if len(among) > 1 and may_gain(module) and inputs.device.type == "cpu":
        numerics = replace(fastest(), products=True)
        times[str(numerics)] = _milliseconds(module, inputs, numerics, steps, min(times.values()))
    return fastest(), times


def _milliseconds(module: nn.Module, inputs: Tensor, numerics: Numerics, steps: int, best: float) -> float:
    """The fastest of some steps, after one that warms up; of the first alone where that is hopeless beside `best`."""
    trial = copy.deepcopy(module).to(inputs.device).train()
    numerics.lay_out(trial)
    batch = numerics.lay_out_input(inputs)
    fastest = math.inf
    for step in range(1 + steps):
        start = _seconds(inputs.device)
        trial.zero_grad()
        with numerics.convolutions():
            with numerics.autocast(inputs.device.type):
                outputs = trial(batch)
            outputs.float().square().mean().backward()
        elapsed = 1000 * (_seconds(inputs.device) - start)
        hopeless = elapsed > HOPELESS * min(best, elapsed)
        if step or hopeless:
            fastest = min(fastest, elapsed)
        if hopeless:
            break
    return fastest


def _seconds(device: torch.device) -> float:
    """The clock, once the device has done what it was given: an accelerator works while Python goes on."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
