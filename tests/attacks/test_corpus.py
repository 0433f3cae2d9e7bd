# SPDX-License-Identifier: Apache-2.0
"""What coverage-guided fuzzing found its way by (benchmarks/fuzz.py), and every input that once crashed."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from benchmarks.fuzz import seeds
from benchmarks.fuzz_inputs import attack, file_of, input_of

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_the_corpus_is_refused_or_read_in_little_time_and_memory(tmp_path):
    assert len(CORPUS) > 100
    read = 0
    for path in CORPUS:
        tracemalloc.start()
        start = time.perf_counter()
        read += attack(path.read_bytes(), tmp_path / "a.gossamer")
        seconds = time.perf_counter() - start
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**27, path.name
        assert seconds < 20, path.name
    assert read > 5, "honest ones are among them"


def test_an_honest_file_is_its_input_put_together(whole, tmp_path):
    """Else the fuzzer would begin with files that are refused at once."""
    assert attack(input_of(whole), tmp_path / "a.gossamer")
    seeds(tmp_path / "seeds")
    made = sorted((tmp_path / "seeds").iterdir())
    assert len(made) == 8
    assert all(attack(path.read_bytes(), tmp_path / "a.gossamer") for path in made)


@pytest.mark.parametrize("data", [b"", b"\0", b"\x03\xff\xff", b"\xff"])
def test_every_input_stands_for_some_file(data, tmp_path):
    assert isinstance(file_of(data), bytes)
    assert not attack(data, tmp_path / "a.gossamer")


def test_what_is_neither_refused_nor_read_is_raised(whole, tmp_path, monkeypatch):
    """The fuzzer would not see a fault otherwise."""
    monkeypatch.setattr("gossamer.container.to_onnx", lambda payload: b"another")
    with pytest.raises(ValueError, match="decoded in pieces, the model is another one"):
        attack(input_of(whole), tmp_path / "a.gossamer")
