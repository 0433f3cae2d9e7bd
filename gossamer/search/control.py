# SPDX-License-Identifier: Apache-2.0
"""Control: the dense network, tuned exactly as long as what is delivered can have been, and in the same way.

Tuning alone can improve a network; what is better than the original after compression is better because of the
compression only where it is better than this. Steps that a recipe has abandoned, since nothing starts from them, do not
count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gossamer.data.images import Split
from gossamer.measure.quality import answered
from gossamer.runtime.export import export_onnx
from gossamer.search.pace import measure_pace, tuned_epochs
from gossamer.search.run import Run
from gossamer.tuning import Distillation, Diverged, Grafting


@dataclass(frozen=True)
class Control:
    """Quality on the test split, and the figures of all of it, of the original tuned as long as the candidates.

    `second`: both on the second test, where there is one.
    """

    quality: float
    figures: Mapping[str, float]
    second: Mapping[str, Any] | None = None


def dense_control(run: Run) -> Control | None:
    """The original after as many epochs of the same tuning, on the test split; remembered by the run.

    None, and a note, where that tuning diverges: a rate that pruned weights bear can be too high for dense ones.
    """
    epochs = tuned_epochs(run)
    folder = run.folder / f"control-{epochs}"

    def compute() -> dict[str, Any] | None:
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
        task = run.task

        def on(split: Split) -> dict[str, Any]:
            found = answered(task.of_kind, task.preprocess, split, model, run.goal.runtime)
            return {"quality": float(found.quality.mean()), "figures": dict(found.figures)}

        return on(task.test) | ({} if task.second_test is None else {"second": on(task.second_test)})

    found = run.stage(f"control, {epochs} epochs", compute)
    run.forget_training(folder)
    return None if found is None else Control(**found)
