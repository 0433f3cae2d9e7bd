# SPDX-License-Identifier: Apache-2.0
"""A latency table of another machine: cuts go there, times come back, and the search goes by them."""

from __future__ import annotations

import pytest

import gossamer
from gossamer.cli import main
from gossamer.files import read_json, write_json
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.search.board import Tables, read_table
from gossamer.search.settings import Settings

FORMS = {"float32": 1.0, "int8": 0.5}


def test_a_table_comes_back_from_another_machine(trained, tmp_path, user_task, make_task):
    """The board here is a planted one, on which a layer takes a millisecond and a million multiply-adds ten.

    In int8 all of that takes half as long.
    """
    folder = tmp_path / "table"
    assert main(["bench", "--bundle", str(folder), "--table-of", f"{trained / 'net.py'}:SmallNet", "--size", "8"]) == 0
    task = user_task(trained)
    network = trace(task.model, task.example)
    counts = read_json(folder / "table.json")["counts"]
    bundle = read_json(folder / "bundle.json")
    assert bundle["networks"].keys() == {f"{form}-{name}" for form in ("float32", "int8") for name in counts}
    models = {form: (folder / bundle["networks"][f"{form}-sample-01"]["file"]).read_bytes() for form in FORMS}
    assert [b"QuantizeLinear" in model for model in models.values()] == [False, True]
    with pytest.raises(ValueError, match="found not both in"):
        read_table(folder, network)

    def takes(kept):
        work = network.macs_of_uses_if(kept)
        return 0.5 + (work > 0).sum() + 10 * work.sum() / 1e6

    rows = {
        f"{form}-{name}": {"median_ms": float(takes(kept)) * share}
        for name, kept in counts.items()
        for form, share in FORMS.items()
    }
    machine = {"processor": "planted", "machine": "", "threads": 1, "onnxruntime": "1.23", "rounds": 200}
    write_json(folder / "board.json", {"version": 1, "board": machine, "networks": rows, "images": 0})
    found = read_table(folder, network)
    assert found["board"].startswith("planted, 1 threads")
    tables = Tables.from_json(found["tables"])
    for int8, share in enumerate(FORMS.values()):
        table = tables.of(int8=bool(int8))
        assert table.multiple >= 8
        for kept in ({}, counts["sample-03"]):
            assert table.milliseconds(network, kept) == pytest.approx(takes(kept) * share, rel=0.05)

    settings = Settings(epochs=1, batch_size=64, augment=False, latency_table=str(folder))
    goal = Goal(0.05, minimise="latency")
    result = gossamer.compress(task, goal, out=tmp_path / "run", settings=settings, ledger=tmp_path / "l.json")
    assert any("a table of another machine predicts (planted" in note for note in result.report.notes)
    uncut = {c.plan.int8: c for c in result.candidates if c.name in ("uncut, float32", "uncut, int8")}
    assert uncut[False].latency_ms == pytest.approx(takes({}), rel=0.05)
    assert uncut[True].latency_ms == pytest.approx(takes({}) / 2, rel=0.05)
    assert uncut[True].speedup == pytest.approx(2, rel=0.1)
    assert result.report.chosen != "uncut, float32"
    other = trace(make_task(width=8).model, task.example)
    with pytest.raises(ValueError, match="got that of another; pack it anew"):
        read_table(folder, other)
    write_json(folder / "table.json", read_json(folder / "table.json") | {"version": 1})
    with pytest.raises(ValueError, match=r"of version 2 in .* got an older one; pack it anew"):
        read_table(folder, network)
