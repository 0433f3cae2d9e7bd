# SPDX-License-Identifier: Apache-2.0
"""What is left of the tolerance makes the file of a fast network small, and changes nothing of its speed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from gossamer import container
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.plan import Plan
from gossamer.recipes import fewer_channels, same_speed
from gossamer.recipes.same_speed import in_fewer_bits
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch

SETTINGS = Settings(epochs=8, batch_size=32, learning_rate=0.1, augment=False, numerics="plain float32")


@pytest.fixture
def run(user_task, trained, tmp_path, monkeypatch):
    """A run whose int8 is twice as fast as its float32; times cannot be measured, they are counted up."""
    task = user_task(trained)
    calls = iter(range(1000))
    monkeypatch.setattr(
        Run,
        "latency",
        lambda self, model: (1.0 + next(calls) / 1e6, 2.0) if b"QuantizeLinear" in model else (2.0, 1.0),
    )
    goal = Goal(tolerance=0.04, observed=0.02, minimise="latency")
    made = Run(tmp_path / "run", task, goal, "auto", trace(task.model, task.example), SETTINGS, Watch())
    made.seconds_of("first candidate", lambda: None)
    return made


def written(run):
    """float32 and int8 of the uncut network."""
    both = fewer_channels.written_forms(run, run.step_folder(0, "uncut"), "uncut", run.network, Plan())
    return sorted(both, key=lambda candidate: candidate.plan.int8)


def graph_of(candidate):
    """Operators with what they read and write, and the initializers, of a candidate's network."""
    graph = onnx.load_from_string(candidate.onnx()).graph
    operators = [(node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node]
    return operators, {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_the_file_gets_small_and_the_operators_stay(run, int8):
    before = written(run)[int8]
    found = in_fewer_bits(run, [before])
    accepted = [candidate for candidate in found if candidate.verdict.accepted]
    assert accepted
    sizes = [before.sizes.coded, *(candidate.sizes.coded for candidate in accepted)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.7 * sizes[0]
    best = accepted[-1]
    assert (best.latency_ms, best.speedup, best.macs) == (before.latency_ms, before.speedup, before.macs)
    assert best.plan.int8 == int8
    operators, values = graph_of(best)
    assert operators == graph_of(before)[0]
    if int8:
        weights = [value for name, value in values.items() if name.endswith(".weight")]
        assert {value.dtype for value in weights} == {np.dtype(np.int8)}
        assert max(int(np.abs(value.astype(int)).max()) for value in weights) < 100  # no longer all of 8 bits
    else:
        assert any(tensor.integers is not None for tensor in container.read(best.file).payload.tensors)


def test_it_ends_where_the_selection_split_refuses(run):
    found = in_fewer_bits(run, written(run)[:1])
    assert [candidate.verdict.accepted for candidate in found[:-1]] == [True] * (len(found) - 1)
    last = found[-1]
    assert not last.verdict.accepted or last.sizes.coded >= found[-2].sizes.coded


def test_a_second_call_reads_what_the_first_made(run, monkeypatch):
    base = written(run)
    found = in_fewer_bits(run, base)
    monkeypatch.setattr(same_speed, "finish", None)
    assert in_fewer_bits(run, base) == found


def test_the_fastest_is_taken_and_of_two_as_fast_the_smaller(run):
    floats, int8 = written(run)
    assert in_fewer_bits(run, [floats, int8])[0].plan.int8
    slower = replace(int8, latency_ms=3.0)
    larger = replace(floats, latency_ms=2.0, sizes=replace(floats.sizes, coded=10 * floats.sizes.coded))
    assert min([slower, larger, floats], key=lambda c: c.rank("latency")) is floats


def test_without_time_it_is_said(run):
    base = written(run)[:1]
    run.goal = replace(run.goal, hours=1e-6)
    assert in_fewer_bits(run, base) == []
    assert run.notes[-1] == f"no time was left to make the file of '{base[0].name}' smaller"


def test_of_refused_candidates_none_is_rounded(run):
    floats = written(run)[0]
    assert in_fewer_bits(run, [replace(floats, verdict=replace(floats.verdict, accepted=False))]) == []


def test_a_strength_that_gains_nothing_yet_is_passed_over(run, monkeypatch):
    """Under int8 the first steps can be finer than 8 bits: the file stays, until they are coarser."""
    base = written(run)[0]
    sizes = iter([base.sizes.coded, base.sizes.coded, 900, 800, 810, 700])

    def made(run, folder, name, network, units, like):
        return replace(base, name=name, sizes=replace(base.sizes, coded=next(sizes)))

    monkeypatch.setattr(same_speed, "written", made)
    assert [one.sizes.coded for one in in_fewer_bits(run, [base])][2:] == [900, 800, 810]


def test_time_is_kept_for_what_must_still_come(run):
    base = written(run)[:1]
    (run.folder / "stages" / "seconds of first candidate.json").write_text('{"value": 10.0, "seconds": 10.0}')
    asked = len(run.task.test) / len(run.task.selection)
    run.goal = replace(run.goal, hours=(run.seconds + 20 * (1 + 2 * asked) - 5) / 3600)
    assert in_fewer_bits(run, base) == []
    run.goal = replace(run.goal, hours=(run.seconds + 20 * (1 + 2 * asked) + 60) / 3600)
    assert in_fewer_bits(run, base)
