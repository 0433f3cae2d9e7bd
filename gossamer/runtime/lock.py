# SPDX-License-Identifier: Apache-2.0
"""One measurement at a time, and nothing else of ours beside it: a busy second core distorts even ratios.

Whoever measures holds `latency_lock()`. Work that can wait (the benchmark queue) runs inside `background_work()`
and calls `pause_if_measuring()` between steps. Two files carry the agreement, so that a measurement begins only
when every worker has really paused, and no worker slips in before it:

                      'measuring'            'working'
    latency_lock      exclusive, then        exclusive
    background_work                          shared, given up at each pause
    pause             shared (waits here)

The operating system drops the locks of a process that dies. The files are in $GOSSAMER_LOCK_DIR, by default in a
folder per user in the temporary directory. Where fcntl does not exist (Windows) nothing is locked.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]


class _Process:
    """What this process holds at the moment; locks are per process, so is this."""

    measuring = 0  # depth of nested latency_lock()
    working: ExitStack | None = None  # the shared lock on 'working', while inside background_work()


@contextmanager
def latency_lock() -> Iterator[None]:
    """Hold the machine for a measurement: waits for other measurements to end and for workers to pause."""
    if _Process.measuring:
        yield
        return
    with ExitStack() as held:
        _give_up_working()
        held.callback(_resume_working)
        held.enter_context(_locked("measuring", exclusive=True))
        held.enter_context(_locked("working", exclusive=True))
        _Process.measuring += 1
        try:
            yield
        finally:
            _Process.measuring -= 1


@contextmanager
def background_work() -> Iterator[None]:
    """Work that stands back for measurements; inside, call `pause_if_measuring()` every second or so."""
    if _Process.working is not None:
        yield
        return
    with _locked("measuring", exclusive=False):
        _Process.working = ExitStack()
        _Process.working.enter_context(_locked("working", exclusive=False))
    try:
        yield
    finally:
        _Process.working.close()
        _Process.working = None


def pause_if_measuring() -> None:
    """Return at once, unless another process measures or waits to: then when it has finished."""
    if _Process.measuring:
        return
    _give_up_working()
    with _locked("measuring", exclusive=False):
        _resume_working()


def _give_up_working() -> None:
    if _Process.working is not None:
        _Process.working.close()


def _resume_working() -> None:
    if _Process.working is not None:
        _Process.working.enter_context(_locked("working", exclusive=False))


@contextmanager
def _locked(name: str, exclusive: bool) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    with (_directory() / f"{name}.lock").open("a") as file:  # closing it unlocks
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


def _directory() -> Path:
    chosen = os.environ.get("GOSSAMER_LOCK_DIR")
    directory = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"gossamer-{os.getuid()}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
