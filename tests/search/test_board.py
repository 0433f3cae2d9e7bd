# SPDX-License-Identifier: Apache-2.0
"""A latency table of another machine: cuts go there, times come back, and the search goes by them."""

from __future__ import annotations

import pytest

import gossamer
from gossamer.cli import main
from gossamer.files import read_json, write_json
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.search.board import read_table
from gossamer.search.latency_table import LatencyTable
from gossamer.search.run import Settings


def test_a_table_comes_back_from_another_machine(trained, tmp_path, user_task, make_task):
    """The board here is a planted one, on which a layer takes a millisecond and a million multiply-adds ten."""
    folder = tmp_path / "table"
    assert main(["bench", "--bundle", str(folder), "--table-of", f"{trained / 'net.py'}:SmallNet", "--size", "8"]) == 0
    task = user_task(trained)
    network = trace(task.model, task.example)
    counts = read_json(folder / "table.json")["counts"]
    bundle = read_json(folder / "bundle.json")
    assert bundle["networks"].keys() == counts.keys()
    with pytest.raises(ValueError, match="found not both in"):
        read_table(folder, network)

    def takes(kept):
        work = network.macs_of_uses_if(kept)
        return 0.5 + (work > 0).sum() + 10 * work.sum() / 1e6

    rows = {name: {"median_ms": float(takes(kept))} for name, kept in counts.items()}
    machine = {"processor": "planted", "machine": "", "threads": 1, "onnxruntime": "1.23", "rounds": 200}
    write_json(folder / "board.json", {"version": 1, "board": machine, "networks": rows, "images": 0})
    found = read_table(folder, network)
    assert found["board"].startswith("planted, 1 threads")
    table = LatencyTable.from_json(found["table"])
    assert table.multiple >= 8
    for kept in ({}, counts["sample-03"]):
        assert table.milliseconds(network, kept) == pytest.approx(takes(kept), rel=0.05)

    settings = Settings(epochs=1, batch_size=64, augment=False, latency_table=str(folder))
    goal = Goal(0.05, minimise="latency")
    result = gossamer.compress(task, goal, out=tmp_path / "run", settings=settings, ledger=tmp_path / "l.json")
    assert any("a table of another machine predicts (planted" in note for note in result.report.notes)
    assert result.candidates[0].latency_ms == pytest.approx(takes({}), rel=0.05)
    assert all("int8" not in candidate.name for candidate in result.candidates)
    other = trace(make_task(width=8).model, task.example)
    with pytest.raises(ValueError, match="got that of another; pack it anew"):
        read_table(folder, other)
