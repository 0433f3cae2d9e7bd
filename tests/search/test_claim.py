# SPDX-License-Identifier: Apache-2.0
"""A folder is one run's: empty, or begun by the very same work; nothing else is touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gossamer
from gossamer.files import read_json, sha256
from gossamer.graph import trace
from gossamer.search.claim import architecture_sha256, claim_folder, identity, weights_sha256
from gossamer.search.watch import Watch

ASKED = {"version": 1, "goal": {"tolerance": 0.01}, "data": {"train": "a", "test": "b"}, "protect": ("conv1",)}


class Sayings(Watch):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def claim(folder, asked=ASKED):
    watch = Sayings()
    claim_folder(folder, asked, watch)
    return watch.said


def test_a_new_folder_and_the_same_again(tmp_path):
    assert claim(tmp_path / "deep" / "run") == []
    assert claim(tmp_path / "deep" / "run") == [f"going on with the run in {tmp_path / 'deep' / 'run'}"]


def test_a_kill_in_the_first_write_leaves_a_folder_that_is_accepted(tmp_path):
    (tmp_path / "run.json.part").write_text('{"versi')
    assert claim(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_other_work_is_refused_and_named(tmp_path):
    claim(tmp_path)
    other = ASKED | {"goal": {"tolerance": 0.02}, "data": {"train": "a", "test": "c"}}
    with pytest.raises(ValueError, match=r"got another run in .* \(it differs in data.test, goal.tolerance\); choose"):
        claim(tmp_path, other)
    assert read_json(tmp_path / "run.json")["data"]["test"] == "b"


def test_other_files_are_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="expected an empty folder for the run, got files of something else"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ValueError, match=r"expected a folder for the run, got the file .*; choose another --out"):
        claim(tmp_path / "run")


class Scaled(nn.Module):
    def __init__(self, by=2.0, shift=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.by, self.shift = by, shift

    def forward(self, x):
        x = self.conv(x) * self.by
        return x if self.shift is None else x + torch.tensor(self.shift)


def architecture(module):
    return architecture_sha256(trace(module.eval(), torch.zeros(2, 3, 8, 8)))


def test_an_edited_network_with_the_same_weights_is_another():
    torch.manual_seed(0)
    plain = architecture(Scaled())
    assert architecture(Scaled()) == plain, "weights are no part of it"
    assert architecture(Scaled(by=3.0)) != plain
    assert architecture(Scaled(shift=[1.0] * 8)) != architecture(Scaled(shift=[2.0] * 8))


def test_the_identity_names_version_code_weights_and_data(task):
    network = trace(task.model, task.example)
    found = identity(task, network)
    assert found["gossamer"] == gossamer.__version__
    assert found["architecture"] == architecture_sha256(network)
    assert set(found["data"]) == {"train", "calibration", "selection", "test"}
    before = found["network"]
    with torch.no_grad():
        next(task.model.parameters()).add_(1)
    assert identity(task, network)["network"] != before


def test_weights_of_any_type_have_a_hash_and_the_type_counts():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = weights_sha256(module)
    assert before == sha256(
        b"".join(name.encode() + b"\0" + value.numpy().tobytes() for name, value in sorted(module.state_dict().items()))
    )
    assert weights_sha256(module.bfloat16()) not in (before, weights_sha256(module.half()))
