# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of training: chosen by trial, or given by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer.search.run import Settings
from gossamer.tuning.numerics import ALL_NUMERICS, Numerics, fastest_numerics


def test_every_arithmetic_is_tried_and_the_fastest_taken():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    chosen, times = fastest_numerics(module, torch.zeros(4, 3, 8, 8), steps=1)
    assert list(times) == [str(numerics) for numerics in ALL_NUMERICS]
    assert times[str(chosen)] == min(times.values())


def test_only_what_is_given_is_tried():
    chosen, times = fastest_numerics(nn.Conv2d(3, 4, 3), torch.zeros(4, 3, 8, 8), [Numerics(True, False)], steps=1)
    assert str(chosen) == "channels_last float32"
    assert list(times) == ["channels_last float32"]


def test_an_unknown_arithmetic_is_refused_before_anything_is_written():
    with pytest.raises(ValueError, match=r"numerics must be one of .*plain float32, got 'float8'; leave it out"):
        Settings(numerics="float8")
