# SPDX-License-Identifier: Apache-2.0
"""The losses of detectors: against sums written out image by image, and what must not change them."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from gossamer.detection import Head, Level
from gossamer.kinds.detection_loss import corners, encoded, generalized_overlaps, objects_of, overlaps
from gossamer.kinds.fastestdet_loss import FastestDetLoss
from gossamer.kinds.multibox_loss import BACKGROUND, IGNORED, MultiboxLoss, match

CLASSES = 3
SSD = Head(
    (Level(4, 6, ((0.3, 0.3), (0.2, 0.5))), Level(2, 3, ((0.6, 0.6), (0.4, 0.9)))), "offsets", "softmax", CLASSES
)
CELLS = Head((Level(4, 6, ((1 / 6, 1 / 4),)),), "cells", "objectness", CLASSES)
MORE = Head(CELLS.levels, "cells", "objectness", CLASSES, others=2)
LOSSES = [MultiboxLoss(SSD), FastestDetLoss(CELLS)]
NOTHING = [0.0, 0.0, 0.0, 0.0, -1.0, 0.0]

each_loss = pytest.mark.parametrize("loss", LOSSES, ids=["multibox", "fastestdet"])


def drawn_boxes(count, generator):
    """Corners of boxes inside the picture, sides of 0.05 to 0.6."""
    sides = 0.05 + 0.55 * torch.rand(count, 2, generator=generator)
    start = torch.rand(count, 2, generator=generator) * (1 - sides)
    return torch.cat([start, start + sides], 1)


def drawn(head, images=5, most=4, seed=0):
    """Outputs and truth; image 1 has no object, and about a quarter of the objects are difficult."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(images, head.count, head.width, generator=generator)
    targets = torch.tensor([[NOTHING] * most] * images)
    for image in range(images):
        count = 0 if image == 1 else int(torch.randint(1, most + 1, (1,), generator=generator))
        targets[image, :count, :4] = drawn_boxes(count, generator)
        targets[image, :count, 4] = torch.randint(head.classes, (count,), generator=generator).float()
        targets[image, :count, 5] = (torch.rand(count, generator=generator) < 0.25).float()
    return outputs, targets


def matched_by_hand(boxes, difficult, anchors, threshold):
    """One image: what each anchor is matched with, by loops over pairs."""
    shared = [[float(overlaps(box, anchor)) for anchor in anchors] for box in boxes]
    found = [BACKGROUND] * len(anchors)
    for a in range(len(anchors)):
        best = max(range(len(boxes)), key=lambda number: shared[number][a], default=None)
        if best is not None and shared[best][a] > threshold:
            found[a] = best
    for number in range(len(boxes)):
        a = max(range(len(anchors)), key=lambda a: shared[number][a])
        if difficult[number] and found[a] == BACKGROUND:
            found[a] = number
    pairs = [(shared[n][a], n, a) for n in range(len(boxes)) for a in range(len(anchors)) if not difficult[n]]
    objects, taken = set(), set()
    for overlap, number, a in sorted(pairs, key=lambda pair: -pair[0]):
        if overlap > 0 and number not in objects and a not in taken:
            found[a] = number
            objects.add(number)
            taken.add(a)
    return [IGNORED if number >= 0 and difficult[number] else number for number in found]


def multibox_by_hand(outputs, targets):
    """One image."""
    there = targets[targets[:, 4] >= 0]
    anchors = torch.from_numpy(SSD.anchors())
    matched = matched_by_hand(there[:, :4], there[:, 5] > 0, corners(anchors), 0.5)
    count = max(1, sum(number >= 0 for number in matched))
    total, negatives = 0.0, []
    for a, number in enumerate(matched):
        logits = outputs[a, 4:]
        if number == BACKGROUND:
            negatives.append(float(logits.logsumexp(0) - logits[0]))
        elif number >= 0:
            total += float(logits.logsumexp(0) - logits[1 + int(there[number, 4])])
            wanted = torch.from_numpy(SSD.encode(there[number, :4].numpy(), anchors[a].numpy()))
            for difference in (outputs[a, :4] - wanted).abs().tolist():
                total += difference**2 / 2 if difference < 1 else difference - 0.5
    return (total + sum(sorted(negatives)[-3 * count :])) / count


def smooth(difference):
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def fastestdet_by_hand(outputs, targets):
    """One image; boxes are decoded by the head."""
    rows, columns = 4, 6
    boxes = torch.from_numpy(_unclipped(outputs))
    there = targets[targets[:, 4] >= 0]
    kept, ignored = [], set()
    for box, label, difficult in zip(there[:, :4], there[:, 4], there[:, 5], strict=True):
        column, row = int((box[0] + box[2]) / 2 * columns), int((box[1] + box[3]) / 2 * rows)
        around = ((row, column), (row, column + 1), (row + 1, column), (row + 1, column + 1))
        cells = [r * columns + c for r, c in around if r < rows and c < columns]
        if difficult:
            ignored |= set(cells)
            continue
        fits = [float(overlaps(boxes[cell], box)) for cell in cells]
        mean = sum(fits) / len(fits)
        kept += [(cell, box, int(label), fit) for cell, fit in zip(cells, fits, strict=True) if fit >= mean]
    aims: dict[int, float] = {}
    box_loss = class_loss = 0.0
    for cell, box, label, overlap in kept:
        aims[cell] = max(overlap, aims.get(cell, 0.0))
        box_loss += (1 - float(generalized_overlaps(boxes[cell], box))) / len(kept)
        class_loss += float(outputs[cell, 5:].logsumexp(0) - outputs[cell, 5 + label]) / len(kept)
    answers = outputs[:, 4].sigmoid().tolist()
    objects = sum(smooth(answers[cell] - aim) for cell, aim in aims.items()) / max(1, len(aims))
    others = sum(smooth(answers[cell]) for cell in range(rows * columns) if cell not in aims and cell not in ignored)
    return 8 * box_loss + 16 * (objects / 4 + 0.75 * others / (rows * columns)) + class_loss


def _unclipped(outputs):
    """Boxes of the head, before they are clipped to the picture."""
    return CELLS._corners(outputs[None, :, :4].numpy())[0]


def test_overlaps_are_torchvisions():
    ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(0)
    a, b = drawn_boxes(40, generator), drawn_boxes(30, generator)
    assert torch.allclose(overlaps(a[:, None], b), ops.box_iou(a, b), atol=1e-6)
    assert torch.allclose(generalized_overlaps(a[:, None], b), ops.generalized_box_iou(a, b), atol=1e-5)
    empty = torch.zeros(4)
    assert overlaps(empty, empty) == 0
    assert torch.isfinite(generalized_overlaps(empty, empty))


def test_what_is_encoded_is_what_the_head_decodes():
    boxes = drawn_boxes(SSD.count, torch.Generator().manual_seed(1))
    offsets = encoded(boxes, torch.from_numpy(SSD.anchors()), SSD.variances)
    outputs = torch.cat([offsets, torch.zeros(SSD.count, 1 + CLASSES)], 1)[None].numpy()
    np.testing.assert_allclose(SSD.decode(outputs)[0][0], boxes.numpy(), atol=1e-5)
    np.testing.assert_allclose(offsets.numpy(), SSD.encode(boxes.numpy(), SSD.anchors()), atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_matches_are_those_of_loops_over_pairs(seed, threshold):
    outputs, targets = drawn(SSD, most=6, seed=seed)
    anchors = corners(torch.from_numpy(SSD.anchors()))
    found = match(objects_of(SSD, outputs, targets), anchors, threshold)
    for image, truth in zip(found, targets, strict=True):
        there = truth[truth[:, 4] >= 0]
        assert image.tolist() == matched_by_hand(there[:, :4], there[:, 5] > 0, anchors, threshold)


def test_each_object_has_an_anchor_of_its_own_though_two_want_the_same():
    """Two objects at the same place: the second gets the next best anchor."""
    box = [0.35, 0.35, 0.65, 0.65]
    targets = torch.tensor([[[*box, 0, 0], [*box, 1, 0]]])
    found = match(
        objects_of(SSD, torch.zeros(1, SSD.count, SSD.width), targets), corners(torch.from_numpy(SSD.anchors())), 0.9
    )
    assert sorted(found[found >= 0].tolist()) == [0, 1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("head", "loss", "by_hand"),
    [
        (SSD, LOSSES[0], multibox_by_hand),
        (CELLS, LOSSES[1], fastestdet_by_hand),
        (MORE, FastestDetLoss(MORE), fastestdet_by_hand),
    ],
    ids=["multibox", "fastestdet", "fastestdet with other classes"],
)
def test_the_loss_is_the_sum_that_its_header_says(head, loss, by_hand, seed):
    outputs, targets = drawn(head, seed=seed)
    expected = [by_hand(*pair) for pair in zip(outputs, targets, strict=True)]
    assert loss(outputs, targets).item() == pytest.approx(sum(expected) / len(expected), rel=1e-4)


@each_loss
def test_a_batch_may_be_shared(loss):
    outputs, targets = drawn(loss.head, images=6)
    parts = [loss(outputs[part], targets[part]) for part in (slice(0, 2), slice(2, 4), slice(4, 6))]
    assert loss(outputs, targets).item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-5)


@each_loss
def test_rows_without_objects_and_their_order_change_nothing(loss):
    outputs, targets = drawn(loss.head)
    padded = torch.cat([torch.tensor([[NOTHING] * 3] * len(targets)), targets.flip(1)], 1)
    assert loss(outputs, padded).item() == pytest.approx(loss(outputs, targets).item(), rel=1e-5)


@each_loss
@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("truth", ["objects", "none", "no rows", "difficult", "a point"])
def test_loss_and_gradients_are_finite(loss, scale, kind, truth):
    outputs, targets = drawn(loss.head)
    if truth == "none":
        targets[..., 4] = -1
    elif truth == "no rows":
        targets = targets[:, :0]
    elif truth == "difficult":
        targets[..., 5] = 1
    elif truth == "a point":
        targets[..., 2:4] = targets[..., :2]
    outputs = (scale * outputs).to(kind).requires_grad_()
    result = loss(outputs, targets)
    result.backward()
    assert result.dtype == torch.float32
    assert torch.isfinite(result)
    assert torch.isfinite(outputs.grad).all()
    assert outputs.grad.abs().sum() > 0, "an image without objects teaches too"


def test_without_objects_the_three_worst_anchors_of_ssd_learn_the_background():
    outputs = torch.randn(1, SSD.count, SSD.width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    LOSSES[0](outputs, torch.tensor([[NOTHING]])).backward()
    taught = outputs.grad[0].abs().sum(1) > 0
    entropy = outputs[0, :, 4:].logsumexp(1) - outputs[0, :, 4]
    assert set(taught.nonzero()[:, 0].tolist()) == set(entropy.topk(3).indices.tolist())
    assert (outputs.grad[0, taught, 4] < 0).all(), "against the gradient is up, for the background"


@each_loss
def test_a_difficult_object_is_neither_object_nor_background(loss):
    """Alone in an image it leaves the answers around it untouched, however wrong they are."""
    anchors = loss.head.anchors()
    place = 9
    box = corners(torch.from_numpy(anchors[place])).clamp(0, 1)
    outputs = torch.zeros(1, loss.head.count, loss.head.width)
    outputs[0, place, 4 if loss.head is CELLS else 5] = 9.0  # as sure of an object as can be
    outputs.requires_grad_()
    loss(outputs, torch.tensor([[[*box.tolist(), 0.0, 1.0]]])).backward()
    assert not outputs.grad[0, place].any()
    outputs.grad = None
    loss(outputs, torch.tensor([[NOTHING]])).backward()
    assert outputs.grad[0, place].any(), "without the object it is a mistake"


@each_loss
def test_descent_finds_boxes_and_classes(loss):
    """From any answers: afterwards the head finds the objects, and nothing else with such a score."""
    targets = torch.tensor(
        [[[0.1, 0.2, 0.4, 0.5, 2, 0], [0.55, 0.1, 0.95, 0.9, 0, 0]], [[0.3, 0.3, 0.7, 0.8, 1, 0], NOTHING]]
    )
    outputs = torch.randn(2, loss.head.count, loss.head.width, generator=torch.Generator().manual_seed(0))
    outputs.requires_grad_()
    optimizer = torch.optim.Adam([outputs], 0.2)
    for _ in range(150):
        optimizer.zero_grad()
        loss(outputs, targets).backward()
        optimizer.step()
    for found, truth in zip(loss.head.detect(outputs.detach().numpy(), threshold=0.5), targets, strict=True):
        there = truth[truth[:, 4] >= 0]
        assert len(found) >= len(there)
        shared = overlaps(torch.from_numpy(found.boxes)[:, None], there[:, :4])  # (D, M)
        assert (shared.max(0).values > 0.8).all(), "each object is found"
        assert (shared.max(1).values > 0.5).all(), "each box is of an object"
        assert found.classes.tolist() == there[shared.argmax(1), 4].long().tolist()


@each_loss
def test_a_loss_holds_no_weights_and_can_be_copied(loss):
    outputs, targets = drawn(loss.head)
    again = copy.deepcopy(loss)
    assert again == loss
    assert again(outputs, targets) == loss(outputs, targets)


def test_classes_of_softmax_begin_behind_the_background():
    box = corners(torch.from_numpy(SSD.anchors()[10])).tolist()
    losses = []
    for k in range(CLASSES):
        outputs = torch.zeros(1, SSD.count, SSD.width)
        outputs[..., 4 + 1 + k] = 20.0
        losses.append(MultiboxLoss(SSD, negatives=1e-3)(outputs, torch.tensor([[[*box, k, 0]]])).item())
        wrong = MultiboxLoss(SSD, negatives=1e-3)(outputs, torch.tensor([[[*box, (k + 1) % CLASSES, 0]]])).item()
        assert wrong - losses[-1] > 19
    assert math.isclose(max(losses), min(losses), rel_tol=1e-5)


@each_loss
def test_wrong_shapes_and_classes_are_refused(loss):
    outputs, targets = drawn(loss.head)
    with pytest.raises(ValueError, match=rf"outputs must be \(N, {loss.head.count}, {loss.head.width}\) for this head"):
        loss(outputs[:, 1:], targets)
    with pytest.raises(ValueError, match=r"the truth must be \(5, objects, 6\), corners, class and difficult, got"):
        loss(outputs, targets[..., :5])
    targets[0, 0, 4] = 7
    with pytest.raises(ValueError, match=r"classes of objects must be in 0..2, or -1 for none, got 7"):
        loss(outputs, targets)


def test_heads_of_another_form_are_refused():
    with pytest.raises(ValueError, match="the loss of SSD needs a head of offsets with softmax, got cells with obj"):
        MultiboxLoss(CELLS)
    with pytest.raises(ValueError, match="needs a head of one level of cells with objectness, got 2 of offsets"):
        FastestDetLoss(SSD)
    with pytest.raises(ValueError, match=r"overlap must be in \(0, 1\) and negatives above 0, got 0.5 and 0"):
        MultiboxLoss(SSD, negatives=0)
