# SPDX-License-Identifier: Apache-2.0
"""One way to open a network in any runtime, with its threads and its arithmetic pinned.

    open_session(Path("model.onnx"), runtime="openvino", threads=2).run(x)

Precision 'f32' computes in float32 everywhere. It has to be asked for: OpenVINO by itself computes in bfloat16 on
processors that have it, which is faster and keeps 8 bits of each number. 'bf16' asks for that, 'default' leaves
the choice to the runtime. The integer operators of an int8 network stay integer under each of them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

PRECISIONS = ("f32", "bf16", "default")


class Session(Protocol):
    """An opened network."""

    name: str  #: runtime, precision and threads, such as 'openvino bf16 x2'
    threads: int

    def run(self, *inputs: Array) -> list[Array]:
        """Outputs of one batch; each input is (N, C, H, W) for images."""
        ...


def open_session(
    model: bytes | Path, runtime: str = "onnxruntime", threads: int = 1, precision: str = "f32"
) -> Session:
    """Open an ONNX network, given as bytes or as a file."""
    if runtime not in RUNTIMES:
        raise ValueError(f"expected a runtime of {', '.join(RUNTIMES)}, got {runtime!r}; choose one of these")
    if precision not in PRECISIONS:
        raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}, got {precision!r}; choose one of these")
    if threads < 1:
        raise ValueError(f"expected at least 1 thread, got {threads}; give the number of cores to use")
    return RUNTIMES[runtime](model if isinstance(model, bytes) else Path(model).read_bytes(), threads, precision)


def available() -> dict[str, str]:
    """The runtimes that are installed here, with their versions."""
    installed = [name for name in RUNTIMES if importlib.util.find_spec(name) is not None]
    return {name: importlib.metadata.version(name) for name in installed}


def precisions(runtime: str) -> list[str]:
    """The float arithmetics that a runtime offers on this processor, for comparisons: 'f32', perhaps 'bf16'."""
    if runtime != "openvino":
        return ["f32"]
    capabilities = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["f32", "bf16"] if "BF16" in capabilities else ["f32"]


def predict(session: Session, batches: Iterable[Array]) -> Iterator[list[Array]]:
    """The outputs of each batch in turn."""
    for batch in batches:
        yield session.run(batch)


class OnnxRuntimeSession:
    """ONNX Runtime on its CPU provider; it computes float networks in float32 only."""

    def __init__(self, model: bytes, threads: int, precision: str) -> None:
        import onnxruntime

        if precision == "bf16":
            raise ValueError("expected precision f32 or default for onnxruntime, got 'bf16'; use runtime 'openvino'")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # an error is an exception, and the caller says it
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._session.get_inputs()]
        self.name, self.threads = f"onnxruntime f32 x{threads}", threads

    def run(self, *inputs: Array) -> list[Array]:
        return list(self._session.run(None, dict(zip(self._inputs, inputs, strict=True))))


class OpenVinoSession:
    """OpenVINO on its CPU plugin, tuned for latency: one stream, one request."""

    def __init__(self, model: bytes, threads: int, precision: str) -> None:
        config: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # a pinned thread waits for whoever else runs on its core
        }
        if precision != "default":
            config["INFERENCE_PRECISION_HINT"] = precision
        core = openvino_core()
        compiled = core.compile_model(core.read_model(model), "CPU", config)
        self._request = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))
        self.name, self.threads = f"openvino {precision} x{threads}", threads

    def run(self, *inputs: Array) -> list[Array]:
        self._request.infer(list(inputs), share_inputs=True)
        return [np.array(self._request.get_output_tensor(k).data) for k in self._outputs]


def openvino_core() -> Any:
    """OpenVINO's core; ValueError where it is not installed."""
    try:
        import openvino
    except ImportError as error:
        raise ValueError("openvino is not installed; pip install openvino") from error
    return _only_core(openvino)


@cache
def _only_core(openvino: Any) -> Any:
    """One for the process, never let go.

    Each core loads a CPU plugin of its own, which gives the thread a stack for its signals and takes it away when the
    core goes. Of two cores the one that goes last puts the first one's back, which is gone by then: Ctrl-C is then a
    segmentation fault (OpenVINO 2026.4).
    """
    return openvino.Core()


RUNTIMES: dict[str, Callable[[bytes, int, str], Session]] = {
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
}
