# SPDX-License-Identifier: Apache-2.0
"""Cold start: each network in a process of its own, decoding included."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from gossamer import container
from gossamer.measure.cold_start import cold_starts

FILE = Path(__file__).resolve().parents[2] / "results" / "demo-bytes" / "model.gossamer"


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    out = tmp_path_factory.mktemp("decoded") / "model.onnx"
    container.decode(FILE, out)
    return out


def test_a_coded_file_takes_its_decoding_longer(decoded):
    found = cold_starts({"coded": FILE, "plain": decoded})
    assert found["coded"].ms > found["plain"].ms > 0
    for start in found.values():
        assert start.peak_bytes is None or start.peak_bytes > start.libraries_bytes > 2**20


def test_a_file_that_does_not_run_is_said(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"expected .*broken.onnx to run in onnxruntime, got: "):
        cold_starts({"broken": broken})


def test_a_process_that_is_killed_without_a_word_is_said(decoded, monkeypatch):
    killed = SimpleNamespace(returncode=-9, stdout="", stderr="")
    monkeypatch.setattr("gossamer.measure.cold_start.subprocess.run", lambda *given, **options: killed)
    with pytest.raises(ValueError, match=r"to run in onnxruntime, got: it ended with status -9$"):
        cold_starts({"plain": decoded})
