# SPDX-License-Identifier: Apache-2.0
"""Binary adaptive range coder whose models learn each tensor while they code it.

    integer -> yes/no decisions -> three learned probabilities, mixed -> one probability -> range coder -> bytes

**Decisions.** An integer v is coded as its class c = bit length of |v| (0, 1, 2-3, 4-7, ...), by asking "c > k?" for
k = 0, 1, ... until the answer is no; then, if v is not 0, its sign; then the c - 1 bits of |v| below the highest.
The first question is the zero flag; the classes are an Exp-Golomb code whose every bit is learned.

**Models.** Each question about the class has three probabilities, each looked up by another context:
  neighbours  bit length of (2 x previous + the one before + 2 x same place in the previous input channel
              + same place in the previous filter + 1) / 2, of magnitudes
  channel     running mean of the class in this input channel, over all filters so far
  filter      running mean of the class over the last weights coded
Signs are looked up by the signs of the three neighbours, low bits by class and the bits above them.
A probability p of "yes" moves by (1 - p) / 2^s or -p / 2^s after every decision, s = bit length of (visits + 1), at
most 8: fast at first, steady later, near the 1/n that a count would give.

**Mixing.** With stretch(p) = ln(p / (1 - p)), the three probabilities become squash(sum w_j stretch(p_j)), and each
weight then moves down the gradient of the code length, w_j += rate (bit - p) stretch(p_j); one set of weights per
question. On trained and pruned networks this coded up to 2 % smaller than the best single context found; a second,
faster rate for every probability would save 0.4 % on them, lose 0.2 % on weights without structure, and take time.

**Range coder.** An interval [low, low + range) of 32-bit width is split in proportion to p, and its top byte goes out
as soon as range < 2^24, so range >= 2^24 before every split: with 16-bit p the split (range >> 16) * p is never 0 and
the lost remainder costs under 0.0001 bit. Splitting may push low past 2^32; that carry is added to the bytes already
written (it always stops: low as a fraction stays below 1). At the end the one multiple of 2^24 in the interval is
written, as its top byte; the decoder supplies the three zero bytes, requires that it took them all, and that what it
holds is that multiple: a stream it accepts is exactly the stream the encoder would write.

**Integers only**, all within 32 bits on the decoder's side: floating point may round otherwise on another machine,
and one wrong bit of one probability turns all that follows into noise.

Paper: P. G. Howard, J. S. Vitter, "Practical implementations of arithmetic coding" (1992); M. Mahoney, "Adaptive
    weighing of context models for lossless data compression", Florida Tech TR CS-2005-16 (mixing);
    S. Wiedemann et al., "DeepCABAC", IEEE JSTSP 14 (2020): adaptive binary coding for weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.coding.machine_code import machine_code, within_machine_code
from gossamer.coding.range_coder import Run, begin, call, carry, code_bit, end, read, written

# 65536 / (1 + exp(-x)) at x = -10, -9.5, ... 10: the only trace of a transcendental function, so it is written out.
LOGISTIC = (
    *(3, 5, 8, 13, 22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743, 32768),
    *(40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500),
    *(65514, 65523, 65528, 65531, 65533),
)
CLASSES = 31  # |v| < 2^31, so the class is at most 31 and at most 31 questions are asked about it
CONTEXTS = 32  # per model and question
SIGNS = CLASSES * 3 * CONTEXTS  # where the probabilities of signs begin: 27 of them
LOW_BITS = SIGNS + 27  # where those of low bits begin: 16 for each class 0..31
PROBABILITIES = LOW_BITS + 16 * (CLASSES + 1)
FIRST_WEIGHT = 22938  # 0.35 x 2^16: three models that agree are trusted a little more than one

_Loop = Callable[..., tuple[int, int]]


@functools.cache
def tables() -> tuple[list[int], list[int], list[int]]:
    """squash (5120,), stretch (4096,) and the step of each visit count (128,).

    squash maps x * 256 + 2560, x in [-10, 10), to a probability x 65536; stretch is its inverse, from a probability
    x 4096 to x * 256.
    """
    squash = []
    for x in range(5120):
        i, part = divmod(x, 128)
        squash.append((LOGISTIC[i] * (128 - part) + LOGISTIC[i + 1] * part + 64) >> 7)
    stretch = []
    x = 0
    for p in range(4096):
        while squash[x] < 16 * p + 8:
            x += 1
        stretch.append(x - 2560)
    return squash, stretch, [min((visits + 1).bit_length(), 8) for visits in range(128)]


def encode(values: NDArray[np.int32]) -> bytes:
    """Code integers of -(2^31 - 1) to 2^31 - 1; the shape gives the neighbours, so decoding needs the same one."""
    return written(values, _run(values.shape))


def decode(data: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The integers of `shape` that `encode` coded; ValueError for anything it would not have written."""
    return read(data, shape, _run(shape))


def _run(shape: tuple[int, ...]) -> Run:
    """The loop over integers of this shape."""

    def run(encoding: bool, stream: NDArray[np.uint8], values: NDArray[np.int32]) -> tuple[int, int]:
        count = len(values)
        row = count // shape[0] if len(shape) > 1 else count  # weights of one filter
        inner = row // shape[1] if len(shape) > 1 else count  # weights of one filter for one input channel
        probability, visits = np.full(PROBABILITIES, 1 << 23, np.int32), np.zeros(PROBABILITIES, np.int32)
        weight, means = np.full(3 * CLASSES, FIRST_WEIGHT, np.int32), np.zeros(row // inner, np.int32)
        arrays: list[NDArray[Any]] = [*_table_arrays(), probability, visits, weight, means, np.zeros(4, np.int64)]
        return call(_compiled(), code_values, encoding, stream, values, (row, inner), arrays)

    return run


@functools.cache
def _table_arrays() -> tuple[NDArray[np.int32], ...]:
    return tuple(np.array(table, np.int32) for table in tables())


@functools.cache
def _compiled() -> _Loop | None:
    """`code_values` as machine code; None without numba."""
    within_machine_code(begin, carry, code_bit, end)
    return machine_code(code_values)


def code_values(
    encoding: bool,
    stream: Any,
    values: Any,
    row: int,
    inner: int,
    squash: Sequence[int],
    stretch: Sequence[int],
    step: Sequence[int],
    probability: Any,
    visits: Any,
    weight: Any,
    channel_mean: Any,
    coder: Any,
) -> tuple[int, int]:
    """Code all `values` into `stream`, or back: one loop for both, so that the two models cannot differ.

    Returns what `Run` says. Probabilities have 24 bits, weights and means 16 and 8 after the point; `coder` is the
    range coder's. Written for numba and plain Python alike: numbers, indexing and loops, nothing else.
    """
    begin(encoding, stream, coder, 0)
    filter_mean = 0
    a0 = a1 = a2 = x0 = x1 = x2 = 0

    for i in range(len(values)):
        previous = values[i - 1] if i >= 1 else 0
        before = values[i - 2] if i >= 2 else 0
        above = values[i - inner] if i >= inner else 0
        behind = values[i - row] if i >= row else 0
        signs = 0
        for neighbour in (previous, above, behind):
            signs = 3 * signs + (1 if neighbour > 0 else (2 if neighbour < 0 else 0))
        activity = 2 * min(abs(previous), 1023) + min(abs(before), 1023)
        activity = (activity + 2 * min(abs(above), 1023) + min(abs(behind), 1023) + 1) >> 1
        near = 0
        while activity > 0:
            activity >>= 1
            near += 1
        channel = i % row // inner
        far = CONTEXTS + min(channel_mean[channel] >> 6, CONTEXTS - 1)
        late = 2 * CONTEXTS + min(filter_mean >> 6, CONTEXTS - 1)

        negative, magnitude, true_class = 0, 0, 0
        if encoding:
            negative = 1 if values[i] < 0 else 0
            magnitude = abs(values[i])
            while magnitude >> true_class > 0:
                true_class += 1

        size_class, phase, low_bit, above_it = 0, 0, 0, 1  # phase 0: class, 1: sign, 2: low bits
        while True:
            if phase == 0:
                bit = 1 if true_class > size_class else 0
                first = 3 * CONTEXTS * size_class
                a0, a1, a2 = first + near, first + far, first + late
                x0, x1, x2 = (
                    stretch[probability[a0] >> 12],
                    stretch[probability[a1] >> 12],
                    stretch[probability[a2] >> 12],
                )
                w = 3 * size_class
                x = (x0 * weight[w] + x1 * weight[w + 1] + x2 * weight[w + 2] + 32768) >> 16
                p = squash[min(max(x, -2560), 2559) + 2560]
            else:
                if phase == 1:
                    bit, a0 = negative, SIGNS + signs
                else:
                    bit = (magnitude >> low_bit) & 1
                    a0 = LOW_BITS + 16 * size_class + (above_it if above_it < 16 else 0)
                p = min(max(probability[a0] >> 8, 3), 65533)

            bit = code_bit(encoding, stream, coder, 0, bit, p)
            if bit < 0:
                return (-1, 0) if encoding else (-1 - i, 0)

            models = 1
            if phase == 0:
                models = 3
                error = 65536 * bit - p
                weight[w] = min(max(weight[w] + ((x0 * error + 16384) >> 15), -262143), 262143)
                weight[w + 1] = min(max(weight[w + 1] + ((x1 * error + 16384) >> 15), -262143), 262143)
                weight[w + 2] = min(max(weight[w + 2] + ((x2 * error + 16384) >> 15), -262143), 262143)
            for model in range(models):
                a = a0 if model == 0 else (a1 if model == 1 else a2)
                seen = visits[a]
                if bit:
                    probability[a] += (0x1000000 - probability[a]) >> step[seen]
                else:
                    probability[a] -= probability[a] >> step[seen]
                if seen < 127:
                    visits[a] = seen + 1

            if phase == 0:
                size_class += bit
                if bit == 0 or size_class == CLASSES:
                    if size_class == 0:
                        break
                    phase = 1
            else:
                if phase == 1:
                    phase = 2
                    negative = bit
                    low_bit = size_class - 2
                    if not encoding:
                        magnitude = 1 << (size_class - 1)
                else:
                    if not encoding:
                        magnitude |= bit << low_bit
                    above_it = 2 * above_it + bit
                    low_bit -= 1
                if low_bit < 0:
                    break

        if not encoding:
            values[i] = -magnitude if negative else magnitude
        channel_mean[channel] += (size_class << 6) - (channel_mean[channel] >> 2)
        filter_mean += (size_class << 5) - (filter_mean >> 3)

    return end(encoding, stream, coder, 0), 0 if encoding else coder[2]
