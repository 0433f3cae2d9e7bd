# SPDX-License-Identifier: Apache-2.0
"""How alike a pruned network and its original see images, filed beside the result of a comparison.

layers          CKA of each layer, of some images of the selection split
same_answers    the share of the test images, or of their pixels, that both networks give the same class:
                two wrong answers are the same only where they name the same class
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gossamer.cli import build_parser
from gossamer.cli_work import described
from gossamer.described_task import task_from
from gossamer.files import write_json
from gossamer.measure.answers import Answers, answers
from gossamer.measure.cka import similarities
from gossamer.task import Task

IMAGES = 500  # of the selection split
FILE = "similarity.json"


def task_of(arguments: list[str]) -> Task:
    """What a call of the command line is about."""
    return task_from(**described(build_parser().parse_args(arguments)))


def file_similarities(arguments: list[str], run: Path, filed: Path) -> None:
    """File both for a finished run; its arguments say on which images."""
    task = task_of(arguments)
    few = task.selection.subset(np.arange(min(IMAGES, len(task.selection))), "selection")
    images, _ = next(task.numpy_batches(few, len(few)))
    original, compressed = ((run / name).read_bytes() for name in ("original.onnx", "model.onnx"))
    alike = similarities(original, compressed, images)
    found = {
        "layers": {name: value for name, value in alike.items() if value == value},  # NaN: it sees all images alike
        "layers_images": len(few),
        "same_answers": same(*(answers(model, task.test, task.preprocess) for model in (original, compressed))),
        "same_answers_images": len(task.test),
    }
    write_json(filed / FILE, found)


def same(first: Answers, second: Answers) -> float:
    """The share of equal classes, of images (N,) or pixels (N, H, W)."""
    return float((first == second).mean())
