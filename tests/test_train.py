# SPDX-License-Identifier: Apache-2.0
"""Training from nothing: it goes on in its own folder only, and never passes another's weights off as its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gossamer.cli import main
from gossamer.files import read_json
from gossamer.graph import trace
from gossamer.plan import Plan
from gossamer.train import train
from gossamer.tuning import Settings
from gossamer.zoo.weight_files import load_weights

SETTINGS = Settings(epochs=2, batch_size=64, learning_rate=0.1, augment=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_task):
    out = tmp_path_factory.mktemp("train") / "out"
    return out, train(make_task(), SETTINGS, out=out, numerics="plain float32")


def test_a_finished_training_is_returned_as_it_is(finished, make_task):
    out, quality = finished
    before = (out / "weights.safetensors").read_bytes()
    assert train(make_task(), SETTINGS, out=out, numerics="plain float32") == quality
    assert (out / "weights.safetensors").read_bytes() == before
    assert not (out / "training.safetensors").exists(), "the checkpoint is several times as large as the network"


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"seed": 1}, "training.seed"),
        ({"learning_rate": 0.2}, "training.learning_rate"),
        ({"epochs": 3}, "training.epochs"),
    ],
)
def test_other_settings_are_another_training(finished, change, differs, make_task):
    with pytest.raises(ValueError, match=rf"got another run in .* \(it differs in {differs}\); choose another --out"):
        train(make_task(), replace(SETTINGS, **change), out=finished[0], numerics="plain float32")


def test_other_weights_networks_and_data_are_another_training(finished, make_task):
    task = make_task()
    fewer = replace(task, train=task.train.subset(np.arange(300), "train"))
    for other, differs in (
        (make_task(seed=5), r"\(it differs in network\)"),
        (make_task(width=8), r"\(it differs in .*network\)"),
        (fewer, r"\(it differs in data.train\)"),
    ):
        with pytest.raises(ValueError, match=differs):
            train(other, SETTINGS, out=finished[0], numerics="plain float32")


def test_the_data_folder_is_no_place_for_a_training(tmp_path, make_task):
    (tmp_path / "train_1.npz").write_text("")
    with pytest.raises(ValueError, match="expected an empty folder for the run"):
        train(make_task(), SETTINGS, out=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device must be one that this machine has"),
        ({"smoothing": 2.0}, r"smoothing must be a share in \[0, 1\), got 2.0"),
        ({"smoothing": 0.1, "teacher": torch.nn.Identity()}, "expected no smoothing with a teacher, got 0.1"),
        ({"numerics": "float64"}, "numerics must be one of"),
    ],
)
def test_bad_options_are_refused_before_the_folder_is_claimed(tmp_path, options, message, make_task):
    with pytest.raises(ValueError, match=message):
        train(make_task(), SETTINGS, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_training_goes_on(tmp_path, finished, monkeypatch, make_task):
    from gossamer import train as module

    monkeypatch.setattr(module, "save_weights", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(make_task(), SETTINGS, out=tmp_path / "out", numerics="plain float32")
    monkeypatch.undo()
    assert (tmp_path / "out" / "training.safetensors").exists()
    train(make_task(), SETTINGS, out=tmp_path / "out", numerics="plain float32")
    name = "weights.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (finished[0] / name).read_bytes()


def test_a_teacher_teaches(tmp_path, make_task):
    """Labels that are noise teach nothing; a teacher that knows the true ones does."""
    task = make_task()
    train(task, replace(SETTINGS, epochs=6), out=tmp_path / "teacher", numerics="plain float32")
    teacher = task.model
    load_weights(teacher, tmp_path / "teacher" / "weights.safetensors")
    noise = np.random.default_rng(99).integers(0, len(task.classes), len(task.train))
    wrong = replace(task.train, labels=noise)

    def taught(name, **options):
        learner = make_task(seed=7)
        learner = replace(learner, train=wrong)
        return train(learner, replace(SETTINGS, epochs=6), out=tmp_path / name, numerics="plain float32", **options)

    alone, with_teacher = taught("alone"), taught("taught", teacher=teacher)
    assert with_teacher > alone + 0.2
    with pytest.raises(ValueError, match=r"\(it differs in teacher\)"):
        taught("taught")


def test_the_shape_that_a_plan_keeps_is_trained_from_random_weights(tmp_path, make_task):
    """What the task's network has learned is of no account, and a network of another plan is another training."""
    from safetensors.numpy import load_file

    task = make_task()
    network = trace(task.model, task.example)
    group = network.prunable[0]
    plan = Plan().with_channels({group.name: np.arange(group.size) < group.whole(group.size // 2)})
    cut = network.cut(plan.keep())
    once = train(task, replace(SETTINGS, epochs=6), out=tmp_path / "a", numerics="plain float32", plan=plan)
    assert once > 0.5, "it learns"
    history = read_json(tmp_path / "a" / "history.json")
    assert (history["parameters"], history["macs"]) == (cut.parameters, cut.macs)
    assert history["parameters"] < network.parameters
    again = make_task(seed=5)
    assert train(again, replace(SETTINGS, epochs=6), out=tmp_path / "b", numerics="plain float32", plan=plan) == once
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in "ab")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    with pytest.raises(ValueError, match=r"\(it differs in .*plan"):
        train(task, replace(SETTINGS, epochs=6), out=tmp_path / "a", numerics="plain float32")


def test_a_plan_starts_from_random_weights_alone(tmp_path, capsys):
    words = "--model resnet20 --data cifar10:nowhere --plan plan.json --weights some.pt --out"
    line = ["train", *words.split()]
    assert main([*line, str(tmp_path / "out")]) == 1
    assert "expected --plan or --weights, got both; what a plan keeps starts from random" in capsys.readouterr().err
