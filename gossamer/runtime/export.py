# SPDX-License-Identifier: Apache-2.0
"""PyTorch to ONNX: one small, deterministic file that computes the same, checked before it is handed out.

PyTorch's dynamo exporter translates; `onnx_graph.tidy` folds batch norms, strips and renames (its header states
the naming rule). Inputs are 'input0', 'input1', ..., outputs 'output0', ...; the first dimension of every input is
the free batch size 'N'.
"""

from __future__ import annotations

import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from numpy.typing import NDArray
from onnx_ir.passes.common import DeduplicateInitializersPass

from gossamer.graph.modes import evaluating
from gossamer.runtime.onnx_graph import LINEAR, tidy
from gossamer.runtime.session import open_session
from gossamer.runtime.translations import Keys, Translation, digest, tensors_of, without_weights
from gossamer.runtime.weights import serialize

OPSET = 20  # fixed, so that the bytes do not depend on the version of PyTorch
TOLERANCE = 1e-4  # on the relative error in float32

try:
    from torch.onnx._internal.exporter import _registration
except ImportError:  # its insides may change
    _registration = None  # type: ignore[assignment]
logger = logging.getLogger(__name__)
_tables: dict[Any, Any] = {}  # of operators, by what they were made for

Tensors = tuple[torch.Tensor, ...]
Array = NDArray[np.float32]


def export_onnx(module: torch.nn.Module, example: torch.Tensor | Sequence[torch.Tensor], fold: bool = True) -> bytes:
    """The evaluation form of `module` as ONNX, with batch norms folded and a free batch size.

    `example` is one input, or a sequence of them, each (N, ...). Without `fold` batch norms stay operators, and every
    parameter its own tensor. ValueError, naming the line or operator, if the
    network cannot be exported or if ONNX Runtime computes something else than PyTorch.
    """
    inputs = _float_batches(module, example)
    keys = Keys.of(module, inputs, fold)
    with evaluating(module), torch.no_grad(), _quiet():
        again = {}
        for key, known in keys.known().items():
            completed = _completed(module, known, fold)
            if known.confirmed and _agrees(module, inputs, completed):
                return completed
            again[key] = digest(completed)
        exported = _trace(module, inputs)
        program = _translate(exported)
        parameters = _arrays({**exported.state_dict, **exported.constants})
        translation = without_weights(program.model_proto, parameters) if keys.widths else None
        model = _finished(program, parameters, fold)
        _check(module, inputs, model, program)
    keys.remember(translation, model, again)
    return model


def _completed(module: torch.nn.Module, translation: Translation, fold: bool) -> bytes:
    """The network in a translation that another left; empty if its weights do not fit."""
    parameters = _arrays(tensors_of(module))
    try:
        model = onnx_ir.from_proto(translation.completed(parameters))
        return _finished(torch.onnx.ONNXProgram(model, None), parameters, fold)
    except Exception:  # whatever the optimizer says of shapes that do not fit; the export that follows names it
        logger.debug("a translation was not completed", exc_info=True)
        return b""


def _finished(program: torch.onnx.ONNXProgram, parameters: Mapping[str, Array], fold: bool) -> bytes:
    if fold:
        with _layers_apart():
            program.optimize()
    return serialize(tidy(program.model_proto, parameters, fold))


def _arrays(tensors: Mapping[str, Any]) -> dict[str, Array]:
    return {name: t.detach().cpu().numpy() for name, t in tensors.items() if isinstance(t, torch.Tensor)}


def _float_batches(module: torch.nn.Module, example: torch.Tensor | Sequence[torch.Tensor]) -> Tensors:
    """The example as a tuple; a batch of one is doubled, as torch.export takes the size 1 for a constant."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(f"expected a float32 network, got {tensor.dtype} for {name!r}; call module.float() first")
    inputs = (example,) if isinstance(example, torch.Tensor) else tuple(example)
    return tuple(torch.cat([x, x]) if len(x) == 1 else x for x in inputs)


def _trace(module: torch.nn.Module, inputs: Tensors) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("N")
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for x in inputs:
        shapes[x] = {0: batch}
    try:
        return torch.export.export(module, inputs, dynamic_shapes=shapes)
    except Exception as error:  # whatever the network's own code or the tracer raises
        if "specialized" in str(error):
            raise ValueError(
                f"expected a network for any batch size, got one that only takes {len(inputs[0])}"
                f"{_line_that_fixes_the_batch(module, inputs)}; use sizes relative to x.shape[0] there"
            ) from error
        raise ValueError(
            f"expected a network that torch.export can trace, got {_first_line(error)!r}"
            f"{_last_line(error.__traceback__)}; rewrite it without Python decisions on tensor values"
        ) from error


def _line_that_fixes_the_batch(module: torch.nn.Module, inputs: Tensors) -> str:
    """The source line of the first operator of the traced network that refuses another batch size."""
    graph = torch.export.export(module, inputs).module()
    for node in graph.graph.find_nodes(op="call_module", target="_guards_fn"):
        graph.graph.erase_node(node)  # it asserts the batch size of the example before anything else
    try:
        torch.fx.Interpreter(graph).run(*(torch.cat([x, x[:1]]) for x in inputs))
    except Exception as error:
        return _recorded_line(str(error))
    return ""


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _last_line(trace: TracebackType | None) -> str:
    """' at FILE:LINE: CODE', the innermost line of a traceback that is neither PyTorch's nor ours."""
    frames = [frame for frame in traceback.extract_tb(trace) if frame.line and _is_own(frame.filename)]
    return f" at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""


def _recorded_line(text: str) -> str:
    """The same from the text of a traceback, as the tracer records it with each operator."""
    frames = re.findall(r'File "(.+)", line (\d+), in .+\n *(.+)', text)
    own = [frame for frame in frames if _is_own(frame[0])]
    return " at {}:{}: {}".format(*own[-1]) if own else ""


def _is_own(filename: str) -> bool:
    """Whether a file is the user's, neither PyTorch's nor ours."""
    libraries = (Path(torch.__file__).parent, Path(__file__).parent.parent)
    return not any(Path(filename).is_relative_to(library) for library in libraries)


def _translate(exported: torch.export.ExportedProgram) -> torch.onnx.ONNXProgram:
    signature = exported.graph_signature
    try:
        with _operators_kept():
            program = torch.onnx.export(
                exported,
                (),
                dynamo=True,
                input_names=[f"input{k}" for k in range(len(signature.user_inputs))],
                output_names=[f"output{k}" for k in range(len(signature.user_outputs))],
                opset_version=OPSET,
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # the exporter's own classes, each wrapping the next
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(
            f"expected operators that ONNX opset {OPSET} has, got {_problem(cause)}"
            f"{_line_of(exported, error)}; replace that operator"
        ) from error
    assert program is not None
    return program


@contextmanager
def _operators_kept() -> Iterator[None]:
    """The exporter's table of operators is made once a process.

    PyTorch makes it anew for each export, from the source text of five hundred functions: of a small network that is
    two thirds of the time. Where its insides have changed, it takes its time.
    """
    registry: Any = getattr(_registration, "ONNXRegistry", None)
    made = vars(registry).get("from_torchlib") if registry is not None else None
    if not isinstance(made, classmethod):
        yield
        return

    def kept(cls: Any, *args: Any, **kwargs: Any) -> Any:
        key = (args, tuple(sorted(kwargs.items())))
        if key not in _tables:
            _tables[key] = made.__get__(None, cls)(*args, **kwargs)
        return _tables[key]

    registry.from_torchlib = classmethod(kept)
    try:
        yield
    finally:
        registry.from_torchlib = made


@contextmanager
def _layers_apart() -> Iterator[None]:
    """Layers whose weights happen to be equal, all zero for one, keep their own.

    The optimizer would let them share one tensor, and one of two that read the same would be gone. Each is a layer of
    the network, though, and found by its name.
    """
    sharing: Any = DeduplicateInitializersPass
    together = sharing.call

    def call(self: Any, model: onnx_ir.Model) -> Any:
        aside = [
            (graph, name, value)
            for graph in model.graphs()
            for name, value in graph.initializers.items()
            if any(use.node.op_type in LINEAR for use in value.uses())
        ]
        for graph, name, _ in aside:
            graph.initializers.pop(name)
        result = together(self, model)
        for graph, name, value in aside:
            graph.initializers[name] = value
        return result

    sharing.call = call
    try:
        yield
    finally:
        sharing.call = together


def _problem(cause: BaseException) -> str:
    """What the exporter says, in words for people where its own are about its insides."""
    if "SymbolicTensor" in str(cause):
        return "one whose attribute (say, the number of groups of a convolution) depends on the batch size"
    return repr(_first_line(cause))


def _line_of(exported: torch.export.ExportedProgram, error: BaseException) -> str:
    """Where the operator comes from whose name one of the exporter's chained errors gives ('%name : ...')."""
    cause: BaseException | None = error
    while cause is not None:
        found = re.search(r"translating node %(\w+)", str(cause))
        if found:
            nodes = [*exported.graph.nodes, *exported.run_decompositions().graph.nodes]
            return next((_recorded_line(n.stack_trace or "") for n in nodes if n.name == found[1]), "")
        cause = cause.__cause__
    return ""


def _check(module: torch.nn.Module, inputs: Tensors, model: bytes, program: torch.onnx.ONNXProgram) -> None:
    """Compare with PyTorch; where it differs, say which operator."""
    session = open_session(model)
    for drawn in _drawn(inputs):
        expected, again = _flat(module(*drawn)), _flat(module(*drawn))
        if _error(again, expected) > TOLERANCE:
            raise ValueError(
                "expected a deterministic network, got two different outputs for one input; "
                "remove random operators (dropout called with training=True?) from the evaluation form"
            )
        error = _error(session.run(*(x.cpu().numpy() for x in drawn)), expected)
        if not error <= TOLERANCE:
            raise ValueError(
                f"expected ONNX Runtime to compute what PyTorch computes, got a relative error of {error:.1e} "
                f"(limit {TOLERANCE:.0e}) that begins at {_first_difference(program, drawn)}; replace that"
            )


def _agrees(module: torch.nn.Module, inputs: Tensors, model: bytes) -> bool:
    """Whether ONNX Runtime takes the model and computes what PyTorch computes."""
    try:
        session = open_session(model)
        return all(
            _error(session.run(*(x.cpu().numpy() for x in drawn)), _flat(module(*drawn))) <= TOLERANCE
            for drawn in _drawn(inputs)
        )
    except Exception:  # whatever the runtime says of a model that it does not take; the export that follows names it
        return False


def _drawn(inputs: Tensors) -> Iterator[Tensors]:
    """Random inputs of the example's mean and deviation, 1 where it has none, at two batch sizes."""
    generator = torch.Generator().manual_seed(0)
    for more in (0, 1):
        noise = [torch.randn((len(x) + more, *x.shape[1:]), generator=generator).to(x) for x in inputs]
        yield tuple(z * (x.std() or 1) + x.mean() for z, x in zip(noise, inputs, strict=True))


def _first_difference(program: torch.onnx.ONNXProgram, inputs: Tensors) -> str:
    """The first operator, and its line, whose ONNX translation differs from PyTorch on the same inputs."""
    assert program.exported_program is not None
    graph, opened = program.exported_program.module(), program.model_proto
    seen: dict[str, torch.Tensor] = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            result = super().run_node(n)
            if isinstance(result, torch.Tensor) and result.is_floating_point():
                seen[n.name] = result
            return result

    Recorder(graph).run(*inputs)
    made = {name for node in opened.graph.node for name in node.output}
    known = {value.name for value in opened.graph.output}
    names = [name for name in seen if name in made - known]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    results = open_session(serialize(opened)).run(*(x.cpu().numpy() for x in inputs))[len(known) :]
    for name, result in zip(names, results, strict=True):
        if not _error([result], [seen[name].cpu().numpy()]) <= TOLERANCE:
            node = next(node for node in graph.graph.nodes if node.name == name)
            frames = [f.strip() for f in str(node.stack_trace or "").splitlines() if f.strip().startswith("File ")]
            return f"operator {node.target} ({frames[-1] if frames else 'no line recorded'})"
    return "the folding of batch norms"


def _flat(outputs: object) -> list[Array]:
    leaves = torch.utils._pytree.tree_leaves(outputs)
    return [leaf.detach().cpu().numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _error(outputs: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest difference over the largest expected value, of the worst output; NaN if there is one."""
    errors = [
        np.abs(a - b).max(initial=0.0) / max(float(np.abs(b).max(initial=0.0)), 1e-30)
        for a, b in zip(outputs, expected, strict=True)
    ]
    return float(np.max(errors))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter: it warns of its own deprecations, and prints graphs to stderr when tracing fails."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.filterwarnings("ignore", module=r"(torch|onnxscript|onnx_ir)\.")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)
