# SPDX-License-Identifier: Apache-2.0
"""Two machines' answers side by side: what is matched with what, and when they are the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.data.preprocess import Preprocess
from gossamer.device.board_check import (
    FLOATS,
    INTEGERS,
    Difference,
    difference,
    expected_of,
    read_expected,
    tolerance_of,
)
from gossamer.device.deployed import THRESHOLD, Deployed
from gossamer.device.figures import Times
from gossamer.device.frames import Frame
from tests.device.detectors import SQUARES, scene

FRAME = Frame("a", 0, "a", scene(16, 16, []), (16, 16), 0.0)
BOX = (0.1, 0.2, 0.5, 0.6)


class Constant:
    """A session whose output is always the same."""

    def __init__(self, outputs) -> None:
        self.outputs = np.asarray(outputs, np.float32)

    def run(self, *inputs):
        return [self.outputs]


def answering(answer, outputs=(0.0,), kind="detection"):
    look = lambda frame: (list(answer), Times(0, 0, 0))  # noqa: E731
    return Deployed(kind, Preprocess((0.0,) * 3, (1.0,) * 3, 16), Constant(outputs), look)


def compared(there, here, kind="detection", tolerance=FLOATS):
    return difference(answering(here, kind=kind), FRAME, expected_of(answering(there, kind=kind), FRAME), tolerance)


boxes = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.tuples(
            st.floats(THRESHOLD + 0.02, 1),
            *(st.floats(0, 0.4) for _ in range(2)),
            *(st.floats(0.5, 1) for _ in range(2)),
        ),
    ),
    max_size=6,
)


@given(boxes, st.randoms())
def test_an_answer_is_like_itself_in_any_order(answer, random):
    shuffled = random.sample(answer, len(answer))
    found = compared(answer, shuffled)
    assert found.unmatched == 0
    assert found.count == len(answer)
    if len({row[0] for row in answer}) == len(answer):  # of one class, boxes that are equally near may change places
        assert max(found.score, found.side) < 1e-6


@given(boxes, boxes)
def test_it_does_not_matter_which_side_is_which(one, other):
    first, second = compared(one, other), compared(other, one)
    assert first.unmatched == second.unmatched
    assert abs(len(one) - len(other)) <= first.unmatched


def test_how_far_apart():
    moved = compared([("a", (0.8, *BOX))], [("a", (0.75, 0.1, 0.2, 0.5, 0.64))])
    assert (moved.unmatched, moved.count) == (0, 1)
    assert (moved.score, moved.side) == (pytest.approx(0.05), pytest.approx(0.04))
    assert compared([("a", (0.8, *BOX))], [("b", (0.8, *BOX))]).unmatched == 2
    assert compared([("a", (0.8, *BOX))], [("a", (0.8, 0.5, 0.6, 0.9, 0.9))]).unmatched == 2


def test_the_nearest_are_matched_first():
    near = (0.12, 0.2, 0.5, 0.6)
    found = compared([("a", (0.9, *BOX)), ("a", (0.6, *near))], [("a", (0.6, *near)), ("a", (0.9, *BOX))])
    assert (found.unmatched, found.score, found.side) == (0, 0.0, 0.0)


def test_a_score_near_the_threshold_may_be_on_either_side():
    there = [("a", (THRESHOLD + 0.03, *BOX))]
    assert compared(there, []).unmatched == 1
    assert compared([], there).unmatched == 1
    assert compared(there, [], tolerance=INTEGERS).unmatched == 0


def test_shares():
    there, here = [("a", (0.7,)), ("b", (0.3,))], [("b", (0.4,)), ("a", (0.6,))]
    assert compared(there, here, "classification").score == pytest.approx(0.1)
    assert compared(there, [("b", (0.3,))], "segmentation").score == pytest.approx(0.7)


def test_outputs_are_compared_in_proportion():
    expected = expected_of(answering([], np.linspace(0, 50, 1000)), FRAME)
    assert len(expected["outputs"]) == 128
    assert (expected["outputs"][0], expected["outputs"][-1]) == (0, 50)
    assert difference(answering([], np.linspace(0, 51, 1000)), FRAME, expected, FLOATS).outputs == pytest.approx(1 / 50)
    with pytest.raises(ValueError, match="expected 128 numbers of the output, got 7; copy the bundle again"):
        difference(answering([], range(7)), FRAME, expected, FLOATS)


def test_what_is_within():
    assert Difference(1e-3, 0.01, 0.005, 0, 1).within(FLOATS)
    for name, value in {"outputs": 2e-3, "score": 0.02, "side": 0.01, "unmatched": 1}.items():
        values = {"outputs": 0.0, "score": 0.0, "side": 0.0, "unmatched": 0, "count": 1} | {name: value}
        assert not Difference(**values).within(FLOATS), name
    assert not Difference(math.nan, 0.0, 0.0, 0, 1).within(INTEGERS)


def test_integers_may_differ_by_more():
    assert tolerance_of(SQUARES) == FLOATS
    assert tolerance_of(SQUARES + b"QuantizeLinear") == INTEGERS


def test_a_file_of_something_else(tmp_path: Path):
    (tmp_path / "expected.json").write_text('{"version": 2}')
    with pytest.raises(ValueError, match=r"expected the expected.json of a bundle in .*, got something else"):
        read_expected(tmp_path)
