# SPDX-License-Identifier: Apache-2.0
"""Goals: what they accept, how they print, and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gossamer.goal import Goal


def test_the_usual_goal() -> None:
    goal = Goal()
    assert (goal.tolerance, goal.confidence, goal.minimise, goal.runtime) == (0.01, 0.95, "bytes", "onnxruntime")
    assert str(goal) == "least bytes, drop at most 1 points at 95 % confidence, in onnxruntime"


def test_a_time_limit_is_printed() -> None:
    assert str(Goal(minimise="latency", runtime="openvino", hours=1.5)).endswith("in openvino, within 1.5 h")


@pytest.mark.parametrize(
    "goal",
    [Goal(), Goal(0.01, 0.99, "latency", "openvino", 2.5, 0.004), Goal(observed=0.0), Goal(minimise="macs")],
)
def test_json_inverts(goal: Goal) -> None:
    assert Goal.from_json(json.loads(json.dumps(goal.to_json()))) == goal


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tolerance": 0.5, "observed": 0.6}, "observed must be between 0 and the tolerance 0.5, got 0.6"),
        ({"observed": -0.001}, "observed must be between 0 and the tolerance 0.01, got -0.001"),
        ({"tolerance": 0}, "tolerance must be a fraction between 0 and 1, got 0; half a point is 0.005"),
        ({"tolerance": 1}, "tolerance must be a fraction between 0 and 1, got 1"),
        ({"tolerance": float("nan")}, "tolerance must be a fraction between 0 and 1, got nan"),
        ({"confidence": 1.0}, r"confidence must be in \[0.5, 1\), got 1.0; 0.95 is usual"),
        ({"confidence": 95}, r"confidence must be in \[0.5, 1\), got 95"),
        ({"confidence": 0.2}, r"confidence must be in \[0.5, 1\), got 0.2"),
        ({"minimise": "size"}, "minimise must be one of bytes, latency, macs, got 'size'"),
        ({"runtime": "tensorrt"}, "runtime must be one of onnxruntime, openvino, got 'tensorrt'"),
        ({"hours": 0}, "hours must be positive, got 0"),
        ({"hours": float("inf")}, "hours must be positive, got inf"),
        ({"fit": {"watts": 1.0}}, "a network can be fitted into bytes, latency, macs, ram, got 'watts'"),
        ({"fit": {"ram": 0}}, "the limit of ram must be a positive number, got 0"),
        ({"fit": {"bytes": 0}}, "the limit of bytes must be a positive number, got 0"),
        ({"fit": {"bytes": 1e5}, "observed": 0.001}, "expected limits to fit into or an observed drop, got both"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Goal(**fields)


@pytest.mark.parametrize("fields", [{"tolerence": 0.01}, {"tolerance": "0.01"}])
def test_from_json_names_what_it_got(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected the fields of a goal, got"):
        Goal.from_json(fields)


def test_limits_say_what_is_measured_beside() -> None:
    assert Goal(fit={"bytes": 1e5, "latency": 5.0}).minimise == "latency"
    assert Goal(fit={"bytes": 1e5, "macs": 1e6}, minimise="latency").minimise == "macs"
    assert Goal(fit={"ram": 5e5, "macs": 1e6}).minimise == "macs"
    assert "within 500000 bytes of working memory at" in str(Goal(fit={"ram": 5e5}))
    assert str(Goal(fit={"bytes": 2e5})) == "best quality within 200000 bytes at 95 % confidence, in onnxruntime"


def test_what_is_above_its_limit() -> None:
    assert Goal(fit={"ram": 1000}).exceeded({"ram": 2500, "bytes": 5000}) == {"ram": 2.5}
    goal = Goal(fit={"bytes": 100, "macs": 10})
    assert goal.exceeded({"bytes": 150, "macs": 10, "latency": None}) == {"bytes": 1.5}
    assert Goal.from_json(json.loads(json.dumps(goal.to_json()))) == goal
