# SPDX-License-Identifier: Apache-2.0
"""Floats as small integers: nothing is lost, and values that were rounded to few bits take few.

The 31 bits of a float32 below its sign are a number that grows with the magnitude: exponent, then mantissa. A *word*
is that number without its `shift` lowest bits, which are 0 in all values of the vector; where a value is negative,
the sign is put below it, as a word's lowest bit. Coded is the difference of each word from `base`, a typical one:

    word = magnitude >> shift                                    no value is negative
    word = 2 (magnitude >> shift) + sign                         some are
    integer = word - base

A vector rounded to five bits of mantissa is 2^5 integers an octave wide, all equal values are integers 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

MOST_SHIFT = 31
SIGNED = 32  # added to the shift in a form's byte where words end in a sign
MOST_WORD = 2**32 - 1
INFINITY = 0x7F800000  # as bits; what is above is NaN


@dataclass(frozen=True)
class Form:
    """How the words of one vector are made: bits dropped, whether a sign is below, what is subtracted."""

    shift: int = 0
    signed: bool = False
    base: int = 0


def to_words(values: FloatArray) -> tuple[Form, NDArray[np.int32]]:
    """The form and the integers, (N,), of N float32 values, infinities and the sign of zero included; NaN have none.

    >>> form, integers = to_words(np.array([1.0, 1.5, -2.0], np.float32))
    >>> form, integers.tolist()
    (Form(shift=22, signed=True, base=510), [-2, 0, 3])
    """
    bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32).astype(np.int64)
    magnitude, sign = bits & 0x7FFFFFFF, bits >> 31
    if not bits.size:
        return Form(), bits.astype(np.int32)
    together = int(np.bitwise_or.reduce(magnitude))
    shift = (together & -together).bit_length() - 1 if together else MOST_SHIFT
    signed = bool(sign.any())
    words = magnitude >> shift
    if signed:
        words = 2 * words + sign
    base = int(np.sort(words)[words.size // 2])
    low, high = int(words.min()), int(words.max())
    if max(high - base, base - low) >= 2**31:
        base = (low + high) // 2
    return Form(shift, signed, base), (words - base).astype(np.int32)


def from_words(form: Form, integers: NDArray[np.int32]) -> FloatArray:
    """The values, of the shape of `integers`; ValueError for words that no number has."""
    words = integers.astype(np.int64) + form.base
    sign = words & 1 if form.signed else np.zeros_like(words)
    magnitude = (words >> form.signed) << form.shift
    if words.size and (words.min() < 0 or words.max() > MOST_WORD or magnitude.max() > INFINITY):
        raise ValueError("holds a word that is no number in float32; it is damaged")
    return (magnitude | sign << 31).astype(np.uint32).view(np.float32)
