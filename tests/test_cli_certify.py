# SPDX-License-Identifier: Apache-2.0
"""`gossamer certify`: labels of disagreements alone give the certificate that all labels give."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import gossamer
from gossamer import container
from gossamer.certify import Certificate, Counts, recheck
from gossamer.certify.disagreement import NO_CLASS, UNKNOWN, disagreements, worst_counts
from gossamer.cli import main
from gossamer.data.images import ArrayImages, Split
from gossamer.data.loose import read_sheet, write_sheet
from gossamer.data.preprocess import Preprocess
from gossamer.goal import Goal
from gossamer.measure.answers import answers
from gossamer.measure.bench import network_bytes
from gossamer.runtime.session import open_session
from gossamer.search.settings import Settings

CLASSES = ("ant", "bee", "cat", "dog")
EVERY = np.arange(600)


@st.composite
def answered(draw):
    n = draw(st.integers(1, 40))
    three = [np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.int64) for _ in range(3)]
    return three, np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))


@given(answered())
def test_labels_of_disagreements_give_the_counts_of_all_labels(case):
    (original, compressed, labels), known = case
    full = Counts.of(original == labels, compressed == labels)
    where_they_differ = np.full_like(labels, UNKNOWN)
    differ = disagreements(original, compressed)
    where_they_differ[differ] = labels[differ]
    assert worst_counts(original, compressed, where_they_differ) == full
    some = worst_counts(original, compressed, np.where(known, where_they_differ, UNKNOWN))
    assert some.n == full.n
    assert some.b >= full.b, "what is not known counts as the worst"
    assert some.c <= full.c
    nothing = worst_counts(original, compressed, np.full_like(labels, NO_CLASS))
    assert (nothing.b, nothing.c) == (0, 0), "of no class: both are wrong"


def test_answers_of_other_images_are_refused():
    with pytest.raises(ValueError, match="expected the answers of both networks on the same images"):
        disagreements(np.zeros(3, np.int64), np.zeros(4, np.int64))


def test_a_sheet_keeps_what_is_known(tmp_path):
    sheet = tmp_path / "labels.csv"
    answered = {"a.png": ("ant", "bee"), "b, c.png": ("cat", "ant"), "d.png": ("dog", "no answer")}
    write_sheet(sheet, answered, {"b, c.png": 2, "old.png": None}, CLASSES)
    assert sheet.read_text() == (
        'image,label,original,compressed\na.png,,ant,bee\n"b, c.png",cat,cat,ant\nd.png,,dog,no answer\nold.png,-,,\n'
    )
    assert read_sheet(sheet, CLASSES) == {"b, c.png": 2, "old.png": None}
    sheet.write_text("image,label\na.png,bee\n")
    assert read_sheet(sheet, CLASSES) == {"a.png": 1}, "somebody's own sheet has no answers"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na.png,beee\n", r"or - for none of them, in line 2 of .*got 'beee'; did you mean bee\?"),
        ("picture,label\n", "expected the columns image,label in .*, got picture,label"),
        ("", "expected the columns image,label in .*, got"),
        ("image,label\na.png,bee\nb.png\n", "expected an image and a label in line 3"),
        ("image,label,original,compressed\na.png,bee,cat\n", "expected an image and a label in line 2"),
    ],
)
def test_a_sheet_that_cannot_be_read_is_said(text, message, tmp_path):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_sheet(tmp_path / "labels.csv", CLASSES)


@pytest.fixture(scope="module")
def pair(trained, user_task, tmp_path_factory) -> Path:
    """A folder with original.onnx, model.gossamer that answers somewhat differently, and the test images as files."""
    folder = tmp_path_factory.mktemp("pair")
    task = user_task(trained)
    result = gossamer.compress(
        task,
        Goal(0.03),
        "post-training:halvings=0",
        out=folder / "run",
        settings=Settings(batch_size=64, augment=False),
        ledger=folder / "run.json",
    )
    (folder / "original.onnx").write_bytes((folder / "run" / "original.onnx").read_bytes())
    payload = container.read(result.folder / "model.gossamer").payload
    # the first class gets so much more that some twenty images change over to it
    outputs = open_session(result.folder / "model.onnx").run(task.preprocess.apply(task.test.images.take(EVERY)))[0]
    missing = np.sort(outputs.max(axis=1) - outputs[:, 0])
    bias = next(tensor for tensor in payload.tensors if tensor.shape == (len(CLASSES),))
    more = bias.decoded() + np.float32(missing[missing > 0][20]) * np.eye(len(CLASSES), dtype=np.float32)[0]
    worse = [container.Tensor.exact(bias.name, more) if tensor is bias else tensor for tensor in payload.tensors]
    # their labels: in turn what the original says, what the other says, and what neither says
    images, before = task.test.images.take(EVERY), outputs.argmax(axis=1)
    after = (outputs + (more - bias.decoded())).argmax(axis=1)
    labels = task.test.labels.copy()
    differ = np.flatnonzero(before != after)
    labels[differ] = np.choose(np.arange(len(differ)) % 3, [before[differ], after[differ], (before[differ] % 3) + 1])
    np.savez(folder / "data.npz", images=images, labels=labels)
    container.write(folder / "model.gossamer", replace(payload, tensors=tuple(worse), classes=CLASSES), {})
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        for place in (folder / "loose" / f"{index % 7}", folder / "classes" / CLASSES[label]):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{index}.png")
    return folder


def certify(pair: Path, out: Path, *words: str) -> int:
    line = ["certify", str(pair / "original.onnx"), str(pair / "model.gossamer"), "--tolerance", "20", "--quiet"]
    return main([*line, "--out", str(out), "--ledger", str(out / "ledger.json"), *words])


def written(out: Path) -> Certificate:
    return Certificate.from_json(json.loads((out / "certificate.json").read_text()))


def test_disagreements_labelled_prove_what_all_labels_prove(pair, tmp_path, capsys):
    by_label, by_difference = tmp_path / "labelled", tmp_path / "unlabelled"
    assert certify(pair, by_label, "--data", str(pair / "classes")) == 0
    full = written(by_label)
    assert recheck(full) == []
    assert min(full.b, full.c) > 5, "the pair must disagree, or nothing is tested"
    said = capsys.readouterr().out
    assert re.search(r"both networks give 9\d\.\d\d % of the images the same class", said)
    assert "The class that lost most is \u201c" in said
    assert "by area" not in said
    assert certify(pair, tmp_path / "npz", "--data", str(pair / "data.npz")) == 0
    assert (written(tmp_path / "npz").b, written(tmp_path / "npz").c) == (full.b, full.c)

    certify(pair, by_difference, "--unlabelled", str(pair / "loose"))
    nothing = written(by_difference)
    sheet = by_difference / "labels.csv"
    rows = list(csv.DictReader(sheet.read_text().splitlines()))
    assert (nothing.b, nothing.c) == (len(rows), 0)
    assert 0 < len(rows) < full.n / 3
    assert all(row["original"] != row["compressed"] == "ant" for row in rows), "only the first class has gained"
    page = (by_difference / "disagreements.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == len(rows)
    assert f'<div class="name">{rows[0]["image"]}</div><div>original: {rows[0]["original"]}; compressed: ant<' in page
    assert f"{len(rows)} pictures on which the two networks disagree, {len(rows)} of them without a label." in page
    assert nothing.bound > full.bound
    truth = {path.stem: path.parent.name for path in (pair / "classes").rglob("*.png")}
    lines = [f"{row['image']},{truth[Path(row['image']).stem]}" for row in rows]
    sheet.write_text("\n".join(["image,label", *lines[: len(lines) // 2]]) + "\n")
    certify(pair, by_difference, "--unlabelled", str(pair / "loose"))
    assert full.bound < written(by_difference).bound < nothing.bound
    assert len(list(csv.DictReader(sheet.read_text().splitlines()))) == len(rows), (
        "what still wants a label is listed again"
    )
    capsys.readouterr()
    sheet.write_text("\n".join(["image,label", *lines]) + "\n")
    assert certify(pair, by_difference, "--unlabelled", str(pair / "loose")) == 0
    assert "0 of them without a label" in (by_difference / "disagreements.html").read_text()
    done = written(by_difference)
    assert (done.n, done.b, done.c, done.look) == (full.n, full.b, full.c, 1), "labels are no new look"
    assert "Proven: a drop in accuracy below 20 points" in capsys.readouterr().out


def test_groups_are_told_and_may_put_the_proof_in_doubt(pair, tmp_path, capsys):
    """Every image that turned wrong is of one group of three: where groups differ, the drop may be anything."""
    with np.load(pair / "data.npz") as arrays:
        given = dict(arrays)
    split = Split("test", ArrayImages(given["images"]), given["labels"].astype(np.int64))
    preprocess = Preprocess.from_json(dict(container.read(pair / "model.gossamer").payload.preprocess))
    before, after = (
        answers(network_bytes(pair / name), split, preprocess) for name in ("original.onnx", "model.gossamer")
    )
    lost = (before == given["labels"]) & (after != given["labels"])
    groups = np.where(lost, "north", np.where(EVERY % 2, "east", "west"))
    np.savez(tmp_path / "data.npz", **given, groups=groups)
    assert certify(pair, tmp_path, "--data", str(tmp_path / "data.npz")) == 0
    said = capsys.readouterr().out
    assert f"The group that lost most is \u201cnorth\u201d: -100.00 points on {lost.sum()} images." in said
    assert "10,000 resamples of 3 areas" in said
    assert "proven only if images were independent; by areas the drop reaches " in said


def test_what_is_not_proven_ends_with_status_1(pair, tmp_path, capsys):
    assert certify(pair, tmp_path, "--unlabelled", str(pair / "loose"), "--tolerance", "0.1") == 1
    assert "and run the same command again" in capsys.readouterr().out


def test_pictures_of_another_class_are_refused(pair, tmp_path, capsys):
    (tmp_path / "data" / "bees").mkdir(parents=True)
    assert certify(pair, tmp_path, "--data", str(tmp_path / "data")) == 1
    assert "got 'bees'; did you mean bee?" in capsys.readouterr().err


def test_a_sheet_of_other_pictures_is_refused(pair, tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("image,label\nelsewhere.png,bee\n")
    assert certify(pair, tmp_path, "--unlabelled", str(pair / "loose")) == 1
    assert "got 'elsewhere.png'; choose another --out" in capsys.readouterr().err
