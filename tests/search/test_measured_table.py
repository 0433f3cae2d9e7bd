# SPDX-License-Identifier: Apache-2.0
"""A table of milliseconds that was measured once serves another run on the same machine, and no other."""

from __future__ import annotations

import pytest

from gossamer.files import read_json, write_json
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.search import widths as module
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.search.widths import Widths


@pytest.fixture
def make(user_task, trained, tmp_path):
    """A run of this name whose settings and goal are given in part."""
    task = user_task(trained)

    def made(name, latency_table=None, runtime="onnxruntime", threads=1):
        settings = Settings(batch_size=32, augment=False, latency_table=latency_table, threads=threads)
        goal = Goal(0.05, minimise="latency", runtime=runtime)
        return Run(tmp_path / name, task, goal, "auto", trace(task.model, task.example), settings, Watch())

    return made


@pytest.fixture
def measured(make, monkeypatch):
    """A run whose table says a millisecond a million multiply-adds, and how often networks were timed."""
    timed = []

    def time_samples(network, counted, model_of, **more):
        timed.append(len(counted))
        return [1 + network.macs_if(counts) / 1e6 for counts in counted]

    monkeypatch.setattr(module, "time_samples", time_samples)
    run = make("first")
    Widths.of(run, int8=False)
    assert timed.pop() > timed.pop() > 0
    return run, timed


@pytest.mark.parametrize("inside", ["", "stages/latency table.json"])
def test_it_serves_another_run(make, measured, inside):
    first, timed = measured
    again = make("again", str(first.folder / inside))
    assert Widths.of(again, int8=False).cost({}) == Widths.of(first, int8=False).cost({})
    assert timed == [], "nothing was timed again"
    assert "the latency table was taken over from" in again.notes[0]
    third = make("third", str(again.folder))
    assert Widths.of(third, int8=False).cost({}) == Widths.of(first, int8=False).cost({})


def test_that_of_the_other_arithmetic_is_no_use(make, measured):
    first, timed = measured
    again = make("again", str(first.folder))
    Widths.of(again, int8=True)
    assert len(timed) == 2
    assert "is of float32, and the other arithmetic is the faster one here" in again.notes[0]


@pytest.mark.parametrize(
    ("other", "words"),
    [({"threads": 2}, r"of another threads \(1, here 2\)"), ({"runtime": "openvino"}, "of another runtime")],
)
def test_what_is_measured_otherwise_is_refused(make, measured, other, words):
    first, _ = measured
    with pytest.raises(ValueError, match=words):
        Widths.of(make("again", str(first.folder), **other), int8=False)


def test_a_table_of_another_network_or_machine_is_refused(make, measured):
    first, _ = measured
    path = first.folder / "stages" / "latency table.json"
    stored = read_json(path)
    for name, value in (("network", {}), ("processor", "another")):
        of = stored["value"]["of"] | {name: value}
        write_json(path, stored | {"value": stored["value"] | {"of": of}})
        with pytest.raises(ValueError, match=f"got one of another {name}"):
            Widths.of(make(f"again {name}", str(first.folder)), int8=False)


def test_what_is_no_table_is_said(make, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in ("empty", "not there"):
        with pytest.raises(ValueError, match=r"expected a bundle .* the folder of a run .* check --latency-table"):
            Widths.of(make(f"run {path}", str(tmp_path / path)), int8=False)
