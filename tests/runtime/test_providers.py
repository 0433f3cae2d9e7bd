# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on an accelerator: what this build does not have is refused, and nothing falls back in silence."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from gossamer.cli import main
from gossamer.runtime import providers
from gossamer.runtime.providers import PROVIDERS, open_on
from gossamer.runtime.session import open_session
from tests.device.detectors import SQUARES, save_scene, write_detector

HERE = onnxruntime.get_available_providers()
ABSENT = next((name for name, provider in PROVIDERS.items() if provider not in HERE), None)
absent = pytest.mark.skipif(ABSENT is None, reason="this ONNX Runtime has every provider")


def test_the_processor_is_the_session_that_there_was() -> None:
    x = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    session = open_on("cpu", SQUARES, threads=1)
    assert session.name == "onnxruntime f32 x1"
    assert (session.run(x)[0] == open_session(SQUARES).run(x)[0]).all()


@absent
def test_a_provider_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=rf"expected an ONNX Runtime that has {PROVIDERS[str(ABSENT)]}, this one has "):
        open_on(str(ABSENT), SQUARES)


def test_other_runtimes_have_no_providers() -> None:
    with pytest.raises(ValueError, match="expected --provider cuda with --runtime onnxruntime, got openvino"):
        open_on("cuda", SQUARES, "openvino")


def test_one_that_does_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime itself would go on with the next."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *HERE])

    class Fallen:
        def __init__(self, *_: object, **asked: object) -> None:
            assert asked["providers"] == ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
    with pytest.raises(ValueError, match="expected CUDAExecutionProvider to start, and it does not"):
        providers.open_on("cuda", SQUARES)


@absent
@pytest.mark.parametrize("verb", ["detect", "predict"])
def test_the_command_line_says_it_in_one_sentence(verb, tmp_path, capsys) -> None:
    save_scene(tmp_path / "a.png", 64, 64, [(0, 0, 0)])
    line = [
        verb,
        str(write_detector(tmp_path / "net.gossamer")),
        str(tmp_path / "a.png"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*line, "--provider", str(ABSENT)]) == 1
    assert capsys.readouterr().err.startswith(f"ValueError: expected an ONNX Runtime that has {PROVIDERS[str(ABSENT)]}")
