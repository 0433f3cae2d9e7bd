# SPDX-License-Identifier: Apache-2.0
"""Detection from images and boxes to a proven file that finds the objects without torch: the same search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gossamer import container
from gossamer.certify import BETTING, Certificate, recheck
from gossamer.cli import main
from gossamer.described_task import task_from
from gossamer.detection import Head, Level
from gossamer.goal import Goal
from gossamer.kinds.detection import Detection
from gossamer.measure.quality import qualities
from gossamer.search.settings import Settings
from gossamer.train import train
from gossamer.tuning import Settings as Training

NET = '''
import torch
from torch import nn

from gossamer.detection import Head, Level
from gossamer.kinds.multibox_loss import MultiboxLoss

HEAD = Head((Level(4, 4, ((0.3, 0.3),)),), "offsets", "softmax", classes=1, threshold=0.1)


def block(inputs, filters, stride):
    convolution = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.ReLU())


class Net(nn.Module):
    """Three convolutions and a place for a box at each of 4 x 4 positions."""

    head, criterion = HEAD, MultiboxLoss(HEAD)

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(block(3, 16, 2), block(16, 24, 2), block(24, 24, 2), block(24, 24, 1))
        self.boxes, self.scores = nn.Conv2d(24, 4, 3, padding=1), nn.Conv2d(24, 2, 3, padding=1)

    def forward(self, x):
        x = self.body(x)
        return torch.cat([part(x).flatten(2).transpose(1, 2) for part in (self.boxes, self.scores)], 2)
'''
WORDS = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "size": 32, "only": ("square",)}
LINE = ["--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25", "--size", "32", "--only", "square"]
TRAINING = Training(epochs=10, batch_size=16, learning_rate=0.05, augment=False)
SETTINGS = Settings(epochs=2, batch_size=16, augment=False, numerics="plain float32", learning_rate=0.01)


def squares(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images (N, 32, 32, 3) and the corners of the one or two bright squares in each, (M, 5)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (n, 32, 32, 3), dtype=np.uint8)
    boxes = []
    for number, image in enumerate(images):
        for half in range(int(rng.integers(1, 3))):
            side = int(rng.integers(8, 13))
            left, top = 16 * half + int(rng.integers(0, 17 - side)), int(rng.integers(0, 33 - side))
            image[top : top + side, left : left + side] += 120
            boxes.append([number, left / 32, top / 32, (left + side) / 32, (top + side) / 32])
    return images, np.array(boxes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """net.py, data.npz and trained weights, as a user has them."""
    place = tmp_path_factory.mktemp("user")
    (place / "net.py").write_text(NET)
    images, boxes = squares(640, 0)
    test = np.arange(640) >= 340
    np.savez(place / "data.npz", images=images, boxes=boxes, test=test)
    torch.manual_seed(0)
    task = task_from(data=str(place / "data.npz"), model=f"{place / 'net.py'}:Net", **WORDS)
    assert train(task, TRAINING, out=place / "trained") > 0.8, "the small task must be learnable"
    return place


@pytest.fixture(scope="module")
def task(folder):
    weights = folder / "trained" / "weights.safetensors"
    return task_from(data=str(folder / "data.npz"), model=f"{folder / 'net.py'}:Net", weights=weights, **WORDS)


def test_boxes_make_a_detection_of_it(task):
    assert task.kind == "detection"
    assert task.classes == ("square",)
    inputs, truth = next(task.batches(task.train, 8, generator=torch.Generator().manual_seed(0), augment=True))
    assert inputs.shape == (8, 3, 32, 32)
    assert (truth.shape, truth.dtype) == ((8, 2, 6), torch.float32)
    assert 0 < task.loss(task.model(inputs), truth) < 10


BYTES = Goal(0.12)


@pytest.mark.parametrize(
    ("goal", "recipe"),
    [
        (BYTES, "auto"),
        (Goal(0.12, minimise="macs"), "auto"),
        (Goal(0.12, minimise="macs"), "information-richness:macs=0.7"),
        (Goal(0.12, minimise="macs"), "layer-entropy:macs=0.7"),
    ],
    ids=["bytes", "macs", "richness", "entropy"],
)
def test_smaller_at_a_precision_that_is_proven_by_bets(goal, recipe, compressed):
    result = compressed(goal, recipe)
    report = result.report
    assert result.certificate.method == BETTING
    assert result.certificate.measure == "AP"
    assert result.certificate.proven
    assert recheck(result.certificate) == []
    assert report.task == "detection"
    if goal.minimise == "macs":
        assert report.compressed.macs < 0.9 * report.original.macs
    else:
        assert report.original.bytes.fp32 > 4 * report.compressed.bytes.coded
    assert main(["verify", str(result.folder / "model.gossamer")]) == 0


def test_the_report_has_the_precision_of_the_whole_split(task, compressed):
    result = compressed(BYTES)
    figures = json.loads((result.folder / "report.json").read_text())["compressed"]["figures"]
    assert 0.5 < figures["AP at IoU 0.5, VOC"] <= 1
    assert figures["AP at IoU 0.5 to 0.95, COCO"] < figures["AP at IoU 0.5, VOC"]
    page = (result.folder / "report.html").read_text()
    assert "AP at IoU 0.5, VOC" in page
    assert page.count("data:image/png") == 9, "truth, before and after of three images"
    assert "#e69f00" in page, "the colour of the only class"


def test_the_certificate_is_about_what_the_file_answers(task, compressed):
    result = compressed(BYTES)
    before = qualities(task, task.test, (result.folder / "original.onnx").read_bytes())
    after = qualities(task, task.test, (result.folder / "model.onnx").read_bytes())
    assert result.certificate.observed_drop == pytest.approx(float((before - after).mean()), abs=2e-4)


def test_the_file_says_what_its_output_means(task, compressed):
    stored = container.read(compressed(BYTES).folder / "model.gossamer")
    assert Head.from_json(stored.payload.plan["head"]) == task.of_kind.head
    assert stored.payload.classes == ("square",)


def test_it_detects_in_pictures(folder, compressed, tmp_path, capsys):
    images, boxes = squares(1, seed=5)
    Image.fromarray(images[0]).resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "one.png")
    line = ["detect", str(compressed(BYTES).folder / "model.gossamer"), str(tmp_path / "one.png")]
    assert main([*line, "--out", str(tmp_path / "found"), "--threads", "1"]) == 0
    found = [json.loads(row) for row in (tmp_path / "found" / "detections.jsonl").read_text().splitlines()]
    assert len(found) == len(boxes)
    assert all(row["class"] == "square" for row in found)
    assert sorted(row["x1"] for row in found) == pytest.approx(sorted(64 * boxes[:, 1]), abs=6)


def test_a_network_imitates_boxes_only_where_the_other_sees_something(task):
    kind = task.of_kind
    assert isinstance(kind, Detection)
    seen = torch.zeros(1, 16, 6)
    seen[..., 4] = 9.0  # background
    seen[0, 3, 4:] = torch.tensor([-9.0, 9.0])
    elsewhere, there, unsure = seen.clone(), seen.clone(), seen.clone()
    elsewhere[0, 5, :4] = 1.0
    there[0, 3, :4] = 1.0
    unsure[0, 3, 4:] = 0.0
    assert kind.imitation(seen, seen, 4.0) == pytest.approx(0, abs=1e-6)
    assert kind.imitation(elsewhere, seen, 4.0) < 0.01
    assert kind.imitation(there, seen, 4.0) == pytest.approx(4 * 0.5, rel=0.01)
    assert kind.imitation(unsure, seen, 1.0) > 0.3


@pytest.mark.parametrize(("scoring", "numbers"), [("softmax", 3), ("sigmoid", 2), ("centred", 3), ("objectness", 3)])
def test_every_scoring_can_be_imitated(scoring, numbers):
    torch.manual_seed(0)
    kind = Detection(Head((Level(2, 2, ((0.5, 0.5),)),), "offsets", scoring, classes=2), lambda a, b: a.sum())
    wanted = torch.randn(2, 4, 4 + numbers)
    ours = (wanted + torch.randn_like(wanted)).requires_grad_()
    assert kind.imitation(wanted, wanted, 4.0) == pytest.approx(0, abs=1e-6)
    distance = kind.imitation(ours, wanted, 4.0)
    distance.backward()
    assert distance > 0.01
    assert ours.grad.isfinite().all()
    assert (ours.grad.flatten(0, 1).abs().amax(0) > 0).all(), "every number is compared"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"measure": "iou"}, "measure must be one of ap, f1, got 'iou'"),
        ({"overlap": 8}, "expected --overlap for folders of images with masks alone"),
        ({"model": "resnet20", "preset": "cifar10"}, "no detector is called 'resnet20'"),
    ],
)
def test_words_that_do_not_fit_are_one_sentence(folder, words, message):
    with pytest.raises(ValueError, match=message):
        task_from(**{"data": str(folder / "data.npz"), "model": f"{folder / 'net.py'}:Net", **WORDS, **words})


def test_detectors_need_boxes_and_labels_need_no_measure(tmp_path):
    images = np.zeros((40, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(40)
    np.savez(tmp_path / "labels.npz", images=images, labels=np.arange(40) % 4)
    words = {"data": str(tmp_path / "labels.npz"), "preset": "cifar10"}
    with pytest.raises(ValueError, match="expected images with boxes for the detector ssdlite224, got classification"):
        task_from(model="ssdlite224", **words)
    with pytest.raises(ValueError, match="expected no --measure where images have labels"):
        task_from(model="resnet20", measure="iou", **words)
    with pytest.raises(ValueError, match="expected --only for images with boxes alone"):
        task_from(model="resnet20", only=("cat",), **words)
    with pytest.raises(ValueError, match="expected --drop-empty for images with boxes alone"):
        task_from(model="resnet20", drop_empty=True, **words)


def test_pictures_without_objects_can_be_left_out(tmp_path, folder):
    images, boxes = squares(60, 3)
    without = np.arange(60) % 3 == 0
    boxes = boxes[~without[boxes[:, 0].astype(int)]]
    np.savez(tmp_path / "data.npz", images=images, boxes=boxes, test=np.arange(60) >= 40)
    words = {"data": str(tmp_path / "data.npz"), "model": f"{folder / 'net.py'}:Net", **WORDS}
    every, full = task_from(**words), task_from(**words, drop_empty=True)
    assert len(every.test) == 20
    for one, other in ((every.train, full.train), (every.selection, full.selection), (every.test, full.test)):
        assert len(other) == np.count_nonzero(one.boxes.counts)
        assert (other.boxes.counts > 0).all()
    assert f"{20 - len(full.test)} of 20 in test" in next(note for note in full.notes if "without any object" in note)


def test_certify_compares_boxes_as_the_run_did(folder, compressed, tmp_path, capsys):
    result = compressed(BYTES, "auto")
    original, model = result.folder / "original.onnx", result.folder / "model.gossamer"
    line = ["certify", str(original), str(model), "--out", str(tmp_path / "made"), "--ledger", str(tmp_path / "ledger")]
    status = main([*line, "--data", str(folder / "data.npz"), "--tolerance", "12", "--quiet"])
    made = Certificate.from_json(json.loads((tmp_path / "made" / "certificate.json").read_text()))
    assert recheck(made) == []
    assert status == (0 if made.proven else 1)
    assert (made.n, made.b, made.c) == (result.certificate.n, result.certificate.b, result.certificate.c)
    assert made.observed_drop == pytest.approx(result.certificate.observed_drop)
    assert "AP at IoU 0.5, VOC: " in capsys.readouterr().out
    images, boxes = squares(40, 5)
    np.savez(tmp_path / "loose.npz", images=images, boxes=boxes)
    main([*line, "--data", str(tmp_path / "loose.npz"), "--measure", "f1", "--quiet"])
    assert "F1" in capsys.readouterr().out
    made = Certificate.from_json(json.loads((tmp_path / "made" / "certificate.json").read_text()))
    assert (made.n, made.measure) == (40, "F1"), "all of those that are no part"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--unlabelled", "DIR"], "expected --data, images with boxes, for the detector "),
        (["--data", "DATA", "--overlap", "4"], "expected --overlap for images with masks alone, got it with others"),
        (["--data", "DATA", "--measure", "iou"], "measure must be one of ap, f1, got 'iou'"),
        (["--data", "DIR"], "expected images with boxes in "),
    ],
)
def test_what_certify_cannot_compare_is_one_sentence(words, message, folder, compressed, tmp_path, capsys):
    result = compressed(BYTES, "auto")
    given = {"DIR": str(tmp_path), "DATA": str(folder / "data.npz")}
    line = ["certify", str(result.folder / "original.onnx"), str(result.folder / "model.gossamer")]
    assert main([*line, *(given.get(word, word) for word in words), "--out", str(tmp_path / "made"), "--quiet"]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_a_detector_that_is_stored_as_it_is_keeps_its_head(folder, tmp_path):
    weights = str(folder / "trained" / "weights.safetensors")
    line = ["store", f"{folder / 'net.py'}:Net", "--weights", weights, "--preset", "cifar10", "--classes", "1"]
    assert main([*line, "--out", str(tmp_path / "net.gossamer")]) == 0
    assert container.read(tmp_path / "net.gossamer").payload.plan["head"]["coding"] == "offsets"


def test_few_images_are_said_to_prove_little(folder, capsys):
    line = ["estimate", "--model", f"{folder / 'net.py'}:Net", "--data", str(folder / "data.npz"), "--tolerance", "0.1"]
    assert main([*line, *LINE, "--weights", str(folder / "trained" / "weights.safetensors"), "--quiet"]) == 0
    assert "300 test images cannot prove 0.1 points even at no drop" in capsys.readouterr().out


def test_the_command_line_trains_one(folder, tmp_path, capsys):
    line = ["train", "--model", f"{folder / 'net.py'}:Net", "--data", str(folder / "data.npz"), *LINE]
    assert main([*line, "--epochs", "1", "--batch-size", "32", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert (tmp_path / "out" / "weights.safetensors").exists()
