# SPDX-License-Identifier: Apache-2.0
"""The main job on a small network: what it delivers, what it refuses, and that nothing is ever lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import gossamer
from gossamer import container
from gossamer.certify import Certificate, Counts, recheck
from gossamer.goal import Goal
from gossamer.measure.answers import answers
from gossamer.measure.quality import qualities
from gossamer.report.assemble import WORTH_IT
from gossamer.search.proof import ToleranceNotMet
from gossamer.search.run import Run
from gossamer.search.settings import Settings

DELIVERED = ("model.gossamer", "model.onnx", "plan.json", "report.json", "report.html")
SETTINGS = Settings(epochs=1, batch_size=64, augment=False)


@pytest.fixture(scope="module")
def small_file(user_task, trained, tmp_path_factory):
    """A finished run minimising bytes."""
    out = tmp_path_factory.mktemp("runs") / "bytes"
    task = user_task(trained)
    return task, gossamer.compress(task, Goal(0.03), out=out, settings=SETTINGS, ledger=out.with_suffix(".json"))


def test_the_file_is_smaller_proven_and_what_the_report_says(small_file):
    task, result = small_file
    assert all((result.folder / name).is_file() for name in DELIVERED)
    assert not list(result.folder.rglob("*.part"))
    report, file = result.report, container.read(result.folder / "model.gossamer")
    assert result.certificate.proven
    assert recheck(result.certificate) == []
    assert report.compressed.bytes.coded < report.original.bytes.fp32 / 4
    assert file.claims["certificate"]["payload_sha256"] == file.payload_sha256
    decoded = container.to_onnx(file.payload)
    assert decoded == (result.folder / "model.onnx").read_bytes()
    right = qualities(task, task.test, decoded)
    assert right.mean() == pytest.approx(report.compressed.quality)
    assert report.compressed.first_answer_ms > 0
    assert sum(row.n for row in report.classes) == len(task.test)
    given = [
        answers((result.folder / name).read_bytes(), task.test, task.preprocess)
        for name in ("original.onnx", "model.onnx")
    ]
    assert report.agreement == np.mean(given[0] == given[1])
    for side in ("original", "compressed"):
        quality = sum(row.n * getattr(row, side) for row in report.classes) / len(task.test)
        assert quality == pytest.approx(getattr(report, side).quality)


def test_the_best_candidate_so_far_is_written_down(small_file):
    _, result = small_file
    accepted = [candidate for candidate in result.candidates if candidate.verdict.accepted]
    best = min(accepted, key=lambda candidate: candidate.sizes.coded)
    found = json.loads((result.folder / "best.json").read_text())
    assert result.folder / found["path"] == best.file
    assert (found["bytes"], found["verdict"]) == (best.file.stat().st_size, asdict(best.verdict))


def test_the_delivered_candidate_is_the_last_proven_one(small_file):
    _, result = small_file
    accepted = [candidate.name for candidate in result.candidates if candidate.verdict.accepted]
    assert result.report.chosen in accepted
    assert len(result.candidates) >= 2, "the ladder was climbed"


class TwoNames(torch.nn.Module):
    """The stem is a part of the features too."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.features = torch.nn.Sequential(self.stem, torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.MaxPool2d(4))
        self.head = torch.nn.Linear(8 * 4, 4)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


@pytest.mark.parametrize(
    ("goal", "recipe"), [(Goal(0.03), "deep-compression"), (Goal(0.5, minimise="macs"), "adversarial-selection:pull=1")]
)
def test_a_module_under_two_names_is_compressed_and_loaded_again(task, tmp_path, goal, recipe):
    torch.manual_seed(0)
    task = replace(task, model=TwoNames())
    out, settings = tmp_path / "run", replace(SETTINGS, epochs=2)
    result = gossamer.compress(task, goal, recipe, out=out, settings=settings, ledger=tmp_path / "ledger.json")
    network = gossamer.load(result.folder, task).module
    assert torch.equal(network.state_dict()["stem.weight"], network.state_dict()["features.0.weight"])


def test_loading_gives_the_compressed_network_back_for_training(small_file):
    task, result = small_file
    network = gossamer.load(result.folder, task)
    images = torch.from_numpy(task.preprocess.apply(task.test.images.take(np.arange(50))))
    with torch.no_grad():
        floats = network.module.eval()(images).numpy()
    from gossamer.runtime.session import open_session

    stored = open_session(result.folder / "model.onnx").run(images.numpy())[0]
    assert np.abs(floats - stored).max() < 0.02 * np.abs(stored).max()
    network.module.train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in network.module.parameters())


def test_no_checkpoint_of_a_finished_rung_stays(small_file):
    _, result = small_file
    assert not list(result.folder.rglob("training.safetensors"))
    assert len(list(result.folder.glob("steps/*/weights.safetensors"))) >= 2


def test_the_report_says_what_the_test_split_said_of_each_candidate(small_file):
    _, result = small_file
    opened = [candidate for candidate in result.report.candidates if candidate.test is not None]
    assert opened
    assert all(candidate.accepted for candidate in opened)
    chosen = next(candidate for candidate in opened if candidate.name == result.report.chosen)
    certificate = result.certificate
    assert (chosen.test.b, chosen.test.c, chosen.test.n) == (certificate.b, certificate.c, certificate.n)
    assert chosen.test.guaranteed == certificate.guaranteed
    assert certificate.bound <= certificate.guaranteed <= certificate.tolerance


def test_after_a_failure_the_tolerance_is_what_is_guaranteed(small_file, trained, tmp_path, monkeypatch):
    """The boldest candidate is planted to fail on test only: the report says so, and quotes no tighter bound."""
    from gossamer.search import proof as module

    task, result = small_file
    out = tmp_path / "run"
    shutil.copytree(result.folder, out)
    bold = min((c for c in result.candidates if c.verdict.accepted), key=lambda c: c.sizes.coded)
    payload = container.read(bold.file).payload_sha256

    def evidence(run, original, candidate, digest, alpha):
        return Counts.of(original, ~original) if digest == payload else real(run, original, candidate, digest, alpha)

    real = module._evidence
    monkeypatch.setattr(module, "_evidence", evidence)
    again = gossamer.compress(task, Goal(0.03), out=out, settings=SETTINGS, ledger=tmp_path / "l.json")
    assert again.report.chosen != bold.name
    assert again.certificate.proven
    assert again.certificate.guaranteed == again.certificate.tolerance > again.certificate.bound
    assert recheck(again.certificate) == []
    failed = next(candidate for candidate in again.report.candidates if candidate.name == bold.name)
    assert not failed.test.proven
    page = (out / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "the true drop is below 3 points" in page
    assert "Of this candidate alone" in page


def test_starting_a_finished_run_again_changes_nothing(small_file):
    task, result = small_file
    before = {path: path.read_bytes() for path in result.folder.rglob("measurement.json")}
    again = gossamer.compress(
        task, Goal(0.03), out=result.folder, settings=SETTINGS, ledger=result.folder.with_suffix(".json")
    )
    assert again.certificate == result.certificate
    assert before == {path: path.read_bytes() for path in result.folder.rglob("measurement.json")}


def test_stopped_by_hand_it_delivers_and_can_go_on(user_task, trained, tmp_path, monkeypatch):
    """Ctrl-C in the middle of a rung: the best until then, proven. The same call goes on as another look."""
    task, out = user_task(trained), tmp_path / "run"

    def stopped(*_, **__):
        raise KeyboardInterrupt

    def compressed():
        return gossamer.compress(task, Goal(0.03), out=out, settings=SETTINGS, ledger=tmp_path / "l.json")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "tune", stopped)
        first = compressed()
    assert first.certificate.proven
    assert first.certificate.look == 1
    assert any("stopped by hand" in note for note in first.report.notes)
    assert all((out / name).is_file() for name in DELIVERED)
    second = compressed()
    assert len(second.candidates) > len(first.candidates)
    accepted = [{c.name for c in result.candidates if c.verdict.accepted} for result in (first, second)]
    assert second.certificate.look == (1 if accepted[0] == accepted[1] else 2)  # the same question is the same look
    assert not any("stopped by hand" in note for note in second.report.notes)
    # without its certificate, which grows by each candidate that the test split was opened for
    sizes = [
        next(one.sizes.coded for one in result.candidates if one.name == result.report.chosen)
        for result in (first, second)
    ]
    assert sizes[1] <= sizes[0]


def test_a_batch_system_gets_the_best_until_its_time_is_up(trained, tmp_path):
    """SIGTERM while the first rung is trained."""
    out = tmp_path / "run"
    line = command(trained, out, "--epochs", "500")
    with subprocess.Popen(line, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        while process.poll() is None and not list(out.glob("steps/*/training.safetensors")):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0, process.stderr.read().decode()
    assert all((out / name).is_file() for name in DELIVERED)
    assert any("stopped by hand" in note for note in json.loads((out / "report.json").read_text())["notes"])


def test_stopped_before_anything_was_found_it_stops(user_task, trained, tmp_path, monkeypatch):
    from gossamer.recipes import fewer_bytes

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fewer_bytes, "fine_grid", stopped)
    with pytest.raises(KeyboardInterrupt):
        gossamer.compress(user_task(trained), Goal(0.03), out=tmp_path / "run", ledger=tmp_path / "l.json")


def test_latency_and_macs_cut_channels(user_task, trained, tmp_path):
    task = user_task(trained)
    for minimise in ("latency", "macs"):
        result = gossamer.compress(
            task, Goal(0.05, minimise=minimise), out=tmp_path / minimise, settings=SETTINGS, ledger=tmp_path / "l.json"
        )
        assert any(candidate.macs < result.report.original.macs for candidate in result.candidates)
        too_little = [note for note in result.report.notes if note.startswith("nothing was gained: ")]
        before, after = result.report.original, result.report.compressed
        if minimise == "macs":
            assert after.macs < 0.8 * before.macs
            assert not too_little
        else:  # how much faster so small a network is, the machine's other work decides
            times = before.latency_ms["onnxruntime"].median / after.latency_ms["onnxruntime"].median
            assert bool(too_little) == (times < WORTH_IT)


# --- nothing is lost -------------------------------------------------------------------------------------------


def command(trained: Path, out: Path, *more: str) -> list[str]:
    words = f"compress --model {trained / 'net.py'}:SmallNet --weights {trained / 'weights.safetensors'} "
    words += f"--data {trained / 'data.npz'} --mean .5 .5 .5 --std .25 .25 .25 --tolerance 3 --epochs 2 "
    words += f"--batch-size 64 --no-augment --out {out} --ledger {out}.json --quiet"
    return [sys.executable, "-m", "gossamer", *words.split(), "--numerics", "plain float32", *more]


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def kill_when(arguments: list[str], happened) -> bool:
    """Start the command and kill -9 it as soon as `happened()`; False if it ended before."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, env=environment) as process:
        while process.poll() is None:
            if happened():
                process.send_signal(signal.SIGKILL)
                return True
            time.sleep(0.002)
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read().decode()
    return False


def test_killed_at_any_moment_it_goes_on_to_the_same_result(trained, tmp_path):
    whole = tmp_path / "whole"
    assert not kill_when(command(trained, whole), lambda: False)
    out = tmp_path / "killed"
    kills = 0
    while True:  # each attempt leaves more files, so this ends
        before, more = files(out), int(3 * 2.2**kills)
        if not kill_when(command(trained, out), lambda before=before, more=more: len(files(out) - before) >= more):
            break
        kills += 1
        for path in files(out):
            if path.suffix == ".json":
                json.loads(path.read_text())  # whole, or absent
            elif path.suffix == ".gossamer":
                container.read(path)
    assert kills >= 4, "the test must really kill"
    for name in ("model.onnx", "plan.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    certificates = [
        Certificate.from_json(container.read(folder / "model.gossamer").claims["certificate"])
        for folder in (out, whole)
    ]
    assert certificates[0] == certificates[1], "a resumed run is the same look at the test split"


# --- bad input -------------------------------------------------------------------------------------------------


def test_a_folder_with_another_run_is_refused(small_file):
    task, result = small_file
    with pytest.raises(ValueError, match=r"got another run in .*differs in goal.tolerance.*choose another --out"):
        gossamer.compress(task, Goal(0.02), out=result.folder, settings=SETTINGS)


def test_a_folder_with_other_files_is_refused(user_task, trained, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="expected an empty folder for the run"):
        gossamer.compress(user_task(trained), Goal(0.02), out=tmp_path, settings=SETTINGS)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_unknown_recipe_is_refused(user_task, trained, tmp_path):
    with pytest.raises(ValueError, match=r"expected a recipe of auto, deep-compression, .*, got 'magic'"):
        gossamer.compress(user_task(trained), Goal(0.02), "magic", out=tmp_path)


def test_when_nothing_keeps_the_promise_the_best_is_named_and_kept(user_task, trained, tmp_path, monkeypatch):
    from gossamer.search import candidate as module

    monkeypatch.setattr(module, "judge", lambda *_: module.Verdict(drop=0.2, flips=0.3, accepted=False, note="planted"))
    out = tmp_path / "run"
    with pytest.raises(ToleranceNotMet, match=r"no candidate kept the promise .* lost 20.00 and is in .*raise --toler"):
        gossamer.compress(user_task(trained), Goal(0.03), out=out, settings=SETTINGS, ledger=tmp_path / "l.json")
    assert any(out.glob("steps/*/model.gossamer"))


def test_a_split_that_proves_nothing_still_delivers_and_says_so(user_task, trained, tmp_path):
    task = user_task(trained)
    few = replace(task, test=task.test.subset(np.arange(40), "test"))
    result = gossamer.compress(few, Goal(0.001), out=tmp_path / "run", settings=SETTINGS, ledger=tmp_path / "l.json")
    assert not result.certificate.proven
    assert any("cannot prove" in candidate.verdict.note for candidate in result.candidates)
    assert any(
        "40 test images cannot prove 0.1 points" in note and "not proven" in note for note in result.report.notes
    )
    taken = [candidate for candidate in result.candidates if candidate.verdict.accepted]
    assert len(taken) > 1, "there is nothing to choose from"
    assert result.report.chosen == min(taken, key=lambda candidate: candidate.sizes.coded).name


def test_training_that_diverges_keeps_the_best_so_far(user_task, trained, tmp_path):
    settings = replace(SETTINGS, learning_rate=1e12)
    result = gossamer.compress(
        user_task(trained), Goal(0.03), out=tmp_path / "run", settings=settings, ledger=tmp_path / "l.json"
    )
    untrained = [c for c in result.candidates if c.verdict.accepted]
    assert {c.name.split()[0] for c in untrained} == {"fine", "strength"}
    assert result.report.chosen == min(untrained, key=lambda c: c.sizes.coded).name
    assert any("was given up: expected" in note and "lower the learning rate" in note for note in result.report.notes)
    check_loading_the_untrained(user_task(trained), result.folder)


def check_loading_the_untrained(task, folder):
    """What is loaded computes what the file computes, not what the original does."""
    from gossamer.runtime.session import open_session

    images = torch.from_numpy(task.preprocess.apply(task.test.images.take(np.arange(50))))
    with torch.no_grad():
        loaded = gossamer.load(folder, task).module.eval()(images).numpy()
        original = gossamer.trace(task.model, task.example).module.eval()(images).numpy()
    stored = open_session(folder / "model.onnx").run(images.numpy())[0]
    assert np.abs(loaded - stored).max() < min(1e-4 * np.abs(stored).max(), 0.1 * np.abs(original - stored).max())


def test_a_run_is_loaded_with_its_own_network_only(small_file, make_task):
    _, result = small_file
    with pytest.raises(ValueError, match=r"expected the network that the run in .* compressed, got another one in"):
        gossamer.load(result.folder, make_task(width=8))


def test_an_unfinished_run_cannot_be_loaded(user_task, trained, tmp_path):
    with pytest.raises(ValueError, match="expected a finished run"):
        gossamer.load(tmp_path, user_task(trained))
