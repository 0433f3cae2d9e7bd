# SPDX-License-Identifier: Apache-2.0
"""A teacher that remembers answers with the same bits, asks once, and never takes one question for another."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.tuning import Distillation, Numerics, Settings, remembered, tune
from gossamer.tuning.remembered import Answers, Remembering

SETTINGS = Settings(epochs=2, batch_size=64, learning_rate=0.1, augment=True)
IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Counting(nn.Module):
    """Asked how often."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.asked = network, 0

    def forward(self, inputs):
        self.asked += 1
        return self.network(inputs)


@pytest.fixture
def counting():
    return Counting(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)))


def test_a_question_that_comes_again_is_answered_from_memory_to_the_bit(counting):
    teacher = Remembering(counting, Answers(), "plain float32")
    with torch.no_grad():
        first, again = teacher(IMAGES), teacher(IMAGES.clone())
    assert counting.asked == 1
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    "other",
    [
        IMAGES + torch.eye(8) * 1e-7,
        IMAGES.flip(0),
        IMAGES[:3],
        IMAGES.reshape(4, 3, 4, 16),
        IMAGES.transpose(2, 3),
    ],
    ids=["a digit", "order", "fewer", "shape", "strides"],
)
def test_another_question_is_asked(counting, other):
    teacher = Remembering(counting, Answers(), "plain float32")
    with torch.no_grad():
        teacher(IMAGES)
        assert torch.equal(teacher(other), counting.network(other))
    assert counting.asked == 2


def test_another_arithmetic_asks_again(counting):
    answers = Answers()
    with torch.no_grad():
        for how in ("plain float32", "plain bfloat16"):
            Remembering(counting, answers, how)(IMAGES)
    assert counting.asked == 2


def test_a_full_memory_asks_on(counting):
    room_for_one = 4 * 10 * 4
    teacher = Remembering(counting, Answers(most_bytes=room_for_one), "plain float32")
    with torch.no_grad():
        for images in (IMAGES, 2 * IMAGES, IMAGES, 2 * IMAGES):
            teacher(images)
    assert counting.asked == 3


@pytest.mark.parametrize("numerics", [Numerics(), Numerics(channels_last=True)], ids=str)
def test_a_second_training_comes_to_the_same_bits_without_asking(task, numerics):
    network = trace(task.model, task.example)
    teacher = Counting(copy.deepcopy(network.module))
    answers, ends = Answers(), []
    for how in (None, answers, answers):
        taught_by = teacher if how is None else Remembering(teacher, how, str(numerics))
        module = network.copy().module
        tune(module, task, SETTINGS, (Distillation(),), teacher=taught_by, numerics=numerics)
        ends.append((module.state_dict(), teacher.asked))
    steps = ends[0][1]
    assert [asked for _, asked in ends] == [steps, 2 * steps, 2 * steps]
    for name, value in ends[0][0].items():
        assert torch.equal(value, ends[1][0][name])
        assert torch.equal(value, ends[2][0][name])


def test_answers_outlive_the_process(counting, tmp_path):
    first = Answers(tmp_path / "answers")
    given = Remembering(counting, first, "plain float32")(IMAGES).detach()
    first.keep()
    Remembering(counting, first, "plain float32")(IMAGES + 1)
    first.keep()
    first.keep()  # nothing new: no file
    assert len(list((tmp_path / "answers").iterdir())) == 2
    asked = counting.asked
    again = Answers(tmp_path / "answers")
    assert torch.equal(Remembering(counting, again, "plain float32")(IMAGES), given)
    Remembering(counting, again, "plain float32")(IMAGES + 1)
    assert counting.asked == asked
    again.forget()
    assert not (tmp_path / "answers").exists()


def test_what_was_not_kept_is_asked_again_and_the_room_is_shared(counting, tmp_path):
    answers = Answers(tmp_path / "answers", most_bytes=counting(IMAGES).nbytes)
    Remembering(counting, answers, "plain float32")(IMAGES)
    answers.keep()
    full = Answers(tmp_path / "answers", most_bytes=counting(IMAGES).nbytes)
    Remembering(counting, full, "plain float32")(IMAGES + 1)
    full.keep()
    assert len(list((tmp_path / "answers").iterdir())) == 1


def test_a_full_memory_looks_at_no_more_than_the_first_image(counting, monkeypatch):
    teacher = Remembering(counting, Answers(most_bytes=4 * 10 * 4), "plain float32")
    seen, digest = [], remembered._digest
    monkeypatch.setattr(remembered, "_digest", lambda how, inputs: seen.append(len(inputs)) or digest(how, inputs))
    with torch.no_grad():
        for images in (IMAGES, 2 * IMAGES, 3 * IMAGES, IMAGES):
            teacher(images)
    assert counting.asked == 3
    assert seen == [1, 4, 1, 4, 1, 1, 4], "the third is new and has no room; the first is there still"
