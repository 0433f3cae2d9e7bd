# SPDX-License-Identifier: Apache-2.0
"""Segmentation from images and masks to a proven file: the same search, with a number between 0 and 1 an image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gossamer import container
from gossamer.certify import BETTING, Certificate, recheck
from gossamer.cli import main
from gossamer.container.blocks import write_json
from gossamer.data.images import ArrayImages, Split
from gossamer.data.splits import Splits
from gossamer.described_task import task_from
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.kinds.segmentation import Segmentation
from gossamer.measure.quality import answered, qualities
from gossamer.report.record import Report
from gossamer.runtime.export import export_onnx
from gossamer.search.claims import claims_bound
from gossamer.search.control import dense_control
from gossamer.search.settings import Settings
from gossamer.task import Task
from gossamer.train import train
from gossamer.tuning import Settings as Training

NET = '''
import torch
from torch import nn


class Net(nn.Module):
    """An encoder, a decoder, and a skip between them; one logit a pixel."""

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(12, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 12, 2, 2)
        self.join = nn.Sequential(nn.Conv2d(24, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.head = nn.Conv2d(12, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.down(x)
        coarse = torch.relu(self.up(self.deep(nn.functional.max_pool2d(fine, 2))))
        return self.head(self.join(torch.cat([fine, coarse], 1)))
'''
WORDS = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
TRAINING = Training(epochs=12, batch_size=16, learning_rate=0.1, augment=False)
SETTINGS = Settings(epochs=2, batch_size=16, augment=False, numerics="plain float32", learning_rate=0.02)


def rectangles(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images (N, 16, 16, 3) and masks (N, 16, 16) of the bright rectangle in each."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 110, (n, 16, 16, 3), dtype=np.uint8)
    masks = np.zeros((n, 16, 16), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        top, left = rng.integers(0, 9, 2)
        high, wide = rng.integers(4, 8, 2)
        image[top : top + high, left : left + wide] += 90
        mask[top : top + high, left : left + wide] = 1
    return images, masks


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """net.py, data.npz and trained weights, as a user has them."""
    place = tmp_path_factory.mktemp("user")
    (place / "net.py").write_text(NET)
    arrays = {}
    for seed, (name, n) in enumerate({"train": 240, "val": 200, "test": 400, "second": 60}.items()):
        arrays[f"{name}_images"], arrays[f"{name}_masks"] = rectangles(n, seed)
        arrays[f"{name}_areas"] = np.arange(n) // 10
    np.savez(place / "data.npz", **arrays)
    torch.manual_seed(0)
    task = task_from(data=str(place / "data.npz"), model=f"{place / 'net.py'}:Net", **WORDS)
    assert train(task, TRAINING, out=place / "trained") > 0.8, "the small task must be learnable"
    return place


@pytest.fixture(scope="module")
def task(folder):
    return task_from(
        data=str(folder / "data.npz"),
        model=f"{folder / 'net.py'}:Net",
        weights=folder / "trained" / "weights.safetensors",
        **WORDS,
    )


def test_masks_make_a_segmentation_of_it(task):
    assert task.kind == "segmentation"
    assert task.classes == ("background", "foreground")
    assert any("come from 40 areas" in note for note in task.notes)
    inputs, masks = next(task.batches(task.train, 8, generator=torch.Generator().manual_seed(0), augment=True))
    assert inputs.shape == (8, 3, 16, 16)
    assert (masks.shape, masks.dtype) == ((8, 16, 16), torch.uint8)
    assert 0 < task.loss(task.model(inputs), masks) < 3
    pixels = torch.arange(16).repeat(200, 3, 16, 1).to(torch.uint8)
    _, columns = task.of_kind.augmented(pixels, pixels[:, 0], torch.Generator().manual_seed(0), 0)
    whole = [sorted(set(column.flatten().tolist())) == list(range(16)) for column in columns]
    assert 0.05 < np.mean(whole) < 0.7, "crops reach beyond the image, by up to an eighth of it"
    assert all(len(set(column.flatten().tolist())) >= 14 for column in columns)


BYTES = Goal(0.06)


@pytest.mark.parametrize(
    ("goal", "recipe"),
    [
        (BYTES, "auto"),
        (Goal(0.06, minimise="macs"), "auto"),
        (Goal(0.1), "active-stepwise:kept=0.4"),
    ],
    ids=["bytes", "macs", "weights"],
)
def test_smaller_at_an_iou_that_is_proven_by_bets(goal, recipe, compressed):
    result = compressed(goal, recipe)
    report = result.report
    assert result.certificate.method == BETTING
    assert result.certificate.proven
    assert recheck(result.certificate) == []
    assert report.task == "segmentation"
    if goal.minimise == "macs":
        assert report.compressed.macs < 0.95 * report.original.macs
    else:
        assert report.original.bytes.fp32 > 4 * report.compressed.bytes.coded
    page = (result.folder / "report.html").read_text()
    assert "did worse" in page
    assert "IoU" in page
    stored = container.read(result.folder / "model.gossamer")
    kept = Certificate.from_json(stored.claims["certificate"])
    assert kept == result.certificate
    assert main(["verify", str(result.folder / "model.gossamer")]) == 0


def test_the_certificate_is_about_what_the_file_answers(task, compressed):
    result = compressed(BYTES)
    before = qualities(task, task.test, (result.folder / "original.onnx").read_bytes())
    after = qualities(task, task.test, (result.folder / "model.onnx").read_bytes())
    assert result.certificate.observed_drop == pytest.approx(float((before - after).mean()), abs=2e-4)
    assert result.certificate.b == int((before > after + 1e-9).sum())
    value = json.loads((result.folder / "report.json").read_text())
    assert len(Certificate.from_json(value["certificate"]).differences) == 400
    assert value["certificate"]["measure"] == "IoU"
    assert stored_claims(result)["measure"] == "IoU"


def test_the_dense_control_is_asked_the_second_test_too(task, monkeypatch):
    class Asked:
        """What `dense_control` needs of a run whose tuning changes nothing."""

        goal, network, folder = BYTES, trace(task.model, task.example), Path("nowhere")

        def stages(self):
            manner = {"taught": False, "weight_decay": 0.0, "grafted": None}
            return {"manner of tuning": {"value": manner}, "1 losses": {"value": [0.1]}}

        def stage(self, name, compute):
            return compute()

        tune = forget_training = note = lambda *_, **__: None

    monkeypatch.setattr("gossamer.search.control.measure_pace", lambda run: SimpleNamespace(numerics=None))
    run = Asked()
    run.task = task
    control = dense_control(run)
    model = export_onnx(run.network.module, task.example)
    assert control.quality == pytest.approx(float(qualities(task, task.test, model).mean()))
    assert control.second["quality"] == pytest.approx(float(qualities(task, task.second_test, model).mean()))
    assert "IoU of all pixels" in control.second["figures"]


def stored_claims(result):
    return container.read(result.folder / "model.gossamer").claims["certificate"]


def test_the_report_has_figures_areas_and_pictures(task, compressed):
    result = compressed(BYTES)
    report = result.report
    model = (result.folder / "model.onnx").read_bytes()
    found = answered(task.of_kind, task.preprocess, task.test, model)
    assert report.compressed.figures == pytest.approx(found.figures)
    assert (
        set(report.original.figures)
        == set(found.figures)
        == {
            "IoU of all pixels",
            "Dice of all pixels",
            "accuracy of all pixels",
        }
    )
    assert report.by_area.areas == 40
    assert report.by_area.low < result.certificate.observed_drop < report.by_area.high
    assert report.by_area.low < report.by_area.upper
    assert container.read(result.folder / "model.gossamer").claims["by_area"] == report.by_area.to_json()
    assert len(report.groups) == 40
    assert report.agreement is None
    worst_area = int(report.groups[0].name)
    there = task.test.areas == worst_area
    assert report.groups[0].n == there.sum()
    worst, _, best = report.shown
    before = qualities(task, task.test, (result.folder / "original.onnx").read_bytes())
    changes = qualities(task, task.test, model) - before
    assert worst.compressed - worst.original == pytest.approx(changes.min())
    assert report.groups[0].drop == pytest.approx(-changes[there].mean())
    assert report.groups[0].drop == pytest.approx(
        max(-changes[task.test.areas == each].mean() for each in np.unique(task.test.areas))
    )
    assert best.compressed - best.original == pytest.approx(changes.max())
    page = (result.folder / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 15
    elsewhere = answered(task.of_kind, task.preprocess, task.second_test, model)
    assert report.compressed.second_test.quality == pytest.approx(float(elsewhere.quality.mean()))
    assert report.compressed.second_test.figures == pytest.approx(elsewhere.figures)
    assert report.original.second_test.quality != report.original.quality
    assert report.splits["second test"].n == 60
    assert "quality (IoU, second test)" in page
    assert "IoU of all pixels, second test" in page
    assert "10,000 resamples of 40 areas" in page
    assert Report.from_json(json.loads((result.folder / "report.json").read_text())) == report


def test_the_certificate_takes_no_more_room_than_was_kept_free(task, compressed):
    result = compressed(BYTES)
    said = container.read(result.folder / "model.gossamer").claims
    words = (said["network"], said["data"], said["recipe"])
    most = claims_bound(400, by_bets=True, measure="IoU", words=words, areas=True, **said["original"])
    alone = {**said, "certificate": {**said["certificate"], "sequence": {"order": "0" * 64}}}
    others = len(write_json(said, "claims")) - len(write_json(alone, "claims"))  # in a run within limits there are none
    assert result.report.parts["certificate and claims"] - others <= most < 1150


def test_both_networks_are_tested_again(folder, compressed, tmp_path, capsys):
    result = compressed(BYTES)
    line = f"--data {folder / 'data.npz'} --original {result.folder / 'original.onnx'}".split()
    assert main(["verify", str(result.folder / "model.gossamer"), *line]) == 0
    assert "run again on 400 test images in onnxruntime, give its counts" in capsys.readouterr().out
    path = tmp_path / "other.gossamer"
    path.write_bytes((result.folder / "model.gossamer").read_bytes())
    claims = dict(container.read(path).claims)
    found = Certificate.from_json(claims["certificate"])
    steps = sorted([found.differences[0] - 5, *found.differences[1:]])
    container.with_claims(path, claims | {"certificate": replace(found, differences=tuple(steps)).to_json()})
    assert main(["verify", str(path), *line]) == 1
    said = capsys.readouterr().out
    assert "does not hold: the differences are others: 1 of 400, sorted by size, are not those of the cert" in said


def test_two_outputs_a_pixel_are_read_as_well(folder, tmp_path):
    state = _state(folder)
    state["head.weight"] = torch.cat([-state["head.weight"], state["head.weight"]]) / 2
    state["head.bias"] = torch.cat([-state["head.bias"], state["head.bias"]]) / 2
    torch.save(state, tmp_path / "two.pt")
    one, two = (
        task_from(data=str(folder / "data.npz"), model=f"{folder / 'net.py'}:Net", weights=path, **WORDS)
        for path in (folder / "trained" / "weights.safetensors", tmp_path / "two.pt")
    )
    images, masks = next(one.batches(one.selection, 50))
    with torch.no_grad():
        answers = [t.quality(t.model.eval()(images).numpy(), masks.numpy()) for t in (one, two)]
    assert np.allclose(*answers)
    assert trace(two.model, two.example).macs > trace(one.model, one.example).macs


def _state(folder):
    from safetensors.torch import load_file

    return load_file(folder / "trained" / "weights.safetensors")


def test_few_tiles_are_said_to_prove_little(folder, capsys):
    line = ["estimate", "--model", f"{folder / 'net.py'}:Net", "--data", str(folder / "data.npz"), "--tolerance", "0.1"]
    weights = ["--weights", str(folder / "trained" / "weights.safetensors")]
    assert main([*line, *weights, "--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "400 test images cannot prove 0.1 points even at no drop" in said


@pytest.mark.parametrize("measure", ["iou", "dice", "accuracy"])
def test_what_counts_can_be_chosen(measure, folder):
    task = task_from(data=str(folder / "data.npz"), model=f"{folder / 'net.py'}:Net", measure=measure, **WORDS)
    outputs = np.full((1, 1, 4, 4), -1.0, np.float32)
    outputs[0, 0, :2] = 1.0  # eight pixels
    mask = np.zeros((1, 4, 4), np.uint8)
    mask[0, :, :2] = 1  # eight others, four of them the same
    expected = {"iou": 4 / 12, "dice": 8 / 16, "accuracy": 8 / 16}
    assert task.quality(outputs, mask)[0] == pytest.approx(expected[measure])


def test_bad_masks_and_outputs_are_one_sentence(task):
    with pytest.raises(ValueError, match="measure must be one of iou, dice, accuracy, got 'IoU'"):
        Segmentation("IoU")
    images = ArrayImages(np.zeros((2, 4, 4, 3), np.uint8))
    splits = Splits(task.train, task.selection, task.test, task.classes)
    with pytest.raises(ValueError, match="expected images as they are for segmentation, got here with turned"):
        Task.build(task.model, replace(task.preprocess, turned=True), splits, name="here")
    with pytest.raises(ValueError, match="has no masks"):
        Segmentation().check_split(Split("train", images), 2, "here")
    high = Split("train", images, masks=ArrayImages(np.full((2, 4, 4, 1), 7, np.uint8)))
    with pytest.raises(ValueError, match=r"masks must be in 0..1 for 2 classes, got 7 in example 0 of 'train' in here"):
        Segmentation().check_split(high, 2, "here")
    with pytest.raises(ValueError, match=r"the network must give \(2, 2, 16, 16\) or \(2, 1, 16, 16\) for 2 images"):
        Segmentation().check_outputs(torch.zeros(2, 10), task.example, 2, "here")


def test_a_network_of_segmentation_models_pytorch_is_a_task(tmp_path):
    pytest.importorskip("segmentation_models_pytorch")
    arrays = {}
    for seed, (name, n) in enumerate({"train": 16, "val": 8, "test": 8}.items()):
        images, masks = rectangles(n, seed)
        arrays[f"{name}_images"] = images.repeat(2, 1).repeat(2, 2)  # its encoder halves sides five times
        arrays[f"{name}_masks"] = masks.repeat(2, 1).repeat(2, 2)
    np.savez(tmp_path / "data.npz", **arrays)
    task = task_from(model="smp:unet/resnet18", data=str(tmp_path / "data.npz"), **WORDS)
    assert (task.kind, len(task.classes)) == ("segmentation", 2)
    training = Training(epochs=1, batch_size=8, learning_rate=0.01)
    quality = train(task, training, out=tmp_path / "run", numerics="plain float32")
    assert 0 <= quality <= 1
    network = trace(task.model, task.example)
    narrow = network.cut({group.name: np.arange(group.size) % 2 == 0 for group in network.prunable})
    assert narrow.macs < 0.5 * network.macs
    assert network.check(narrow) < 1e-9
