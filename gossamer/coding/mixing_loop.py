# SPDX-License-Identifier: Apache-2.0
"""The loop of the mixing coder, whose header says what it does: integer arithmetic on arrays, and nothing else.

Written for numba and for plain Python (on lists) alike. `m`, one row of numbers, holds all that the decisions need: the
tables, what was learned, the range coder and places to work in; the constants below say where. (One array, since
machine code pays for every array that a function is given.)
"""

from __future__ import annotations

from typing import Any

from gossamer.coding.adaptive import CLASSES
from gossamer.coding.range_coder import begin, code_bit, end

MODELS = 4  # probabilities of a decision
QUESTIONS = 2 * CLASSES  # "more than k?" on the way up, then on the way down
WIDTHS = (1024, 64, 256, 256)  # contexts of each model of a class
SECOND, THIRD, FOURTH, ALL = 1024, 1088, 1344, 1600  # where those of a question begin, and how many they are
SIGN_WIDTHS = (243, 64, 256, 256)
SIGNS = QUESTIONS * ALL  # where the probabilities of signs begin
HIGHEST = SIGNS + sum(SIGN_WIDTHS)  # of each class' highest low bit, 64 contexts
LOWER = HIGHEST + 64 * (CLASSES + 1)  # of the low bits below it, 16 contexts
PROBABILITIES = LOWER + 16 * (CLASSES + 1)
WEIGHTS = MODELS * (QUESTIONS + 1)  # mixing weights: of every question, then of signs
SQUASH, STRETCH, RATE = 0, 5120, 5120 + 4096  # the tables
PROBABILITY = RATE + 4096
VISITS = PROBABILITY + PROBABILITIES
WEIGHT = VISITS + PROBABILITIES
WHERE = WEIGHT + WEIGHTS  # the probabilities of a decision
SEEN = WHERE + MODELS  # what each of them says
CONTEXT = SEEN + MODELS  # of a class, in each model
CODER = CONTEXT + MODELS
NUMBERS = CODER + 4
LARGEST = 4095  # magnitudes above it count as it; also the most weights that a mean counts
POINT = 12  # bits after the point of magnitudes; means have 8 more
BEFORE, FEATURES, PLACES = 8, 9, 64  # regressors of value and magnitude, and places of a kernel told apart
SLOWEST = 250  # visits after which a probability moves no slower
MOST_MIXING, MOST_REGRESSION = 262143, 131072  # 4 and 2 x 2^16: the largest weights


def length(x: int) -> int:
    """Bit length of an x >= 0."""
    n = 0
    for bits in (32, 16, 8, 4, 2, 1):
        more = bits * (x >> bits > 0)
        x >>= more
        n += more
    return n + x


def clamp(x: int, most: int) -> int:
    """x, but from -most to most."""
    return min(max(x, -most), most)


def steps(x: int, bits: int) -> int:
    """Logarithm of x + 1, 2^bits steps an octave: its bit length, then the bits after the highest; x >= 0."""
    x += 1
    n = length(x)
    after = x >> (n - 1 - bits) if n > bits else x << (bits + 1 - n)
    return n << bits | after & ((1 << bits) - 1)


def halves(x: int, first: int) -> int:
    """`steps` by half octaves from `first` on, 0 to 15."""
    return min(max(steps(x, 1) - first, 0), 15)


def quarters(x: int, first: int) -> int:
    """`steps` by quarter octaves from `first` on, 0 to 63."""
    return min(max(steps(x, 2) - first, 0), 63)


def learn(m: Any, at: int, bit: int) -> None:
    """Move one probability, of 22 bits, towards what happened."""
    n = m[VISITS + at]
    m[PROBABILITY + at] += ((4194303 * bit - m[PROBABILITY + at]) * m[RATE + n]) >> 16
    if n < SLOWEST:
        m[VISITS + at] = n + 1


def decide(encoding: bool, stream: Any, m: Any, first: int, bit: int) -> int:
    """Code one mixed decision with the mixing weights from `first` on, and learn from it; -1 at the stream's end."""
    x = 32768
    for j in range(MODELS):
        m[SEEN + j] = m[STRETCH + (m[PROBABILITY + m[WHERE + j]] >> 10)]
        x += m[WEIGHT + first + j] * m[SEEN + j]
    p = m[SQUASH + 2560 + min(max(x >> 16, -2560), 2559)]
    bit = code_bit(encoding, stream, m, CODER, bit, p)
    if bit < 0:
        return -1
    error = (bit << 16) - p
    for j in range(MODELS):
        moved = m[WEIGHT + first + j] + ((m[SEEN + j] * error + 32768) >> 16)
        m[WEIGHT + first + j] = clamp(moved, MOST_MIXING)
        learn(m, m[WHERE + j], bit)
    return bit


def code_class(encoding: bool, stream: Any, m: Any, expected: int, true_class: int) -> int:
    """Code a class by questions up or down from `expected`; returns it, or -1 at the stream's end."""
    asked, direction = expected, 0
    while True:
        question = asked + (CLASSES if direction < 0 else 0)
        m[WHERE], m[WHERE + 1] = question * ALL + m[CONTEXT], question * ALL + SECOND + m[CONTEXT + 1]
        m[WHERE + 2] = question * ALL + THIRD + m[CONTEXT + 2]
        m[WHERE + 3] = question * ALL + FOURTH + m[CONTEXT + 3]
        more = decide(encoding, stream, m, question * MODELS, 1 if true_class > asked else 0)
        if more < 0:
            return -1
        if direction == 0:
            direction = 1 if more else -1
        if direction > 0:
            if not more:
                return asked
            asked += 1
            if asked == CLASSES:
                return CLASSES
        else:
            if more or asked == 0:
                return asked + more
            asked -= 1


def code_low_bits(encoding: bool, stream: Any, m: Any, size_class: int, s4: int, magnitude: int) -> int:
    """Code the bits below the highest; returns the magnitude, or -1 at the stream's end."""
    so_far = 1
    for low in range(size_class - 2, -1, -1):
        at = HIGHEST + 64 * size_class + s4
        if so_far > 1:
            at = LOWER + 16 * size_class + (so_far if so_far < 16 else 0)
        p = min(max(m[PROBABILITY + at] >> 6, 3), 65533)
        bit = code_bit(encoding, stream, m, CODER, (magnitude >> low) & 1, p)
        if bit < 0:
            return -1
        learn(m, at, bit)
        so_far = 2 * so_far + bit
    return so_far


def signs_around(values: Any, i: int, x: int, y: int, width: int, inner: int, row: int, opposite: bool) -> int:
    """Signs of the left, upper, above, behind and previous weight, each unlike, like or zero; 243 of them."""
    around = 0
    for j in range(5):
        back = (1, width, inner, row, 1)[j]
        there = i >= back and (j > 1 or (x > 0 if j == 0 else y > 0))
        other = values[i - back] if there else 0
        sign = 0 if other == 0 else (1 if (other > 0) != opposite else 2)
        around = 3 * around + sign
    return around


def look_back(values: Any, i: int, k: int, inner: int, row: int, near: Any) -> None:
    """The regressors of a value: the eight before it in its kernel; in a matrix the one above and the one behind."""
    for j in range(BEFORE):
        back = j + 1
        if inner == 1:
            back = i + 1 if j > 1 else (inner if j == 0 else row)
        elif j >= k:
            back = i + 1
        near[j] = clamp(values[i - back], LARGEST) if i >= back else 0


def look_around(values: Any, i: int, k: int, width: int, ceiling: int, features: Any) -> None:
    """The first four regressors of a magnitude: those one, two, a kernel's row and one more before."""
    for j in range(4):
        back = (1, 2, width, width + 1)[j]
        features[j] = 0
        if i >= back and (back <= k or k == 0):
            features[j] = min(min(abs(values[i - back]), LARGEST) << POINT, ceiling)


def power_of_two(product: int, ceiling: int) -> int:
    """2 to a logarithm of 16 steps an octave, as `steps` counts it, and at most `ceiling`."""
    whole, fraction = product >> 4, 16 + (product & 15)
    if whole <= 0:
        return 0
    return fraction >> (5 - whole) if whole < 5 else min(ceiling, fraction << min(whole - 5, 30))


def expectation(weights: Any, first: int, regressors: Any, count: int) -> int:
    """Sum of weights, of 16 bits after the point, times regressors."""
    total = 0
    for j in range(count):
        total += weights[first + j] * regressors[j]
    return total


def regress(weights: Any, first: int, regressors: Any, count: int, error: int, energy: int, gain: int) -> None:
    """Normalised least mean squares: each weight moves by error x regressor / (energy, to a power of two)."""
    for j in range(count):
        energy += regressors[j] * regressors[j]
    shift = length(energy) + gain
    for j in range(count):
        moved = weights[first + j] + ((error * regressors[j] + (1 << (shift - 1))) >> shift)
        weights[first + j] = clamp(moved, MOST_REGRESSION)


def approach(means: Any, at: int, target: int, rate: int) -> None:
    """Move a mean towards one more thing, by rate / 65536 of the way."""
    means[at] += ((target - means[at]) * rate) >> 16


def code_values(
    encoding: bool,
    stream: Any,
    values: Any,
    row: int,
    inner: int,
    width: int,
    m: Any,
    value_weight: Any,
    magnitude_weight: Any,
    channel_mean: Any,
    cell_mean: Any,
    place_mean: Any,
    other_mean: Any,
    near: Any,
    features: Any,
) -> tuple[int, int]:
    """Code all `values` into `stream`, or back: one loop for both, so that the two models cannot differ.

    `row`, `inner`, `width`: weights of a filter, of a kernel, of a row of it. Then what is learned, the means of each
    input channel, of each of its places, of each place, of all weights and of the filter, and room for regressors.
    Returns what `range_coder.Run` says.
    """
    begin(encoding, stream, m, CODER)
    other_mean[0] = 1 << (POINT + 7)  # half a step to begin with
    channels = row // inner
    out = channel = k = x = y = 0  # the filter, the input channel, the place in the kernel
    for i in range(len(values)):
        place, r = min(k, PLACES - 1), channel * inner + k
        if r == 0:
            other_mean[1] = other_mean[0]
        if out == 0:
            if k == 0:
                channel_mean[channel] = other_mean[0]
            cell_mean[r] = channel_mean[channel]
            if channel == 0 and place == k:
                place_mean[k] = other_mean[0]
        g, a, b = other_mean[0] >> 8, other_mean[1] >> 8, channel_mean[channel] >> 8
        d, e = cell_mean[r] >> 8, place_mean[place] >> 8
        ceiling = min(LARGEST << POINT, 6 * g + (2 << POINT))
        product = steps(a, 4) + steps(b, 4) + steps(e, 4) - 2 * steps(g, 4)

        look_back(values, i, k, inner, row, near)
        guess = expectation(value_weight, place * BEFORE, near, BEFORE) >> (16 - POINT)
        opposite, size = guess < 0, abs(guess)
        look_around(values, i, k, width, ceiling, features)
        features[4], features[5], features[6] = a, b, d
        features[7], features[8] = power_of_two(product, ceiling), min(ceiling, size)
        scale = expectation(magnitude_weight, place * FEATURES, features, FEATURES) >> 16
        scale = min(max(scale, (g >> 6) + 1), LARGEST << POINT)

        s4, s2, u, a2 = quarters(scale, 24), halves(scale, 14), halves(size, 18), halves(a, 14)
        before, above = values[i - 1] if i >= 1 else 0, values[i - inner] if i >= inner else 0
        m[CONTEXT], m[CONTEXT + 1] = s4 * 16 + u, min(max((product >> 2) - 28, 0), 63)
        m[CONTEXT + 2] = (min(abs(before), 3) * 4 + min(abs(above), 3)) * 16 + min(max((product >> 3) - 14, 0), 15)
        m[CONTEXT + 3] = u * 16 + a2

        value = values[i]  # 0 in the decoder
        expected = max(0, length(scale) - POINT - 1)
        size_class = code_class(encoding, stream, m, expected, length(abs(value)))
        if size_class > 0:
            flip = 1 if opposite else 0
            around = signs_around(values, i, x, y, width, inner, row, opposite)
            m[WHERE], m[WHERE + 1] = SIGNS + around, SIGNS + 243 + quarters(size, 30)
            m[WHERE + 2], m[WHERE + 3] = SIGNS + 307 + u * 16 + s2, SIGNS + 563 + u * 16 + min(k, 15)
            sign = decide(encoding, stream, m, MODELS * QUESTIONS, (1 if value < 0 else 0) ^ flip)
            magnitude = code_low_bits(encoding, stream, m, size_class, s4, abs(value)) if sign >= 0 else -1
            if magnitude < 0:
                size_class = -1
            if not encoding:
                value = -magnitude if sign ^ flip else magnitude
                values[i] = value
        if size_class < 0:
            return (-1, 0) if encoding else (-1 - i, 0)

        capped = min(abs(value), LARGEST)
        error = min(capped << POINT, ceiling) - scale
        regress(magnitude_weight, place * FEATURES, features, FEATURES, error, 1 << (2 * POINT - 2), -9)
        error = (clamp(value, LARGEST) << POINT) - guess
        regress(value_weight, place * BEFORE, near, BEFORE, error, 1, 2)
        capped <<= POINT + 8
        approach(other_mean, 0, capped, m[RATE + min(i + 1, LARGEST)])
        approach(other_mean, 1, capped, m[RATE + min(r + 4, LARGEST)])
        approach(channel_mean, channel, capped, m[RATE + min(out * inner + k + 4, LARGEST)])
        approach(cell_mean, r, capped, m[RATE + min(out + 4, 255)])
        approach(place_mean, place, capped, m[RATE + min(out * channels + channel + 4, LARGEST)])

        k, x = k + 1, x + 1
        if x == width:
            x, y = 0, y + 1
        if k == inner:
            k, x, y, channel = 0, 0, 0, channel + 1
            if channel == channels:
                channel, out = 0, out + 1
    return end(encoding, stream, m, CODER), 0 if encoding else m[CODER + 2]
