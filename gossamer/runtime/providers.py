# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on an accelerator, where it was built with the provider for it.

Nothing falls back in silence: a provider that this ONNX Runtime lacks, or that does not start here, is an error.
Single operators that it cannot do, the next one does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossamer.runtime.session import Array, Session

#: From the most special to the most general; what one cannot do the next does.
PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


def open_on(provider: str, model: bytes, runtime: str = "onnxruntime", threads: int = 1) -> Session:
    """Open an ONNX network in a runtime; on another provider than the processor that runtime is ONNX Runtime."""
    from gossamer.runtime.session import open_session

    if provider == "cpu":
        return open_session(model, runtime, threads)
    if runtime != "onnxruntime":
        raise ValueError(f"expected --provider {provider} with --runtime onnxruntime, got {runtime}; leave out one")
    import onnxruntime

    wanted = PROVIDERS[provider]
    there = onnxruntime.get_available_providers()
    if wanted not in there:
        raise ValueError(
            f"expected an ONNX Runtime that has {wanted}, this one has {', '.join(there)}; install a build with it, or "
            "leave out --provider"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    order = list(PROVIDERS.values())
    session = onnxruntime.InferenceSession(
        model, options, providers=[name for name in order[order.index(wanted) :] if name in there]
    )
    if session.get_providers()[0] != wanted:  # ONNX Runtime goes on without one that does not start
        raise ValueError(f"expected {wanted} to start, and it does not; see what ONNX Runtime says above")
    return _Accelerated(session, provider, threads)


class _Accelerated:
    """A session of ONNX Runtime on an accelerator."""

    def __init__(self, session: Any, provider: str, threads: int) -> None:
        self._session, self._inputs = session, [value.name for value in session.get_inputs()]
        self.name, self.threads = f"onnxruntime {provider} x{threads}", threads

    def run(self, *inputs: Array) -> list[Array]:
        return list(self._session.run(None, dict(zip(self._inputs, inputs, strict=True))))
