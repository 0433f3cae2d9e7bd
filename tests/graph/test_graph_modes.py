# SPDX-License-Identifier: Apache-2.0
"""Whoever asks a network in evaluation form leaves each part of it in the mode that it had."""

from __future__ import annotations

import pytest
from torch import nn

from gossamer.data.unlabelled import answers_of
from gossamer.graph import trace
from gossamer.graph.any_size import check_other_size
from gossamer.graph.modes import evaluating
from gossamer.runtime.export import export_onnx
from gossamer.task import check_outputs


def frozen(model: nn.Module) -> nn.Module:
    """In training, one batch norm excepted."""
    model.train()
    next(part for part in model.modules() if isinstance(part, nn.BatchNorm2d)).eval()
    return model


def modes(model: nn.Module) -> list[bool]:
    return [part.training for part in model.modules()]


ASKED = {
    "outputs are checked": lambda task: check_outputs(task),
    "answers are asked": lambda task: answers_of(task.model, task.selection, task.preprocess),
    "another size is tried": lambda task: check_other_size(task.model, task.model, (task.example,)),
    "it is exported": lambda task: export_onnx(task.model, task.example),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_frozen_norm_stays_frozen(task, name):
    model = frozen(task.model)
    before = modes(model)
    try:
        ASKED[name](task)
    except ValueError:
        assert name == "another size is tried"  # its linear layer fixes the size; modes come back all the same
    assert modes(model) == before


def test_the_cut_module_has_the_modes_of_the_original(task):
    model = frozen(task.model)
    own = trace(model, task.example).cut({}, into="module")
    assert modes(own) == modes(model)


def test_modes_come_back_after_an_error():
    model = frozen(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    inside = []

    def fails():
        with evaluating(model):
            inside.extend(modes(model))
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fails()
    assert not any(inside)
    assert modes(model) == [True, True, False]
