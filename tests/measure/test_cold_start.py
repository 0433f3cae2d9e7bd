# SPDX-License-Identifier: Apache-2.0
"""Cold start: each network in a process of its own, decoding included."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from gossamer import container
from gossamer.measure.cold_start import _medians, cold_starts

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
        assert start.ms_range == (start.ms, start.ms), "here of one process"


def test_the_least_and_the_most_stand_beside_the_median():
    rows = [{"ms": ms, "peak_bytes": peak, "libraries_bytes": 5} for ms, peak in ((30, 7), (10, 9), (14, 8))]
    found = _medians(rows)
    assert (found.ms, found.ms_range, found.peak_bytes, found.peak_range) == (14, (10, 30), 8, (7, 9))
    unknown = _medians([{**row, "peak_bytes": None} for row in rows])
    assert (unknown.peak_bytes, unknown.peak_range) == (None, None)


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
