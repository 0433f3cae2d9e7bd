# SPDX-License-Identifier: Apache-2.0
"""ncnn: .ncnn.param and .ncnn.bin for telephones and small boards.

Converted by pnnx (https://github.com/Tencent/ncnn/tree/master/tools/pnnx) from a traced PyTorch network; weights stay
float32. ncnn has no slice with steps; what does the same takes its place:

    x[:, :, ::2, ::2] = max_pool(x, window 1, stride 2)          the shortcuts of CIFAR-10's ResNets
    x[:, 1::2] = [x[:, ::2], x[:, 1::2]][:, C/2:]                 the halves of ShuffleNet; sorting so is its shuffle

ncnn has int8 of its own, made by its own tools from a float network; the pairs of quantize and dequantize of an ONNX
network are not read.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from gossamer.exporters.converters import Refused, imported, translating, version
from gossamer.exporters.exported import Array, Exported, Port, Run, together
from gossamer.exporters.onnx_file import is_int8

PACKAGE, CONVERTER = "ncnn", "pnnx"
PARAM, BIN = ".ncnn.param", ".ncnn.bin"
STEM = "network"


@dataclass(frozen=True)
class Ncnn:
    """pnnx translates, ncnn runs, on the processor in float32."""

    name: ClassVar[str] = "ncnn"
    ending: ClassVar[str] = PARAM

    def runtime(self) -> str:
        return f"ncnn {version(PACKAGE)}"

    def export(self, model: bytes, example: Array) -> Exported:
        if is_int8(model):
            raise Refused(
                "expected a float network for --to ncnn, whose tools make int8 of one, got a network that is int8 "
                "already; export a float one"
            )
        runtime = imported("ncnn", PACKAGE, self.name)
        converter = imported("pnnx", CONVERTER, self.name)
        from gossamer.exporters.plain_torch import plain_graph

        with translating(CONVERTER, self.name), TemporaryDirectory() as folder:
            graph = plain_graph(model, example, self.name)
            _trace(graph, example, Path(folder, f"{STEM}.pt"))
            files = _convert(converter.EXEC_PATH, Path(folder), example.shape)
            given, made, shapes = _ports(runtime, files, example)
        return Exported(
            files,
            Port(given, example.shape, layout="NCHW"),
            tuple(Port(name, shape) for name, shape in zip(made, shapes, strict=True)),
        )

    @contextmanager
    def opened(self, exported: Exported) -> Iterator[Run]:
        with TemporaryDirectory() as folder:
            with translating(PACKAGE, self.name):
                runtime = imported("ncnn", PACKAGE, self.name)
                net = _opened(runtime, exported.files, Path(folder))

            def run(images: Array) -> list[Array]:
                with translating(PACKAGE, self.name):
                    return together([value[None] for value in _run(runtime, net, image)] for image in images)

            yield run


def _trace(graph: Any, example: Array, path: Path) -> None:
    """Write the graph as TorchScript, which pnnx reads."""
    import torch

    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.slice.Tensor:
            _without_step(graph.graph, node)
    graph.recompile()
    traced: Any = torch.jit.trace(graph, torch.from_numpy(example), check_trace=False)  # type: ignore[no-untyped-call]
    traced.save(str(path))


def _without_step(graph: Any, node: Any) -> None:
    """Let a slice with steps through all rows, columns or channels become operators that ncnn has."""
    import torch

    given: tuple[Any, ...] = tuple(node.args)
    source, axis, start, end, step = given + (0, None, None, 1)[len(given) - 1 :]
    shape = source.meta["tensor_meta"].shape
    start = start or 0
    if step == 1 or len(shape) != 4 or axis == 0 or not 0 <= start < step or (end is not None and end < shape[axis]):
        return
    with graph.inserting_before(node):
        if axis == 1 and shape[1] % step == 0:
            groups = shape[1] // step
            apart = graph.call_function(torch.reshape, (source, (shape[0], groups, step, *shape[2:])))
            turned = graph.call_function(torch.transpose, (apart, 1, 2))
            sorted_ = graph.call_function(torch.reshape, (turned, tuple(shape)))
            made = graph.call_function(node.target, (sorted_, 1, start * groups, (start + 1) * groups))
        elif axis > 1 and start == 0:
            stride = [step, 1] if axis == 2 else [1, step]
            made = graph.call_function(torch.nn.functional.max_pool2d, (source, 1, stride))
        else:
            return
    made.meta = node.meta
    node.replace_all_uses_with(made)


def _convert(program: str, folder: Path, shape: tuple[int, ...]) -> dict[str, bytes]:
    """Run pnnx in a folder; ValueError, with what it says, where it does not come to an end."""
    words = [program, f"{STEM}.pt", f"inputshape=[{','.join(map(str, shape))}]", "fp16=0"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    paths = {ending: folder / f"{STEM}{ending}" for ending in (PARAM, BIN)}
    if done.returncode or not all(path.exists() for path in paths.values()):
        said = [*(done.stdout + done.stderr).splitlines(), ""]
        raise ValueError(f"it ended with status {done.returncode}: {said[-2 if len(said) > 1 else -1]}")
    return {ending: path.read_bytes() for ending, path in paths.items()}


def _ports(runtime: Any, files: dict[str, bytes], example: Array) -> tuple[str, list[str], list[tuple[int, ...]]]:
    """The names of the input and of the outputs, and the shapes of these for a batch of one."""
    with TemporaryDirectory() as folder:
        net = _opened(runtime, files, Path(folder))
        (given,) = net.input_names()
        return given, list(net.output_names()), [(1, *value.shape) for value in _run(runtime, net, example[0])]


def _opened(runtime: Any, files: Any, folder: Path) -> Any:
    """The network on one thread, with float32 everywhere; ncnn reads files."""
    net = runtime.Net()
    options = net.opt
    options.use_vulkan_compute, options.num_threads = False, 1
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_storage = False
    net.opt = options
    for ending, load in ((PARAM, net.load_param), (BIN, net.load_model)):
        path = folder / f"{STEM}{ending}"
        path.write_bytes(files[ending])
        if load(str(path)):
            raise ValueError(f"ncnn does not read the {ending} that was made: it has an operator that ncnn lacks")
    return net


def _run(runtime: Any, net: Any, image: Array) -> list[Array]:
    """(C, H, W) -> outputs, without the axis of the batch."""
    with net.create_extractor() as extractor:
        (given,) = net.input_names()
        extractor.input(given, runtime.Mat(np.ascontiguousarray(image)).clone())
        outputs = []
        for name in net.output_names():
            status, value = extractor.extract(name)
            if status:
                raise ValueError(f"ncnn gives no output '{name}'")
            outputs.append(np.array(value))
    return outputs
