# SPDX-License-Identifier: Apache-2.0
"""Workers: the trials of a search on several processes or machines at once, by Ray (https://docs.ray.io).

A trial is a step of a search that needs nothing but files of the run, those of other trials included: the cells of a
grid that is asked about everywhere. A worker makes it in a folder of its own, and its files go into the run's folder as
if they had been made there. The search itself stays one process, which asks for one trial after the other and waits
where it has to; so it decides what it would have decided alone. Ray gives the trial of a worker that died to another.

Every machine needs the data and weights under the same absolute paths. A trial is computed on one core, so what comes
out is to the bit what one process gives that has one thread.
"""

from __future__ import annotations

import importlib
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from gossamer.files import write_atomically
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.search.candidate import BEST, keep_best
from gossamer.search.claim import identity
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.task import Task
from gossamer.tuning.processes import launched

Key = tuple[int, ...]
Files = dict[str, bytes]
OWN = ("run.json", "seconds.json", "counts.json", "notes.json", BEST)  # what a run says of itself stays where it is
LAST = "measurement.json"  # with it a candidate is complete
ATTEMPTS = 3  # more, at a trial whose worker dies
SECONDS_BETWEEN_LOOKS = 1.0

_tasks: dict[str, Task] = {}  # of this worker: images are read once


@runtime_checkable
class Spread(Protocol):
    """A recipe with trials; they need not wait for each other where `spreads` says so."""

    @property
    def spreads(self) -> bool:
        """Whether they can be made at the same time."""
        ...

    def trial(self, run: Run, key: Key) -> object:
        """Make one trial in the folder of `run`."""
        ...


@dataclass(frozen=True)
class Asked:
    """What a worker must know to make trials of a run."""

    make_task: Callable[[], Task]
    goal: Goal
    recipe: str
    settings: Settings
    look: int
    identity: Mapping[str, Any]
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run_in(self, folder: Path) -> Run:
        """A run of the worker's own; ValueError where it is about other data or another network."""
        if self.name not in _tasks:
            _tasks.clear()
            _tasks[self.name] = self.make_task()
        task = _tasks[self.name]
        network = trace(task.model, task.example, freeze=self.settings.protect)
        if identity(task, network) != self.identity:
            raise ValueError("expected the same network and data in every worker, got others; see to the paths")
        settings = self.settings
        if settings.device.startswith("cuda"):  # Ray shows a worker its own device alone, which is number 0 there
            settings = replace(settings, device="cuda")
        return Run(folder, task, self.goal, self.recipe, network, settings, Watch(), self.look)


class Workers:
    """A Ray cluster: so many processes of this machine ("4"), or the address of one that is up ("ray://host:10001").

    `make_task` reads the task in a worker; it is pickled. ValueError where Ray is not installed, for a number below 1,
    and under torchrun.
    """

    def __init__(self, where: str, make_task: Callable[[], Task]) -> None:
        if launched():
            raise ValueError("expected workers or torchrun, got both; torchrun shares each training, leave out one")
        number = int(where) if where.lstrip("-").isdigit() else None
        if number is not None and number < 1:
            raise ValueError(f"expected a number of workers of at least 1, or an address of Ray, got {where}")
        self._ray, self._make_task = _ray(), make_task
        self._begun: dict[Key, Any] = {}
        quiet = {"log_to_driver": False, "include_dashboard": False, "configure_logging": False}
        before = signal.getsignal(signal.SIGTERM)
        if number is not None:
            self._ray.init(num_cpus=number, **quiet)
        else:
            self._ray.init(address=where, log_to_driver=False)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray puts its own in place, which delivers nothing

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is still at work is given up."""
        self._ray.shutdown()

    def begin(self, run: Run, recipe: Spread, trials: Mapping[Key, Sequence[Key]], needed: Iterable[str]) -> None:
        """Start trials, each with those that it starts from, which come before it.

        All get the files `needed` from the run's folder; a folder stands for what is in it.
        """
        gpus = int(run.settings.device.startswith("cuda"))
        remote = self._ray.remote(max_retries=ATTEMPTS, num_cpus=1, num_gpus=gpus)(work)
        about = identity(run.task, run.network)
        asked = Asked(self._make_task, run.goal, run.recipe, run.settings, run.look, about)
        told, files = self._ray.put((asked, recipe)), self._ray.put(_read(run.folder, needed))
        for key, before in trials.items():
            self._begun[key] = remote.remote(told, key, files, *(self._begun[earlier] for earlier in before))

    def give_up(self) -> None:
        """End the trials that nobody has taken."""
        for begun in self._begun.values():
            self._ray.cancel(begun, force=True)
        self._begun.clear()

    def take(self, run: Run, key: Key, name: str) -> bool:
        """Wait for a trial and put its files into the run's folder, once; whether it had been begun.

        Whatever it raised is raised here; ConnectionError where its worker died at each attempt, or the cluster did.
        """
        if key not in self._begun:
            return False
        waited, every = self._begun.pop(key), list(self._begun.values())
        with run.watch.bar(f"workers: {name}") as step:
            while not self._ray.wait([waited], timeout=SECONDS_BETWEEN_LOOKS)[0]:
                ready = self._ray.wait(every, num_returns=len(every), timeout=0)[0] if every else []
                step(len(ready), len(every) + 1, "trials that are finished")
        try:
            notes, files = self._ray.get(waited)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise ConnectionError(
                f"expected a worker to finish the trial '{name}', but it was lost {ATTEMPTS + 1} times "
                f"({type(error).__name__}); the same command goes on from here"
            ) from error
        _write(run.folder, files)
        keep_best(run)
        for note in notes:
            if note not in run.notes:
                run.note(note)
        return True


def work(told: tuple[Asked, Spread], key: Key, files: Files, *before: tuple[Sequence[str], Files]) -> Any:
    """In a worker: make a trial from the files of the run and those of other trials; its notes, and its own files."""
    asked, recipe = told
    with TemporaryDirectory() as folder:
        run = asked.run_in(Path(folder) / "run")
        for part in (files, *(found for _, found in before)):
            _write(run.folder, part)
        given = set(_names(run.folder))
        recipe.trial(run, key)
        return run.notes, _read(run.folder, [name for name in _names(run.folder) if name not in given])


def _names(folder: Path) -> list[str]:
    """Every file below a folder by its path from there, what a run says of itself left out."""
    found = (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for name in found if name not in OWN]


def _read(folder: Path, wanted: Iterable[str]) -> Files:
    wanted = list(wanted)
    names = [name for name in _names(folder) if any(Path(name).is_relative_to(each) for each in wanted)]
    return {name: (folder / name).read_bytes() for name in names}


def _write(folder: Path, files: Files) -> None:
    for name in sorted(files, key=lambda name: Path(name).name == LAST):
        write_atomically(folder / name, files[name])


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ValueError("ray is not installed; pip install -e '.[ray]' in the clone of Gossamer") from error
