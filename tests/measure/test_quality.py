# SPDX-License-Identifier: Apache-2.0
"""Quality and figures come from one asking, and large images from smaller batches."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.data.images import ArrayImages, Split
from gossamer.kinds.segmentation import Segmentation
from gossamer.measure import quality
from gossamer.measure.answers import answers
from gossamer.measure.quality import NO_ANSWER, answered, batch_size, qualities


class Session:
    """Gives outputs in order, whatever it reads, and remembers how many images it was asked about."""

    def __init__(self, outputs: np.ndarray) -> None:
        self.outputs, self.asked = outputs, []

    def run(self, images):
        start = sum(self.asked)
        self.asked.append(len(images))
        return [self.outputs[start : start + len(images)]]


@pytest.fixture
def answers_with(monkeypatch):
    def use(outputs):
        session = Session(outputs)
        for module in ("quality", "answers"):
            monkeypatch.setattr(f"gossamer.measure.{module}.open_session", lambda *_, **__: session)
        return session

    return use


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_figures_are_those_of_all_pixels_together(classes, answers_with, make_task, monkeypatch):
    monkeypatch.setattr(quality, "BATCH", 4)
    rng = np.random.default_rng(classes)
    most = max(2, classes)
    masks = rng.integers(0, most, (10, 8, 8, 1)).astype(np.uint8)
    split = Split("test", ArrayImages(rng.integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)), masks=ArrayImages(masks))
    outputs = rng.normal(size=(10, classes, 8, 8)).astype(np.float32)
    session = answers_with(outputs)
    kind = Segmentation("dice")
    seen = []
    found = answered(kind, make_task().preprocess, split, b"", progress=lambda done, total: seen.append((done, total)))
    assert session.asked == [4, 4, 2]
    assert seen == [(4, 10), (8, 10), (10, 10)]
    np.testing.assert_array_equal(found.quality, kind.quality(outputs, masks[..., 0]))
    # by hand
    given = (outputs[:, 0] > 0).astype(int) if classes == 1 else outputs.argmax(1)
    truth = masks[..., 0]
    inside = [((given == k) & (truth == k)).sum() for k in range(most)]
    either = [((given == k) | (truth == k)).sum() for k in range(most)]
    both = [(given == k).sum() + (truth == k).sum() for k in range(most)]
    chosen = slice(1, 2) if most == 2 else slice(None)
    assert found.figures == pytest.approx(
        {
            "IoU of all pixels": np.mean(np.divide(inside, either)[chosen]),
            "Dice of all pixels": np.mean(2 * np.divide(inside, both)[chosen]),
            "accuracy of all pixels": (given == truth).mean(),
        }
    )


def test_classes_of_images_have_no_figures(answers_with, make_task):
    task = make_task()
    outputs = np.random.default_rng(0).normal(size=(len(task.test), 4)).astype(np.float32)
    answers_with(outputs)
    found = answered(task.of_kind, task.preprocess, task.test, b"")
    assert found.figures == {}
    answers_with(outputs)
    np.testing.assert_array_equal(qualities(task, task.test, b""), found.quality)


def test_large_images_come_few_at_a_time():
    def of(height, width):
        return Split("x", ArrayImages(np.zeros((1, height, width, 3), np.uint8)))

    assert [batch_size(of(*size)) for size in ((32, 32), (128, 128), (256, 256), (512, 1024), (2048, 2048))] == [
        100,
        100,
        32,
        4,
        1,
    ]


def test_answers_are_classes_of_images_or_of_pixels(answers_with, make_task):
    task = make_task()
    two = task.test.subset(np.arange(2), "two")
    answers_with(np.array([[0.0, 2.0], [np.nan, 1.0]], np.float32))
    assert answers(b"", two, task.preprocess).tolist() == [1, NO_ANSWER]
    answers_with(np.array([[[[1.0, -1.0]]], [[[np.nan, 3.0]]]], np.float32))
    assert answers(b"", two, task.preprocess).tolist() == [[[1, 0]], [[255, 1]]]
    answers_with(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(ValueError, match=r"expected a network that gives \(N, classes\), or .*, got .* \(2, 3, 4\)"):
        answers(b"", two, task.preprocess)
