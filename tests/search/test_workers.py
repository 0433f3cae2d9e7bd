# SPDX-License-Identifier: Apache-2.0
"""Two workers of a local cluster find what one process finds, also when one of them is killed in the middle."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import gossamer
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.search import workers as module
from gossamer.search.claim import identity
from gossamer.search.settings import Settings
from gossamer.search.workers import Workers

SETTINGS = Settings(epochs=1, batch_size=64, augment=False, numerics="plain float32")
RECIPE = "slim-then-sparsify:slimming=2,pruning=2,brute_force=true"


def compressed(task, out: Path, workers: Workers | None = None):
    goal = Goal(0.04, observed=0.015)
    return gossamer.compress(
        task, goal, RECIPE, out=out, settings=SETTINGS, ledger=out.with_suffix(".json"), workers=workers
    )


def found(result):
    """Everything that may not depend on who made it."""
    return [
        (
            c.name,
            c.nonzeros,
            c.sizes,
            c.verdict,
            (result.folder / "steps" / c.folder.name / "model.gossamer").read_bytes(),
        )
        for c in result.candidates
    ]


@pytest.fixture
def one_thread():
    """As Ray has it: sums in another order are other sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_same_as_one_process_though_a_worker_is_killed(user_task, trained, tmp_path, one_thread):
    killed = tmp_path / "killed"

    def dying_once():
        if not killed.exists():
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return user_task(trained)

    alone = compressed(user_task(trained), tmp_path / "alone")
    with Workers("2", dying_once) as workers:
        together = compressed(user_task(trained), tmp_path / "together", workers)
    assert killed.exists()
    assert found(together) == found(alone)
    assert together.report.chosen == alone.report.chosen
    assert len(together.candidates) == 5
    (together.folder / "steps" / together.candidates[-1].folder.name / "measurement.json").unlink()
    asked = Counting("1", partial(user_task, trained))
    with asked as workers:  # the same command again makes what is missing, and nothing else
        assert found(compressed(user_task(trained), tmp_path / "together", workers)) == found(alone)
    assert asked.begun == [(1, 1, 1)]


class Counting(Workers):
    """Remembers what it was asked for."""

    def begin(self, run, recipe, trials, needed):
        self.begun = list(trials)
        super().begin(run, recipe, trials, needed)


def test_what_a_trial_raises_is_raised_here(user_task, trained, tmp_path):
    def missing():
        raise ValueError("expected the data here too, found none")

    with Workers("1", missing) as workers, pytest.raises(ValueError, match=r"^expected the data here too, found none$"):
        compressed(user_task(trained), tmp_path / "run", workers)


def test_trials_that_wait_for_each_other_are_refused(user_task, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ray", lambda: pytest.MonkeyPatch)  # never asked
    workers = object.__new__(Workers)
    for recipe in ("auto", "slim-then-sparsify"):
        with pytest.raises(ValueError, match="expected a recipe whose trials need not wait for each other"):
            gossamer.compress(user_task(trained), Goal(), recipe, out=tmp_path / "run", workers=workers)
    assert not (tmp_path / "run").exists()


def test_what_makes_no_cluster_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="expected a number of workers of at least 1, or an address of Ray, got 0"):
        Workers("0", partial(int))
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "here"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="expected workers or torchrun, got both"):
        Workers("2", partial(int))


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(module.importlib, "import_module", absent)
    with pytest.raises(ValueError, match=r"ray is not installed; pip install -e '\.\[ray\]' in the clone"):
        Workers("2", partial(int))


@pytest.mark.parametrize(("given", "there"), [("cuda:1", "cuda"), ("cpu", "cpu")])
def test_a_worker_has_its_own_device_as_the_only_one(task, tmp_path, monkeypatch, given, there):
    monkeypatch.setattr("gossamer.search.settings.check_device", lambda device: None)
    about = identity(task, trace(task.model, task.example))
    asked = module.Asked(lambda: task, Goal(), "auto", replace(SETTINGS, device=given), 1, about)
    assert asked.run_in(tmp_path / "run").settings.device == there
