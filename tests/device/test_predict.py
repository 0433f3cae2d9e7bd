# SPDX-License-Identifier: Apache-2.0
"""`gossamer predict`: masks of images of any size, seams that nobody sees, in little memory and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gossamer import cli_device
from gossamer.cli import main
from gossamer.data.preprocess import Preprocess
from gossamer.device import open_network, predict
from gossamer.device.tiles import Axis, blended
from gossamer.runtime.session import available, open_session
from tests.device.conftest import BRIGHT, CHANNEL, CONVOLUTIONS, indices, kernel, network, noise, save

PLAIN = "--mean 0 0 0 --std 1 1 1 --threads 1"


def said(line: str) -> list[str]:
    return line.split()


@pytest.mark.parametrize("size", [(64, 64), (65, 200), (201, 97), (10, 300), (3, 5), (1, 1)])
def test_masks_of_any_size_are_those_of_each_pixel(write_onnx, size):
    """The network looks at a pixel alone, so its mask is known."""
    opened = open_network(write_onnx(CHANNEL), open_session, tile=64, mean=[0.0] * 3, std=[1.0] * 3)
    pixels = noise(*size)
    for overlap in (0, 16, 63):
        mask = predict(opened, Image.fromarray(pixels), overlap)
        np.testing.assert_array_equal(mask, pixels.argmax(axis=2))


def test_seams_are_not_seen(write_onnx):
    """Two convolutions see two pixels far, less than the margin of a tile: tiled and whole are the same inside.

    Scores, not classes: these would hide small errors. At the border of the image both see padding.
    """
    options = {"mean": [0.5] * 3, "std": [0.25] * 3}
    pixels, path = noise(203, 150), write_onnx(CONVOLUTIONS)
    whole = open_session(CONVOLUTIONS).run(Preprocess((0.5,) * 3, (0.25,) * 3, (203, 150)).apply(pixels[None]))[0][0]
    errors = {}
    for overlap in (0, 12):
        opened = open_network(path, open_session, tile=48, **options)
        tiled = np.empty_like(whole)
        for block in blended(
            Axis(203, 48, overlap),
            Axis(150, 48, overlap),
            lambda top, left, opened=opened: opened.scores(pixels[top : top + 48, left : left + 48]),
        ):
            height, width = block.scores.shape[1:]
            tiled[:, block.top : block.top + height, block.left : block.left + width] = block.scores
        errors[overlap] = np.abs(tiled - whole).max()
    assert errors[12] < 1e-5
    assert errors[0] > 0.01, "tiles side by side have seams, or this test sees nothing"
    mask = predict(open_network(path, open_session, tile=48, **options), Image.fromarray(pixels), 12)
    assert (mask == whole.argmax(axis=0)).mean() > 0.9999


def test_a_folder_with_names_of_classes(write_gossamer, tmp_path, capsys):
    path = write_gossamer(CHANNEL, Preprocess((0.0,) * 3, (1.0,) * 3, 32), ("soil", "leaf", "water"))
    images = {name: noise(50 + 9 * k, 70, k) for k, name in enumerate(("a.png", "b.tif"))}
    for name, pixels in images.items():
        save(tmp_path / "in" / name, pixels)
    out = tmp_path / "new" / "out"
    assert main(["predict", str(path), str(tmp_path / "in"), "--out", str(out), "--overlay", "--threads", "1"]) == 0
    for name, pixels in images.items():
        np.testing.assert_array_equal(indices((out / name).with_suffix(".png")), pixels.argmax(axis=2))
        with Image.open((out / name).with_suffix(".overlay.png")) as image:
            assert (image.mode, image.size) == ("RGB", (70, len(pixels)))
    assert capsys.readouterr().out == f"2 of 2 masks are in {out}\nclasses: 0 soil, 1 leaf, 2 water\n"
    named = {"a.png", "a.overlay.png", "b.png", "b.overlay.png"}
    assert {path.name for path in out.iterdir()} == {*named, "classes.json"}
    assert json.loads((out / "classes.json").read_text()) == ["soil", "leaf", "water"]


@pytest.mark.parametrize("runtime", list(available()))
def test_a_threshold(write_onnx, tmp_path, runtime):
    """Of logits, and of the probabilities of a network that ends in a sigmoid."""
    image = save(tmp_path / "a.png", np.arange(256, dtype=np.uint8).reshape(16, 16))
    steep = np.full((1, 1, 1, 1), 10, np.float32)
    sigmoid = network(
        [("Sub", "xb", "a"), ("Mul", "as", "c"), ("Sigmoid", "c", "y")],
        channels=1,
        b=np.full((1, 1, 1, 1), 0.5, np.float32),
        s=steep,
    )
    logits = network(
        [("Sub", "xb", "a"), ("Mul", "as", "y")], channels=1, b=np.full((1, 1, 1, 1), 0.5, np.float32), s=steep
    )
    for model in (logits, sigmoid):
        line = ["predict", str(write_onnx(model)), str(image), "--out", str(tmp_path / "out"), "--runtime", runtime]
        line += said("--mean 0 --std 1 --tile 8 --threads 1")
        for threshold, first in ((None, 128), (0.9, 184), (0.1, 72)):  # 255 * (0.5 + logit / 10) = 183.5 and 71.5
            assert main([*line, *([] if threshold is None else ["--threshold", str(threshold)])]) == 0
            np.testing.assert_array_equal(indices(tmp_path / "out" / "a.png").ravel(), np.arange(256) >= first)


def test_a_damaged_image_is_named_and_the_rest_goes_on(write_onnx, tmp_path, capsys):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "in" / name, noise(40, 40))
    whole = (tmp_path / "in" / "b.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[:500])
    out = tmp_path / "out"
    line = ["predict", str(write_onnx(CHANNEL)), str(tmp_path / "in"), "--out", str(out), *said(PLAIN)]
    assert main([*line, "--tile", "32", "--overlap", "8"]) == 1
    said_last = capsys.readouterr()
    assert said_last.err.count("\n") == 1
    assert f"no mask: cannot read the image {tmp_path / 'in' / 'b.png'}: " in said_last.err
    assert said_last.out == f"2 of 3 masks are in {out}\n"
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--tile 32 --overlap 32", "overlap must be at least 0 and below the tile's 32 pixels, got 32; give a smaller"),
        ("--threshold 0.5", "gives one for each of 3 classes, and the highest is taken; leave it out"),
        ("--threshold 1", "expected a probability above 0 and below 1, such as 0.5, got 1"),
        ("--overlap -1", "expected pixels, a whole number of at least 0, got -1"),
        ("--tile 0", "expected pixels, a whole number of at least 1, got 0"),
        ("--mean 0", "std needs 1 numbers, one per channel, got [1.0, 1.0, 1.0]"),
        ("--runtime tflite", "invalid choice: 'tflite'"),
    ],
)
def test_bad_options_are_one_sentence(write_onnx, tmp_path, capsys, options, message):
    image = save(tmp_path / "a.png", noise(40, 40))
    line = ["predict", str(write_onnx(CHANNEL)), str(image), "--out", str(tmp_path / "out"), *said(PLAIN)]
    try:
        status = main([*line, *said(options)])
    except SystemExit as stop:
        status = stop.code
    text = capsys.readouterr().err
    assert status in (1, 2)
    assert message in text
    assert text.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bar_shows_itself_only_where_it_takes_long(write_onnx, tmp_path, capsys, monkeypatch):
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name, noise(64, 64))
    line = ["predict", str(write_onnx(CHANNEL)), str(tmp_path / "in"), "--out", str(tmp_path / "out"), *said(PLAIN)]
    line += said("--tile 32")
    assert main(line) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(cli_device, "PATIENCE", 0.0)
    monkeypatch.setattr("gossamer.report.terminal.SECONDS_BETWEEN_LINES", 0.0)
    assert main(line) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("images  0.11/2 (6 %)")  # one of nine tiles of the first of two images
    assert lines[0].endswith("a.png")
    assert lines[-1].startswith("images  2/2 (100 %)")


def test_stopped_is_said(write_onnx, tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    image = save(tmp_path / "a.png", noise(64, 64))
    monkeypatch.setattr("gossamer.device.predict", stop)
    line = ["predict", str(write_onnx(CHANNEL)), str(image), "--out", str(tmp_path / "out"), *said(PLAIN)]
    assert main(line) == 130
    assert capsys.readouterr().err.endswith(f"stopped; what is written in {tmp_path / 'out'} is whole\n")


ALONE = """
import sys
from gossamer.cli import main
status = main(sys.argv[1:])
loaded = {"torch", "onnx", "scipy", "rich"} & set(sys.modules)
print("alone:", status, sorted(loaded))
"""


@pytest.mark.parametrize("kind", ["gossamer", "onnx"])
def test_it_runs_where_there_is_no_torch(kind, run_alone, onnxruntime_alone, write_onnx, write_gossamer, tmp_path):
    image = save(tmp_path / "a.png", np.repeat(np.arange(256, dtype=np.uint8)[:, None], 40, axis=1))
    if kind == "onnx":
        path, options = write_onnx(BRIGHT), said("--mean 0 --std 1 --tile 64")
    else:
        path, options = write_gossamer(BRIGHT, Preprocess((0.0,), (1.0,), 64, channels=1), ("light",)), []
    line = ["predict", str(path), str(image), "--out", str(tmp_path / "out"), "--overlay", "--threads", "1", *options]
    done = run_alone(ALONE, f"gossamer,PIL,{onnxruntime_alone}", *line)
    assert done.stdout.endswith("alone: 0 []\n"), done.stdout + done.stderr
    np.testing.assert_array_equal(indices(tmp_path / "out" / "a.png")[:, 0], np.arange(256) > 127)


MEASURED = """
import sys
from gossamer.cli import main
from gossamer.measure.on_board import peak_memory
assert main(sys.argv[1:]) == 0
print("peak:", peak_memory())
"""


def test_a_large_image_becomes_a_mask_within_a_gigabyte(write_onnx, tmp_path):
    """5000 x 5000, 21 classes, with the overlay; their scores alone would have 2.1 GB."""
    ramp = np.arange(5000, dtype=np.uint16)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None] % 251, ramp[None] % 241, (ramp[:, None] + ramp) % 239), axis=2)
    image = save(tmp_path / "a.jpg", pixels.astype(np.uint8))
    path = write_onnx(network([("Conv", "xw", "y")], w=kernel(21, 3, 1, 1), size=(512, 512)))
    line = ["predict", str(path), str(image), "--out", str(tmp_path / "out"), "--overlay", *said(PLAIN)]
    done = subprocess.run([sys.executable, "-c", MEASURED, *line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.rpartition("peak: ")[2])
    assert peak < 1e9, f"{peak:,} bytes"
    assert indices(tmp_path / "out" / "a.png").shape == (5000, 5000)
    assert Path(tmp_path / "out" / "a.overlay.png").exists()
