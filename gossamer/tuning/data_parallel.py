# SPDX-License-Identifier: Apache-2.0
"""Data parallel: one piece of work, whose trainings all processes that torchrun started share.

Rank 0 does the work as if it were alone: it decides, measures, writes and prints. Only its trainings are steps that all
ranks take together (`processes`), whichever they are and whenever they come, so nothing else has to be the same twice:
no clock, no file and no measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from gossamer.task import Task
from gossamer.tuning.loop import Diverged, go_through
from gossamer.tuning.processes import Processes, TrainingOver, launched, together

T = TypeVar("T")


def data_parallel(work: Callable[[], T], task: Task, device: str = "cpu") -> T | None:
    """What `work` returns; under torchrun it is done by rank 0, and the other ranks return None after it.

    Every rank calls this with a task of the same training images, on which `work` trains. Raises ConnectionError when
    another rank is lost, ValueError where a rank has no device of this kind, or other images than rank 0.
    """
    if not launched():
        return work()
    with together(device) as processes:
        if processes.rank == 0:
            return work()
        _take_part(processes, task)
        return None


def _take_part(processes: Processes, task: Task) -> None:
    """In every training of rank 0, until there are no more."""
    while (training := processes.receive(task)) is not None:
        with suppress(TrainingOver):
            with suppress(Diverged):  # rank 0 knows it too
                go_through(training, task, processes)
            with processes.step():  # finished or diverged, rank 0 says that it is over
                raise AssertionError("rank 0 takes a step more")
