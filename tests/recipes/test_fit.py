# SPDX-License-Identifier: Apache-2.0
"""Limits are kept, all of them, with as much quality as they leave; what cannot fit is said."""

from __future__ import annotations

import pytest

import gossamer
from gossamer.certify import recheck
from gossamer.goal import Goal
from gossamer.measure.working_memory import working_memory
from gossamer.search.memory_model import MemoryModel
from gossamer.search.proof import ToleranceNotMet
from gossamer.search.run import Settings

SETTINGS = Settings(epochs=8, batch_size=32, learning_rate=0.05, augment=False, numerics="plain float32")


@pytest.fixture
def fit(user_task, trained, tmp_path):
    def run(recipe="auto", **limits):
        task = user_task(trained)
        goal = Goal(fit=limits)
        return gossamer.compress(
            task, goal, recipe, out=tmp_path / "run", settings=SETTINGS, ledger=tmp_path / "l.json"
        )

    return run


def test_bytes_and_macs_together(fit):
    result = fit(bytes=2600, macs=60_000)
    after, before = result.report.compressed, result.report.original
    assert before.macs > 60_000 >= after.macs
    assert (result.folder / "model.gossamer").stat().st_size == after.bytes.coded <= 2600  # certificate included
    assert after.quality > 0.9
    assert result.certificate.proven
    assert recheck(result.certificate) == []
    assert result.certificate.tolerance < 0.1
    fitting = [candidate for candidate in result.candidates if candidate.verdict.accepted]
    assert result.report.chosen == max(fitting, key=lambda candidate: candidate.quality).name


def test_what_fits_already_is_only_written(fit):
    result = fit(macs=10**9)
    assert result.report.chosen == "uncut, float32"
    assert len(result.candidates) == 1


def test_what_cannot_fit_is_said(fit):
    with pytest.raises(ToleranceNotMet, match=r"no candidate fits into the limits \(.*bytes .* times the limit"):
        fit(bytes=100)


# --- working memory: the small network reads and makes 16 channels of 8 x 8 in its second convolution -----------------


def test_int8_takes_a_quarter_of_the_memory_and_is_tried_before_channels_are_cut(fit):
    result = fit(ram=4096)
    assert result.report.chosen == "uncut, int8"
    assert [candidate.ram_bytes for candidate in result.candidates] == [4 * 64 * (16 + 16), 64 * (16 + 16)]
    assert [candidate.verdict.note for candidate in result.candidates] == ["ram 2 times the limit", ""]
    before, after = result.report.original, result.report.compressed
    assert (before.ram_bytes, after.ram_bytes) == (8192, 2048)
    assert working_memory((result.folder / "model.onnx").read_bytes()).bytes == after.ram_bytes
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "4.00\N{MULTIPLICATION SIGN} less working memory" in page
    assert "working memory of activations" in page


def test_channels_are_cut_to_working_memory_and_bytes_together(fit):
    result = fit(ram=1000, bytes=100_000)
    after = result.report.compressed
    assert after.ram_bytes == working_memory((result.folder / "model.onnx").read_bytes()).bytes <= 1000
    assert after.ram_bytes > 700, "more was cut than had to be"
    assert after.quality > 0.9


def test_a_file_in_int8_arithmetic_gets_few_bits_too(fit):
    """The memory is that of int8 alone, and eight bits a weight would not fit into the file."""
    result = fit(ram=2100, bytes=2600)
    uncut = next(candidate for candidate in result.candidates if candidate.name == "uncut, int8")
    assert uncut.sizes.coded > 2600
    assert result.report.chosen.endswith(", int8")
    after = result.report.compressed
    assert after.ram_bytes == working_memory((result.folder / "model.onnx").read_bytes()).bytes <= 2100
    assert (result.folder / "model.gossamer").stat().st_size <= 2600
    assert after.quality > 0.9


@pytest.mark.parametrize(("limits", "least"), [({"ram": 200}, 256), ({"ram": 200, "bytes": 1e6}, 256)])
def test_memory_that_no_cut_reaches_is_said_before_anything_is_trained(fit, tmp_path, limits, least):
    """The input has 3 channels, and the first convolution keeps one."""
    message = (
        f"no cut of channels brings the working memory to {limits['ram']} bytes: with the fewest .* it is {least:,}"
    )
    with pytest.raises(ToleranceNotMet, match=message):
        fit(**limits)
    steps = {path.name for path in (tmp_path / "run" / "steps").iterdir()}
    assert steps == {"00-uncut"}
    assert not (tmp_path / "run" / "stages" / "sensitivities.json").exists()


def test_a_cut_that_needs_more_than_predicted_is_lowered_before_it_is_trained(fit, monkeypatch):
    """Where the model is off (here: by a third), the graph of the cut is measured, and the share follows."""
    exact = MemoryModel.bytes
    monkeypatch.setattr(MemoryModel, "bytes", lambda self, counts: exact(self, counts) * (0.75 if counts else 1))
    result = fit(ram=1000, bytes=100_000)
    assert result.report.compressed.ram_bytes <= 1000
    assert len(result.candidates) == 4, "it was trained once, and written in float32 and int8"


def test_recipes_that_search_within_a_tolerance_refuse(fit):
    with pytest.raises(ValueError, match="post-training searches within a tolerance, not within limits"):
        fit("post-training", bytes=2000)
