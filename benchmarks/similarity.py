# SPDX-License-Identifier: Apache-2.0
"""How alike a pruned network and its original see images, layer by layer, filed beside the result of a comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gossamer.cli import build_parser
from gossamer.cli_work import described
from gossamer.described_task import task_from
from gossamer.files import write_json
from gossamer.measure.cka import similarities
from gossamer.task import Task

IMAGES = 500  # of the selection split
FILE = "similarity.json"


def task_of(arguments: list[str]) -> Task:
    """What a call of the command line is about."""
    return task_from(**described(build_parser().parse_args(arguments)))


def file_similarities(arguments: list[str], run: Path, filed: Path) -> None:
    """CKA of each layer of a finished run; its arguments say on which images."""
    task = task_of(arguments)
    few = task.selection.subset(np.arange(min(IMAGES, len(task.selection))), "selection")
    images, _ = next(task.numpy_batches(few, len(few)))
    networks = ((run / name).read_bytes() for name in ("original.onnx", "model.onnx"))
    write_json(filed / FILE, similarities(*networks, images))
