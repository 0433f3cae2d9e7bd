# SPDX-License-Identifier: Apache-2.0
"""Control: the dense network, tuned exactly as long and in the same way.

Tuning alone can improve a network; what is better than the original after compression is better because of the
compression only where it is better than this.
"""

from __future__ import annotations

from gossamer.measure.quality import right_examples
from gossamer.runtime.export import export_onnx
from gossamer.search.pace import measure_pace
from gossamer.search.run import Run
from gossamer.tuning import Distillation


def tuned_epochs(run: Run) -> int:
    """Epochs that the run spent on tuning candidates."""
    return sum(len(stage["value"]) for name, stage in run.stages().items() if name.endswith(" losses"))


def dense_control_quality(run: Run) -> float:
    """Quality on the test split of the original after as many epochs of the same tuning; remembered by the run."""
    epochs = tuned_epochs(run)
    folder = run.folder / "control"

    def compute() -> float:
        network, numerics = run.network.copy(), measure_pace(run).numerics
        manner = run.stages()["manner of tuning"]["value"]
        plugs = (Distillation(),) if manner["taught"] else ()
        run.tune(network.module, plugs, numerics, epochs, folder, "dense control", weight_decay=manner["weight_decay"])
        model = export_onnx(network.module, network.example)
        return float(right_examples(run.task, run.task.test, model, run.goal.runtime).mean())

    quality = float(run.stage("control", compute))
    run.forget_training(folder)
    return quality
