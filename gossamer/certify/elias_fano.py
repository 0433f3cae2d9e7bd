# SPDX-License-Identifier: Apache-2.0
"""Elias-Fano: whole numbers in ascending order as a text whose length follows from how many there are.

    n numbers 0 <= v_0 <= ... <= v_(n-1) <= u,     k = max(0, floor(log2((u + 1) / n)))

    first   n + (u >> k) bits, zero but at the n places (v_i >> k) + i
    then    the lowest k bits of each number, highest bit first
    then    zeros up to a whole byte; the bytes in base64

About 2 + log2(u / n) bits a number, half a bit more than there is to know. So the size of a certificate that lists the
differences of n images is bounded before any is known.

Papers: P. Elias, "Efficient Storage and Retrieval by Content and Address of Static Files", Journal of the ACM 21, 1974;
R. Fano, "On the Number of Bits Required to Implement an Associative Memory", MIT Project MAC memo 61, 1971.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np


def pack(numbers: Sequence[int], most: int) -> str:
    """At least one number from 0 to `most`, ascending, as a text of `packed_length` characters.

    >>> pack([0, 3, 3, 9], most=10)
    'sTg='
    """
    values, low_bits = np.asarray(numbers, np.int64), _low_bits(len(numbers), most)
    if not len(values) or values[0] < 0 or values[-1] > most or (np.diff(values) < 0).any():
        raise ValueError(f"expected numbers from 0 to {most} in ascending order, at least one, got {numbers!r:.60}")
    high = np.zeros(len(values) + (most >> low_bits), np.uint8)
    high[(values >> low_bits) + np.arange(len(values))] = 1
    low = (values[:, None] >> np.arange(low_bits - 1, -1, -1)) & 1
    return base64.b64encode(np.packbits(np.concatenate([high, low.ravel().astype(np.uint8)])).tobytes()).decode()


def unpack(text: str, count: int, most: int) -> list[int]:
    """The inverse of `pack`, for so many numbers; ValueError where a text is not what `pack` gives.

    >>> unpack("sTg=", count=4, most=10)
    [0, 3, 3, 9]
    """
    wrong = ValueError(
        f"expected {count} ascending numbers from 0 to {most} as Elias and Fano code them, got {text!r:.60}"
    )
    if count < 1 or len(text) != packed_length(count, most):
        raise wrong
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
    low_bits = _low_bits(count, most)
    ends = count + (most >> low_bits)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    places = np.flatnonzero(bits[:ends])
    if len(places) != count:
        raise wrong
    low = bits[ends : ends + count * low_bits].reshape(count, low_bits).astype(np.int64)
    values = (places - np.arange(count) << low_bits) + (low << np.arange(low_bits - 1, -1, -1)).sum(axis=1)
    found: list[int] = values.tolist()
    if found != sorted(found) or found[-1] > most or pack(found, most) != text:  # each list has one spelling
        raise wrong
    return found


def packed_length(count: int, most: int) -> int:
    """Characters of so many numbers, whatever they are.

    >>> packed_length(400, 20_000), packed_length(10_000, 20_000)
    (508, 5000)
    """
    low_bits = _low_bits(count, most)
    bits = count + (most >> low_bits) + count * low_bits
    return 4 * -(-bits // 24)


def _low_bits(count: int, most: int) -> int:
    return max(0, ((most + 1) // max(1, count)).bit_length() - 1)
