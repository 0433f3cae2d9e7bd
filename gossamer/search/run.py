# SPDX-License-Identifier: Apache-2.0
"""Run: one folder in which a compression stands on disk at every moment, and from which it goes on.

    run.json        what was asked: network, code and data by hash, goal, recipe, settings
    original.onnx   the original network as the runtimes read it
    stages/*.json   the outcome of each finished stage
    counts.json     epochs trained and networks asked so far; seconds.json, the time spent
    steps/NN-*/     one candidate each: plan, weights, file, measurement; training.safetensors while it is trained

A stage is computed once; a run started again reads it back. Files appear whole, under their final name, or not
at all, so a kill at any moment loses at most the work since the last epoch.
"""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gossamer import tuning
from gossamer.data.images import Split
from gossamer.files import read_json, write_atomically, write_json
from gossamer.goal import Goal
from gossamer.graph import Network
from gossamer.kinds import Quality
from gossamer.measure.quality import Answered, answered, qualities
from gossamer.runtime.export import export_onnx
from gossamer.runtime.latency import interleaved
from gossamer.runtime.lock import background_work, pause_if_measuring
from gossamer.runtime.session import open_session
from gossamer.runtime.weights import split_weights
from gossamer.search.claim import claim_folder, identity
from gossamer.search.settings import Settings, decisive
from gossamer.search.watch import Watch
from gossamer.task import Task
from gossamer.tuning import Grafting, Numerics, Plug
from gossamer.tuning.loop import batch_size
from gossamer.tuning.remembered import Answers, Remembering
from gossamer.tuning.watched import Watched

if TYPE_CHECKING:
    from gossamer.search.workers import Workers

RUN_VERSION = 1
TICK_SECONDS = 20
FEWEST_MARKS = 20  # of steps, before their median says anything
CALIBRATION_PASSES = 2
EPOCHS, EVALUATIONS = "epochs_trained", "evaluations"  # what a method costs, beside its time
ABANDONED, LOSSES = " abandoned", " losses"  # ends of the names of stages
CHECKPOINT = "training{}.safetensors"  # {}: the phase, where a step is trained more than once


class Run:
    """A run folder and what it is about."""

    def __init__(
        self,
        folder: Path,
        task: Task,
        goal: Goal,
        recipe: str,
        network: Network,
        settings: Settings,
        watch: Watch,
        look: int = 1,
        workers: Workers | None = None,
        name: str = "network",
    ) -> None:
        self.folder, self.task, self.goal, self.recipe, self.name = folder, task, goal, recipe, name
        self.network, self.settings, self.watch, self.workers = network, settings, watch, workers
        asked = {"version": RUN_VERSION, "recipe": recipe, "goal": goal.to_json(), "settings": decisive(settings)}
        claim_folder(folder, asked | identity(task, network), watch)
        self.notes: list[str] = self._read("notes.json", list(task.notes))
        self._spent_before: float = self._read("seconds.json", 0.0)
        self.counts: dict[str, int] = self._read("counts.json", {EPOCHS: 0, EVALUATIONS: 0})
        self._started = self._ticked = time.monotonic()
        self._answers = Answers(folder / "answers")
        self.epoch_seconds = math.inf  # of one network in the last training, where there was one
        if self._stopped.exists():
            self._take_up()
        self.look: int = self.stage("look", lambda: look)

    def _read(self, name: str, otherwise: Any) -> Any:
        path = self.folder / name
        return read_json(path) if path.exists() else otherwise

    # -- stopped by hand -------------------------------------------------------------------------------------

    @property
    def _stopped(self) -> Path:
        return self.folder / "stopped.json"

    def stop(self, text: str) -> None:
        """The search ends here by hand, and `text` is noted. When the run is taken up again, the search goes on.

        It then is another run on the test split, which this one may have opened: it has a look of its own.
        """
        write_json(self._stopped, text)
        self.note(text)

    def _take_up(self) -> None:
        text = read_json(self._stopped)
        self.notes = [note for note in self.notes if note != text]
        write_json(self.folder / "notes.json", self.notes)
        (self.folder / "stages" / "look.json").unlink(missing_ok=True)
        self._stopped.unlink()

    # -- time and memory ------------------------------------------------------------------------------------

    def stage(self, name: str, compute: Callable[[], Any]) -> Any:
        """The JSON value of a stage: read back if it is finished, else computed and stored with its seconds."""
        path = self.folder / "stages" / f"{name}.json"
        if path.exists():
            return read_json(path)["value"]
        start = time.monotonic()
        value = compute()
        write_json(path, {"value": value, "seconds": round(time.monotonic() - start, 3)})
        self.tick()
        return value

    def seconds_of(self, name: str, work: Callable[[], object]) -> float:
        """Do a piece of work, and remember as a stage how long it took."""

        def compute() -> float:
            start = time.monotonic()
            work()
            return time.monotonic() - start

        return float(self.stage(f"seconds of {name}", compute))

    def stages(self) -> dict[str, Any]:
        """Value and seconds of each finished stage, in the order they finished."""
        paths = sorted((self.folder / "stages").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return {path.stem: read_json(path) for path in paths}

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, before restarts included."""
        return self._spent_before + time.monotonic() - self._started

    def tick(self) -> None:
        """Remember the time spent, so that a restarted run does not get it twice."""
        self._ticked = time.monotonic()
        write_json(self.folder / "seconds.json", round(self.seconds, 1))
        write_json(self.folder / "counts.json", self.counts)
        self.watch.clock(self.seconds, self.goal.hours)

    def count(self, what: str, number: int = 1) -> None:
        """So many epochs trained, of each copy, or networks asked for their quality; stored with the time spent.

        Counted when done, at the end of a training or a question; what workers do is counted where they work.
        """
        self.counts[what] += number

    def has_time_for(self, seconds: float) -> bool:
        """Whether so much more work fits into the goal's hours."""
        return self.goal.hours is None or self.seconds + seconds <= 3600 * self.goal.hours

    def note(self, text: str) -> None:
        """Something that the report must tell: what was not done, and why."""
        if text not in self.notes:
            self.notes.append(text)
            write_json(self.folder / "notes.json", self.notes)
        self.watch.say(text)

    def step_folder(self, number: int, name: str) -> Path:
        """The folder of one candidate."""
        return self.folder / "steps" / f"{number:02d}-{re.sub(r'[^a-zA-Z0-9.]+', '-', name)}"

    def abandon(self, folder: Path) -> None:
        """Nothing will start from what this step has trained: its epochs are none that a dense control is owed."""
        self.stage(f"{folder.name}{ABANDONED}", lambda: True)

    def forget_training(self, folder: Path) -> None:
        """Delete the training checkpoints of a step that is complete: each is several times as large as the network."""
        for checkpoint in folder.glob(CHECKPOINT.format("*")):
            checkpoint.unlink()

    # -- the original ---------------------------------------------------------------------------------------

    def forget_answers(self) -> None:
        """Delete what the original answered in trainings: the run is over."""
        self._answers.forget()

    def original_onnx(self) -> bytes:
        """The original network as a runtime reads it."""
        path = self.folder / "original.onnx"
        if not path.exists():
            write_atomically(path, export_onnx(self.network.module, self.network.example))
        return path.read_bytes()

    @cached_property
    def exported_weights(self) -> frozenset[str]:
        """Names of the tensors in the original's exported graph."""
        return frozenset(split_weights(self.original_onnx())[1])

    def original_quality(self) -> Quality:
        """The original's quality on each image of the selection split, (N,)."""
        return self.quality_on("original", self.task.selection, self.original_onnx)

    def quality_on(self, stage: str, split: Split, model: Callable[[], bytes]) -> Quality:
        """Quality on each image of `split`, (N,), asked of a network once and remembered as a stage."""
        return self._remembered(
            stage, split, lambda: Answered(qualities(self.task, split, model(), self.goal.runtime), {})
        ).quality

    def answered_on(self, stage: str, split: Split, model: Callable[[], bytes]) -> Answered:
        """The same, with the figures that the kind of task has of a whole split."""
        task = self.task
        return self._remembered(
            stage, split, lambda: answered(task.of_kind, task.preprocess, split, model(), self.goal.runtime)
        )

    def _remembered(self, stage: str, split: Split, ask: Callable[[], Answered]) -> Answered:
        def compute() -> Any:
            found = ask()
            self.count(EVALUATIONS)
            right = found.quality.dtype == np.bool_
            quality = np.packbits(found.quality.astype(np.bool_)).tobytes().hex() if right else found.quality.tolist()
            if not found.figures and found.classes is None:
                return quality
            classes = None if found.classes is None else found.classes.astype("<i4").tobytes().hex()
            return {"quality": quality, "figures": dict(found.figures), "classes": classes}

        stored = self.stage(stage, compute)
        if not isinstance(stored, dict):
            stored = {"quality": stored, "figures": {}}
        quality, figures, packed_classes = stored["quality"], stored["figures"], stored.get("classes")
        classes = None
        if packed_classes is not None:
            classes = np.frombuffer(bytes.fromhex(packed_classes), "<i4").astype(np.int64)
        if isinstance(quality, list):
            return Answered(np.array(quality, np.float64), figures, classes)
        packed = np.frombuffer(bytes.fromhex(quality), np.uint8)
        return Answered(np.unpackbits(packed, count=len(split)).astype(np.bool_), figures, classes)

    # -- work on candidates ---------------------------------------------------------------------------------

    def calibration_batches(self) -> Iterator[Tensor]:
        """Preprocessed images of the calibration split, augmented as in training.

        Batch norms must see what they saw in training: on plain images a tuned ResNet-20 lost 3 points.
        """
        settings = self.settings
        for passed in range(CALIBRATION_PASSES):
            generator = torch.Generator().manual_seed(settings.seed + passed)
            batches = self.task.batches(
                self.task.calibration, settings.batch_size, generator=generator, augment=settings.augment
            )
            for inputs, _ in batches:
                yield inputs

    def latency(self, model: bytes) -> tuple[float, float]:
        """Milliseconds at batch 1 in the goal's runtime, and how many times as fast as the original."""
        runtime, threads = self.goal.runtime, self.settings.threads
        sessions = {
            "original": open_session(self.original_onnx(), runtime, threads),
            "candidate": open_session(model, runtime, threads),
        }
        turns = interleaved(sessions, self.task.example[:1].numpy())
        return turns["candidate"].median, turns.ratio("original", "candidate").median

    def tune(
        self,
        module: nn.Module,
        plugs: Sequence[Plug],
        numerics: Numerics,
        epochs: int,
        folder: Path,
        name: str,
        phase: str = "",
        weight_decay: float = tuning.Settings.weight_decay,
        gently: float = 1.0,
        grafting: Grafting | None = None,
        preparing: bool = False,
    ) -> dict[str, Tensor]:
        """Train a candidate in place; goes on from the step's checkpoint if there is one.

        The original is its teacher where a plug wants one. `phase` tells apart the trainings of a step that has
        several; `gently` multiplies the learning rate. `grafting`: beside copies of itself; the candidate becomes the
        copy that is best on the selection split. `preparing`: for a cut; a dense control is not trained so. Returns
        the weights that its forward pass uses. Only training happens on the run's device: module and weights come back
        to the CPU.
        """
        settings = tuning.Settings(
            epochs=epochs,
            batch_size=self.settings.batch_size,
            learning_rate=gently * self.settings.learning_rate,
            weight_decay=weight_decay,
            augment=self.settings.augment,
            seed=self.settings.seed,
        )
        taught = any(plug.taught for plug in plugs)
        marks: list[float] = []
        in_a_step = folder.parent.name == "steps"
        watched = self._watched() if in_a_step and not preparing else None
        with background_work(), self.watch.bar(f"tuning: {name}") as step:

            def progress(done: int, total: int, words: str) -> None:
                step(done, total, words)
                marks.append(time.monotonic())
                pause_if_measuring()
                if done * epochs % total == 0:
                    self._answers.keep()
                if time.monotonic() - self._ticked > TICK_SECONDS:
                    self.tick()

            how: dict[str, Any] = {
                "teacher": self._teacher(numerics) if taught else None,
                "numerics": numerics,
                "checkpoint": folder / CHECKPOINT.format(f"-{phase}" if phase else ""),
                "device": self.settings.device,
                "progress": progress,
                "watched": watched,
            }
            if grafting is None:
                losses = tuning.tune(module, self.task, settings, plugs, **how)
            else:
                copies, losses = tuning.graft(module, self.task, settings, plugs, grafting, **how)
                module.load_state_dict(max(copies, key=self.selection_quality).state_dict())
        if marks:  # else it was finished before
            self.count(EPOCHS, epochs * (grafting.copies if grafting else 1))
            self.tick()
        if len(marks) >= FEWEST_MARKS:  # the median step: some have waited for whoever measures
            self.epoch_seconds = float(np.median(np.diff(marks))) * (
                len(self.task.train) // batch_size(settings, self.task)
            )
        if in_a_step:
            grafted = None if grafting is None else asdict(grafting)
            manner = {"taught": taught, "weight_decay": weight_decay, "grafted": grafted}
            if not preparing:
                self.stage("manner of tuning", lambda: manner)
            words = f"{folder.name} {phase}".rstrip()
            if watched:
                self.stage(f"{words} qualities", lambda: watched.qualities)
            self.stage(f"{words}{LOSSES}", lambda: losses)
        effective = {name: value.cpu() for name, value in tuning.effective_weights(module, plugs).items()}
        module.to("cpu")
        return effective

    def _watched(self) -> Watched | None:
        """What is asked after each epoch, where it was asked for."""
        count, selection = min(self.settings.epoch_quality, len(self.task.selection)), self.task.selection
        if not count:
            return None
        spread = np.arange(count) * len(selection) // count  # a split may be in the order of its classes
        return Watched(self.task, selection.subset(spread, selection.name))

    def watched_original(self) -> tuple[int, float] | None:
        """How many images the network in training was asked about, and the original's quality on them."""
        if (watched := self._watched()) is None:
            return None

        def compute() -> float:
            module = self.network.copy().module
            return watched.quality(module, dict(module.state_dict()))

        return min(self.settings.epoch_quality, len(self.task.selection)), self.stage("original watched", compute)

    def _teacher(self, numerics: Numerics) -> nn.Module:
        """A copy of the original; what one training has asked it, it answers the next from memory."""
        return Remembering(copy.deepcopy(self.network.module), self._answers, str(numerics))

    def selection_quality(self, module: nn.Module) -> float:
        """Quality of a network on the selection split, exported and run in the goal's runtime."""
        model = export_onnx(module.cpu(), self.network.example)
        self.count(EVALUATIONS)
        return float(qualities(self.task, self.task.selection, model, self.goal.runtime).mean())
