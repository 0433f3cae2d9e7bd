# SPDX-License-Identifier: Apache-2.0
"""Limits are kept, all of them, with as much quality as they leave; what cannot fit is said."""

from __future__ import annotations

import pytest

import gossamer
from gossamer.certify import recheck
from gossamer.goal import Goal
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


def test_recipes_that_search_within_a_tolerance_refuse(fit):
    with pytest.raises(ValueError, match="post-training searches within a tolerance, not within limits"):
        fit("post-training", bytes=2000)
