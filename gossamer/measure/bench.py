# SPDX-License-Identifier: Apache-2.0
"""Bench: the latency of one network file, or of two in turns and their ratio, in every runtime that is here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rich.table import Table

from gossamer import container
from gossamer.runtime.latency import interleaved
from gossamer.runtime.session import available, open_session, precisions


def network_bytes(path: Path) -> bytes:
    """The ONNX bytes of an .onnx or .gossamer file."""
    if path.suffix == ".gossamer":
        return container.to_onnx(container.read(path).payload)
    if path.suffix != ".onnx":
        raise ValueError(f"expected an .onnx or .gossamer file, got {path}")
    return path.read_bytes()


def input_shape(model: bytes, batch: int, size: int | None) -> tuple[int, ...]:
    """The shape of one batch: what the graph fixes, `batch` examples, and `size` pixels where it is free."""
    dims = onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim
    shape = [dim.dim_value for dim in dims]
    shape[0] = batch
    free = [index for index, value in enumerate(shape) if value == 0]
    if free and size is None:
        raise ValueError(f"expected a fixed input size in the file, but dimensions {free} are free; give --size")
    return tuple(value or size or 0 for value in shape)


def gives_maps(model: bytes) -> bool:
    """Whether a network gives numbers for each pixel, (N, K, H, W), not for each image alone."""
    return len(onnx.load_from_string(model).graph.output[0].type.tensor_type.shape.dim) == 4


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths, in whole parts, that tell them apart.

    >>> short_names([Path("runs/a/model.onnx"), Path("runs/b/model.onnx")])
    ['a/model.onnx', 'b/model.onnx']
    >>> short_names([Path("runs/a/original.onnx"), Path("runs/a/model.gossamer")])
    ['original.onnx', 'model.gossamer']
    """
    whole = [path.absolute() for path in paths]
    for count in range(1, 1 + max(len(path.parts) for path in whole)):
        names = [str(Path(*path.parts[-count:])) for path in whole]
        if len(set(names)) == len(names):
            return names
    twice = next(path for index, path in enumerate(paths) if whole[index] in whole[:index])
    raise ValueError(f"expected different files, got {twice} twice; name each once")


def comparable(files: Sequence[Path], batch: int, size: int | None) -> tuple[dict[str, bytes], tuple[int, ...]]:
    """The ONNX bytes of files by their short names, and the shape of a batch, which must be the same for all."""
    models = {name: network_bytes(path) for name, path in zip(short_names(files), files, strict=True)}
    shapes = [input_shape(model, batch, size) for model in models.values()]
    if len(set(shapes)) > 1:
        raise ValueError(f"expected files of the same input, got {' and '.join(map(str, shapes))}")
    return models, shapes[0]


def bench_table(
    files: Sequence[Path], rounds: int, threads: Sequence[int], batch_size: int = 1, size: int | None = None
) -> Table:
    """One row a runtime, precision and number of threads; with two files also how many times as fast the second is."""
    models, shape = comparable(files, batch_size, size)
    names = list(models)
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    table = Table(title=f"latency of a batch of {batch_size}, milliseconds, {rounds} rounds")
    for column in ("runtime", *names, *(["ratio"] if len(names) == 2 else [])):
        table.add_column(column, overflow="fold")
    for runtime in available():
        for precision in precisions(runtime):
            for count in threads:
                sessions: dict[str, Any] = {
                    name: open_session(model, runtime, count, precision) for name, model in models.items()
                }
                turns = interleaved(sessions, x, rounds)
                cells = [f"{turns[n].median:.3f} ({turns[n].p10:.3f} to {turns[n].p90:.3f})" for n in names]
                if len(names) == 2:
                    cells.append(str(turns.ratio(names[0], names[1])))
                table.add_row(f"{runtime} {precision}, {count} threads", *cells)
    return table
