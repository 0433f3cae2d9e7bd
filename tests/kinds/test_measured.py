# SPDX-License-Identifier: Apache-2.0
"""What quality is called, and that figures are told apart from it."""

from __future__ import annotations

import pytest

from gossamer.certify.certificate import check_measure
from gossamer.kinds import Kind
from gossamer.kinds.classification import Classification
from gossamer.kinds.segmentation import MEASURES, Segmentation

NAMES = [
    (Classification(), "accuracy"),
    (Classification(agreement=True), "agreement with the original"),
    (Segmentation(), "IoU"),
    (Segmentation("dice"), "Dice"),
    (Segmentation("accuracy"), "pixel accuracy"),
]


@pytest.mark.parametrize(("kind", "name"), NAMES, ids=[name for _, name in NAMES])
def test_quality_has_a_name_that_a_certificate_takes(kind: Kind, name: str) -> None:
    assert kind.measured == name
    check_measure(kind.measured)
    assert kind.figures([]) == {}


def test_every_measure_has_one_of_its_own() -> None:
    assert len({Segmentation(measure).measured for measure in MEASURES}) == len(MEASURES)
