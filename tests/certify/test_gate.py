# SPDX-License-Identifier: Apache-2.0
"""A network may replace another only where its promise is no weaker."""

from __future__ import annotations

import pytest

from gossamer.certify import Counts, certificate_of, weaker

DATA, PAYLOAD = "ab" * 32, "cd" * 32


def made(
    b: int = 5, tolerance: float = 0.01, confidence: float = 0.95, data: str = DATA, measure: str = "pixel accuracy"
):
    return certificate_of(Counts(5000, b, 5), tolerance, confidence, data, PAYLOAD, 1, measure)


def test_the_same_promise_passes():
    assert weaker(made(b=9), made()) == []
    assert weaker(made(tolerance=0.008, confidence=0.99), made()) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"b": 90}, "the promise of at most 1 points is not proven"),
        ({"data": "ef" * 32}, "expected a certificate on the same test images"),
        ({"measure": "IoU"}, "expected a certificate on pixel accuracy, got one on IoU: the two cannot be compared"),
        ({"tolerance": 0.02}, "it promises a drop of at most 2 points, the other 1 points"),
        ({"confidence": 0.9}, "it is 90 % sure, the other 95 %"),
    ],
)
def test_a_weaker_one_does_not(change, problem):
    (found,) = weaker(made(**change), made())
    assert problem in found
