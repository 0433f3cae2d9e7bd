# SPDX-License-Identifier: Apache-2.0
"""Whether integer products come out right is asked of the machine; what it answers decides the largest weight."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.runtime import saturation
from gossamer.runtime.session import available


class Processor:
    """A session that computes the probe rightly, or adds pairs of products in 16 bits."""

    def __init__(self, cuts: bool) -> None:
        self.share = 32_767 / (2 * 255 * 127) if cuts else 1.0

    def run(self, image):
        return [np.full(image.shape, 9 * image.shape[1] * 255 * 127 * self.share, np.float32)]


@pytest.mark.parametrize("cuts", [False, True])
def test_a_processor_that_cuts_off_is_found(monkeypatch, cuts):
    monkeypatch.setattr(saturation, "open_session", lambda model, runtime: Processor(cuts))
    assert saturation.saturates("onnxruntime") == cuts


@pytest.mark.parametrize("cutting", [[], ["openvino"], ["onnxruntime", "openvino"]])
def test_one_runtime_that_cuts_off_is_enough(monkeypatch, cutting):
    monkeypatch.setattr(saturation, "available", lambda: {"onnxruntime": "1", "openvino": "2"})
    monkeypatch.setattr(saturation, "saturates", lambda runtime: runtime in cutting)
    saturation.largest_weight.cache_clear()
    try:
        assert saturation.largest_weight() == (64 if cutting else 127)
    finally:
        saturation.largest_weight.cache_clear()


@pytest.mark.parametrize("runtime", sorted(available()))
def test_safe_weights_come_out_right_on_any_machine(monkeypatch, runtime):
    monkeypatch.setattr(saturation, "LARGEST", saturation.SAFE)
    assert not saturation.saturates(runtime)
