# SPDX-License-Identifier: Apache-2.0
"""The agreement between those who measure and those who work, with real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from gossamer.runtime.lock import background_work, latency_lock, pause_if_measuring

WORKER = """
import sys, time
from gossamer.runtime.lock import background_work, pause_if_measuring
with background_work():
    while True:
        pause_if_measuring()
        with open(sys.argv[1], "a") as steps:
            steps.write("begin ")
            steps.flush()
            time.sleep(0.01)
            steps.write("end ")
"""

MEASURER = """
import sys
from gossamer.runtime.lock import latency_lock
with latency_lock():
    print("measuring", flush=True)
    sys.stdin.read()
"""

WAITER = """
from gossamer.runtime.lock import pause_if_measuring
print("ready", flush=True)
pause_if_measuring()
"""


@pytest.fixture(autouse=True)
def _own_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOSSAMER_LOCK_DIR", str(tmp_path))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Path]:
    """A process that works in steps, each logged; yields the log."""
    log = tmp_path / "steps"
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(log)])
    wait_until(lambda: log.exists() and "end" in log.read_text())
    yield log
    process.kill()
    process.wait()


def grown(log: Path, size: int) -> bool:
    return len(log.read_text()) > size


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_worker_pauses_while_we_measure_and_then_goes_on(worker: Path) -> None:
    for _ in range(3):
        with latency_lock(), latency_lock():  # the same process may nest it
            paused = worker.read_text()
            assert paused.endswith("end ")  # between two steps, not inside one
            time.sleep(0.1)
            assert worker.read_text() == paused
        wait_until(partial(grown, worker, len(paused) + 20))


def test_work_waits_until_another_process_has_measured() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MEASURER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as measurer:
        assert measurer.stdin is not None
        assert measurer.stdout is not None
        assert measurer.stdout.readline() == "measuring\n"
        with subprocess.Popen([sys.executable, "-c", WAITER], stdout=subprocess.PIPE, text=True) as waiter:
            assert waiter.stdout is not None
            assert waiter.stdout.readline() == "ready\n"
            time.sleep(0.1)
            assert waiter.poll() is None
            measurer.stdin.close()
            assert waiter.wait(timeout=60) == 0


def test_a_job_of_the_queue_may_measure_itself() -> None:
    with background_work():
        pause_if_measuring()
        with latency_lock():
            pause_if_measuring()
        pause_if_measuring()
    with latency_lock():
        pass
