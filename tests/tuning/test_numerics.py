# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of training: chosen by trial, or given by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer.search.settings import Settings
from gossamer.tuning import numerics as module_of_numerics
from gossamer.tuning.numerics import ALL_NUMERICS, Numerics, fastest_numerics


def test_every_arithmetic_is_tried_and_the_fastest_taken():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    chosen, times = fastest_numerics(module, torch.zeros(4, 3, 8, 8), steps=1)
    assert list(times) == [str(numerics) for numerics in ALL_NUMERICS]
    assert times[str(chosen)] == min(times.values())


def test_products_are_tried_with_the_fastest_where_a_kernel_is_large():
    chosen, times = fastest_numerics(nn.Conv2d(96, 96, 3), torch.zeros(2, 96, 4, 4), steps=1)
    *others, products = times
    assert products == f"{min(others, key=lambda words: times[words])} products"
    assert str(Numerics.parse(products)) == products
    assert times[str(chosen)] == min(times.values())


def test_only_what_is_given_is_tried():
    chosen, times = fastest_numerics(nn.Conv2d(3, 4, 3), torch.zeros(4, 3, 8, 8), [Numerics(True, False)], steps=1)
    assert str(chosen) == "channels_last float32"
    assert list(times) == ["channels_last float32"]


def test_an_unknown_arithmetic_is_refused_before_anything_is_written():
    with pytest.raises(
        ValueError, match=r"numerics must be one of .*plain float32 products, got 'float8'; leave it out"
    ):
        Settings(numerics="float8")


def test_the_clock_waits_for_the_device(monkeypatch):
    """An accelerator goes on with a step after Python has left it."""
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(str(device)))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    for device in ("cpu", "cuda:1", "mps"):
        assert module_of_numerics._seconds(torch.device(device)) > 0
    assert waited == ["cuda:1", "mps"]
    times = iter(range(100))
    monkeypatch.setattr(module_of_numerics, "_seconds", lambda device: next(times))
    _, found = fastest_numerics(nn.Conv2d(3, 4, 3), torch.zeros(4, 3, 8, 8), [Numerics()], steps=3)
    assert list(found.values()) == [1000.0]
    assert next(times) == 8, "before and after each of four steps"
