# SPDX-License-Identifier: Apache-2.0
"""Mixing coder: the adaptive coder with a better guess of each weight, and a memory from tensor to tensor.

Slower than `adaptive`, and some 6 % smaller on networks of a few hundred thousand weights. What it knows of a weight
before coding it, in this order:

**Means** of magnitudes so far, each weight counting the less the more there were (1 / (n + 1.6)): of all weights g,
of the filter a, of the input channel b, of the place in the kernel e, of channel and place d. If filter, channel and
place act independently, the magnitude is a b e / g^2; that product is formed of logarithms, 16 steps an octave.

**Value**: mu = sum w_j x_j over the weights before it in its kernel (in a matrix: the one to the left and the one
above), least mean squares (B. Widrow, M. Hoff, 1960; normalised). Kernels are smooth, so the sign can be guessed.

**Magnitude**: s = sum v_j y_j over four neighbours' magnitudes, a, b, d, a b e / g^2 and |mu|, learned alike.

**Decisions**, as in `adaptive`: class (bit length of the magnitude), sign, low bits. Questions about the class, "more
than k?", begin at the class that s lets expect and go up or down from there. Each has four probabilities, looked up by

    s and |mu| | the product of means | the previous weight, the one above, and the product | |mu| and a

and the sign's four, for "unlike mu?", by

    signs around it | |mu| finely | |mu| and s | |mu| and the place in the kernel

mixed as in `adaptive`, each probability moving by 1 / (n + 1.6) of its error, n at most 250. The highest low bit is
looked up by class and s, those below it by class and the bits above them.

**Memory.** Probabilities, mixing weights and both regressions (one set for each size of kernel) are carried from each
tensor of a file to the next that is coded so; means start anew. It is worth 1.5 to 2 %.

**Integers only**, within 64 bits: shifts of negative numbers round down.

Measured while it was made (bytes against `adaptive`, ten networks on grids, trained for them or not): means and both
regressions 0.957, carrying on 0.938; another context or a second rate of learning gains less than 0.1 %.
Paper: M. Mahoney, "Adaptive weighing of context models for lossless data compression", Florida Tech TR CS-2005-16.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.coding import mixing_loop as loop
from gossamer.coding.adaptive import tables
from gossamer.coding.machine_code import machine_code, within_machine_code
from gossamer.coding.mixing_loop import BEFORE, FEATURES, LARGEST, MODELS, PLACES, QUESTIONS
from gossamer.coding.range_coder import Run, begin, call, carry, code_bit, end, read, written

FIRST_WEIGHT, FIRST_SIGN_WEIGHT = 18022, 22938  # 0.275 and 0.35 x 2^16
FIRST_FEATURE_WEIGHTS = (2621, 2621, 2621, 2621, 7864, 7864, 7864, 7864, 2621)  # 0.04 and 0.12 x 2^16
Integers = NDArray[np.int64]


@functools.cache
def _beginning() -> Integers:
    """The tables, nothing learned yet: rates are 65536 / (n + 1.6), rounded, for n = 0 .. 4095."""
    squash, stretch, _ = tables()
    rates = [(2 * 655360 + 10 * n + 16) // (2 * (10 * n + 16)) for n in range(LARGEST + 1)]
    numbers = np.zeros(loop.NUMBERS, np.int64)
    numbers[: loop.PROBABILITY] = [*squash, *stretch, *rates]
    numbers[loop.PROBABILITY : loop.VISITS] = 1 << 21
    numbers[loop.WEIGHT : loop.WHERE] = [FIRST_WEIGHT] * (MODELS * QUESTIONS) + [FIRST_SIGN_WEIGHT] * MODELS
    return numbers


@dataclass(eq=False)
class Memory:
    """What has been learned from the tensors coded so far; encoder and decoder each keep one for a file."""

    known: Integers | None = None  # nothing takes its 2 MB before it is needed
    regressions: dict[int, tuple[Integers, Integers]] = field(default_factory=dict)
    values: int = 0  # coded so far

    @property
    def numbers(self) -> Integers:
        """Probabilities, weights and what the loop works with, to be changed."""
        if self.known is None:
            self.known = _beginning().copy()
        return self.known

    def copy(self) -> Memory:
        """One that can be tried without harm to this one."""
        regressions = {size: (value.copy(), magnitude.copy()) for size, (value, magnitude) in self.regressions.items()}
        known = None if self.known is None else self.known.copy()
        return Memory(known, regressions, self.values)

    def become(self, other: Memory) -> None:
        """Know what the other knows."""
        self.known, self.regressions, self.values = other.known, other.regressions, other.values

    def regression(self, inner: int) -> tuple[Integers, Integers]:
        """The weights of value (places x 8) and magnitude (places x 9) for kernels of `inner` places, to be changed."""
        if inner not in self.regressions:
            places = min(inner, PLACES)
            first = np.tile(np.array(FIRST_FEATURE_WEIGHTS, np.int64), places)
            self.regressions[inner] = np.zeros(places * BEFORE, np.int64), first
        return self.regressions[inner]


def encode(values: NDArray[np.int32], memory: Memory | None = None) -> bytes:
    """Code integers of -(2^31 - 1) to 2^31 - 1 of any shape; `memory` is learned from, and changed."""
    memory = memory or Memory()
    data, after = tried(values, memory)
    memory.become(after)
    return data


def tried(values: NDArray[np.int32], memory: Memory) -> tuple[bytes, Memory]:
    """What `encode` would write, and the memory that it would leave."""
    after = memory

    def run(encoding: bool, stream: NDArray[np.uint8], flat: NDArray[np.int32]) -> tuple[int, int]:
        nonlocal after
        after = memory.copy()  # anew, where the stream was too short
        return _run(values.shape, after)(encoding, stream, flat)

    return written(values, run), after


def decode(data: bytes | memoryview, shape: tuple[int, ...], memory: Memory | None = None) -> NDArray[np.int32]:
    """The integers of `shape` that `encode` coded with an equal memory; ValueError for what it would not have written.

    `memory` is changed as encoding changed it; after an error it is of no use.
    """
    return read(data, shape, _run(shape, memory or Memory()))


def _run(shape: tuple[int, ...], memory: Memory) -> Run:
    """The loop over integers of this shape."""

    def run(encoding: bool, stream: NDArray[np.uint8], values: NDArray[np.int32]) -> tuple[int, int]:
        count = len(values)
        memory.values += count
        row = count // shape[0] if len(shape) > 1 else count  # weights of one filter
        inner = row // shape[1] if len(shape) > 1 else 1  # weights of one filter for one input channel
        width = shape[3] if len(shape) > 3 else inner  # of a kernel
        learned = (memory.numbers, *memory.regression(inner))
        rooms = (row // inner, row, min(inner, PLACES), 2, BEFORE, FEATURES)
        arrays = (*learned, *(np.zeros(room, np.int64) for room in rooms))
        sizes = row, inner, width
        return call(_compiled(), loop.code_values, encoding, stream, values, sizes, arrays, len(learned))

    return run


@functools.cache
def _compiled() -> Any:
    within_machine_code(begin, carry, code_bit, end, loop.length, loop.clamp, loop.steps, loop.halves, loop.quarters)
    within_machine_code(loop.learn, loop.decide, loop.code_class, loop.code_low_bits, loop.signs_around)
    within_machine_code(loop.look_back, loop.look_around, loop.power_of_two, loop.expectation, loop.regress)
    within_machine_code(loop.approach)
    return machine_code(loop.code_values)
