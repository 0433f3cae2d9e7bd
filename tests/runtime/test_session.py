# SPDX-License-Identifier: Apache-2.0
"""Sessions: the same numbers from every runtime, and one sentence for each wrong request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper, parser

from gossamer.runtime.session import available, open_session, precisions, predict
from gossamer.runtime.weights import serialize

RUNTIMES = list(available())


@pytest.fixture(scope="module")
def model() -> bytes:
    """Two outputs, so that their order is seen."""
    proto = parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> g (float[N, 3, 8, 8] x) => (float[N, 16, 6, 6] y, float[N, 16] z) {'
        " y = Conv (x, w) m = GlobalAveragePool (y) z = Flatten (m) }"
    )
    weight = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return serialize(proto)


def images(n: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_outputs_in_order_for_any_batch_size(model: bytes, runtime: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model)
    session = open_session(tmp_path / "model.onnx", runtime)
    assert session.name == f"{runtime} f32 x1"
    assert session.threads == 1
    for n in (1, 5):
        y, z = session.run(images(n))
        assert y.shape == (n, 16, 6, 6)
        np.testing.assert_allclose(z, y.mean((2, 3)), atol=1e-5)
    kept, copy = session.run(images(2))[0], session.run(images(2))[0].copy()
    session.run(-images(2))
    np.testing.assert_array_equal(kept, copy)  # the next run has not written into it


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_f32_is_pinned(model: bytes, runtime: str) -> None:
    exact = open_session(model).run(images(4))[0]
    assert np.abs(open_session(model, runtime, threads=2).run(images(4))[0] - exact).max() < 1e-4


@pytest.mark.skipif("openvino" not in RUNTIMES or "bf16" not in precisions("openvino"), reason="no bf16 here")
def test_bf16_is_used_when_asked_for(model: bytes) -> None:
    session = open_session(model, "openvino", precision="bf16")
    error = np.abs(session.run(images(4))[0] - open_session(model).run(images(4))[0]).max()
    assert error > 1e-3  # were it smaller, the pinned test above would say nothing
    assert session.name == "openvino bf16 x1"


def test_predict_runs_batch_by_batch(model: bytes) -> None:
    session = open_session(model)
    whole = session.run(images(4))[1]
    parts = [outputs[1] for outputs in predict(session, (images(4)[:1], images(4)[1:]))]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_wrong_requests(model: bytes) -> None:
    with pytest.raises(ValueError, match="expected a runtime of onnxruntime, openvino, got 'tflite'"):
        open_session(model, "tflite")
    with pytest.raises(ValueError, match="expected a precision of f32, bf16, default, got 'f16'"):
        open_session(model, precision="f16")
    with pytest.raises(ValueError, match="expected at least 1 thread, got 0"):
        open_session(model, threads=0)
    with pytest.raises(ValueError, match="expected precision f32 or default for onnxruntime, got 'bf16'"):
        open_session(model, precision="bf16")


def test_a_missing_runtime_is_said(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValueError, match=r"openvino is not installed; pip install openvino$"):
        open_session(model, "openvino")


STOPPED = """
import os, signal, sys
from pathlib import Path
from gossamer.runtime.session import open_session
model = Path(sys.argv[1]).read_bytes()
first, second = open_session(model, sys.argv[2]), open_session(model, sys.argv[2])
del first
del second
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_process_with_closed_sessions_can_still_be_stopped(model: bytes, runtime: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model)
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "model.onnx"), runtime]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr
