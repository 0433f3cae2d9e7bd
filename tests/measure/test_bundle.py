# SPDX-License-Identifier: Apache-2.0
"""A bundle runs where there is only numpy and onnxruntime, and what comes back is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gossamer import container
from gossamer.cli import main
from gossamer.measure.bundle import pack_models

FILE = Path(__file__).resolve().parents[2] / "results" / "demo-bytes" / "model.gossamer"
SCRIPT = """
import runpy, sys
sys.argv = [sys.argv[1], "--rounds", "5"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A bundle of a network and of one that answers otherwise, with images."""
    folder = tmp_path_factory.mktemp("bundle")
    payload = container.read(FILE).payload
    more = [
        container.Tensor.exact(tensor.name, tensor.decoded() + 3 * np.eye(10, dtype=np.float32)[0])
        if tensor.shape == (10,)
        else tensor
        for tensor in payload.tensors
    ]
    container.write(folder / "other.gossamer", replace(payload, tensors=tuple(more)), {})
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(23):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(pixels).save(folder / "pictures" / f"{index}.png")
    line = ["bench", str(FILE), str(folder / "other.gossamer"), "--bundle", str(folder / "b")]
    assert main([*line, "--data", str(folder / "pictures"), "--batch-size", "4"]) == 0
    return folder / "b"


@pytest.fixture
def on_board(packed, run_alone, onnxruntime_alone):
    """Runs the bundle's script where there is numpy and onnxruntime."""
    return lambda: run_alone(SCRIPT, onnxruntime_alone, str(packed / "on_board.py"))


def test_it_runs_with_numpy_and_onnxruntime_alone_and_comes_back(packed, on_board, capsys):
    done = on_board()
    assert done.returncode == 0, done.stderr
    found = json.loads((packed / "board.json").read_text())
    assert {row["different_answers"] for row in found["networks"].values()} == {0}
    assert all(row["median_ms"] > 0 and row["open_ms"] > 0 for row in found["networks"].values())
    assert next(iter(found["networks"].values()))["times_as_fast"] == 1.0
    assert main(["bench", "--board", str(packed / "board.json")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "0 of 23" in said
    assert "12.2" in said, "none of 23 differ: below 12.2 % at 95 % confidence"


def test_networks_of_like_names_are_files_of_their_own(tmp_path):
    models = {"model.gossamer": b"1", "model.onnx": b"2", "a/b.onnx": b"3", "a-b.onnx": b"4"}
    pack_models(tmp_path, models, (1, 3, 8, 8))
    listed = json.loads((tmp_path / "bundle.json").read_text())["networks"]
    assert {name: (tmp_path / row["file"]).read_bytes() for name, row in listed.items()} == models


def test_answers_that_differ_are_counted(packed, on_board):
    with np.load(packed / "images.npz") as pack:
        arrays = dict(pack)
    name = next(key for key in arrays if key.startswith("answers of"))
    changed = arrays[name].copy()
    changed[:4] = (changed[:4] + 1) % 10
    np.savez(packed / "images.npz", **(arrays | {name: changed}))
    assert on_board().returncode == 0
    found = json.loads((packed / "board.json").read_text())
    assert found["networks"][name.removeprefix("answers of ")]["different_answers"] == 4
    np.savez(packed / "images.npz", **arrays)


def test_a_network_that_was_changed_on_the_way_is_refused(packed, on_board):
    file = next((packed / "networks").iterdir())
    before = file.read_bytes()
    file.write_bytes(before[:-1])
    done = on_board()
    file.write_bytes(before)
    assert done.returncode == 1
    assert "as it was packed, got another file; copy the bundle again" in done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["bench", "--bundle", "out"], "expected the files to pack, got none"),
        (["bench"], "expected one or two files, got 0"),
        (["bench", "--board", "board.json"], "expected the board.json that a bundle's on_board.py writes"),
    ],
)
def test_what_cannot_be_done_is_said(line, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "board.json").write_text("{}")
    assert main(line) == 1
    assert message in capsys.readouterr().err
