# SPDX-License-Identifier: Apache-2.0
"""Control: the dense network, tuned exactly as long and in the same way.

Tuning alone can improve a network; what is better than the original after compression is better because of the
compression only where it is better than this.
"""

from __future__ import annotations

from gossamer.measure.quality import qualities
from gossamer.runtime.export import export_onnx
from gossamer.search.pace import measure_pace
from gossamer.search.run import Run
from gossamer.tuning import Distillation, Diverged, Grafting


def tuned_epochs(run: Run) -> int:
    """Epochs that the run spent on tuning candidates."""
    return sum(len(stage["value"]) for name, stage in run.stages().items() if name.endswith(" losses"))


def dense_control_quality(run: Run) -> float | None:
    """Quality on the test split of the original after as many epochs of the same tuning; remembered by the run.

    None, and a note, where that tuning diverges: a rate that pruned weights bear can be too high for dense ones.
    """
    epochs = tuned_epochs(run)
    folder = run.folder / f"control-{epochs}"

    def compute() -> float | None:
        network, numerics = run.network.copy(), measure_pace(run).numerics
        manner = run.stages()["manner of tuning"]["value"]
        plugs = (Distillation(),) if manner["taught"] else ()
        decay = manner["weight_decay"]
        try:
            grafting = Grafting(**manner["grafted"]) if manner["grafted"] else None
            name = "dense control"
            run.tune(network.module, plugs, numerics, epochs, folder, name, weight_decay=decay, grafting=grafting)
        except Diverged as error:
            run.note(f"there is no dense control to compare with: its tuning failed ({error})")
            return None
        model = export_onnx(network.module, network.example)
        return float(qualities(run.task, run.task.test, model, run.goal.runtime).mean())

    quality = run.stage(f"control, {epochs} epochs", compute)
    run.forget_training(folder)
    return None if quality is None else float(quality)
