# SPDX-License-Identifier: Apache-2.0
"""Options that no training can have are refused before anything is begun, each in one sentence."""

from __future__ import annotations

import math

import pytest

from gossamer import tuning
from gossamer.search import settings as of_runs
from gossamer.tuning.limits import check_device


@pytest.mark.parametrize("settings", [tuning.Settings, of_runs.Settings], ids=["tuning", "search"])
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1, got 0"),
        ("batch_size", 1, "batch_size must be at least 2, got 1; batch norm"),
        ("learning_rate", 0.0, r"learning_rate must be positive and finite, got 0\.0"),
        ("learning_rate", math.inf, "learning_rate must be positive and finite, got inf"),
        ("learning_rate", math.nan, "learning_rate must be positive and finite, got nan"),
    ],
)
def test_settings_without_work_are_refused(settings, field, value, message):
    with pytest.raises(ValueError, match=message):
        settings(**{field: value})


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there_is_one_sentence(device):
    with pytest.raises(ValueError, match=rf"device must be one that this machine has \(cpu.*\), got '{device}'$"):
        check_device(device)
    with pytest.raises(ValueError, match="device must be one that this machine has"):
        of_runs.Settings(device=device)


def test_a_run_has_threads():
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        of_runs.Settings(threads=0)


def test_the_usual_is_accepted():
    check_device("cpu")
    of_runs.Settings(epochs=None)
    of_runs.Settings(epochs=1, batch_size=2, learning_rate=1e12)
