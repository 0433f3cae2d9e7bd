# SPDX-License-Identifier: Apache-2.0
"""Networks: what a file says of its input is used and checked, and every other kind of network is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from gossamer.container import CorruptFile
from gossamer.data.preprocess import Preprocess
from gossamer.device.network import open_network
from gossamer.device.signature import read_signature
from gossamer.runtime.session import open_session
from tests.device.conftest import BRIGHT, CHANNEL, CONVOLUTIONS, kernel, network, noise

PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3}
POOLED = network([("GlobalAveragePool", "x", "p"), ("Flatten", "p", "y")])
#: Half the size and back: tiles of an odd size do not fit.
EVEN_ONLY = network(
    [("Resize", ("x", "", "h"), "a"), ("Resize", ("a", "", "t"), "b"), ("Concat", "xb", "y")],
    h=np.array([1, 1, 0.5, 0.5], np.float32),
    t=np.array([1, 1, 2, 2], np.float32),
)


def test_signatures():
    found = read_signature(CONVOLUTIONS)
    assert (found.dtype, found.shape, found.last) == ("float32", (None, 3, None, None), "Conv")
    found = read_signature(network([("Sigmoid", "x", "y")], channels=1, size=(48, 64), batch=1))
    assert (found.shape, found.last) == ((1, 1, 48, 64), "Sigmoid")


def test_a_gossamer_file_says_everything(write_gossamer):
    preprocess = Preprocess((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), (24, 40))
    path = write_gossamer(CONVOLUTIONS, preprocess, ("road", "car", "tree", "sky"))
    opened = open_network(path, open_session)
    assert (opened.preprocess, opened.channels, opened.binary) == (preprocess, 4, False)
    assert opened.classes == ("road", "car", "tree", "sky")
    pixels = noise(24, 40)
    x = (pixels.transpose(2, 0, 1) / 255 - np.reshape(preprocess.mean, (3, 1, 1))) / np.reshape(
        preprocess.std, (3, 1, 1)
    )
    expected = open_session(CONVOLUTIONS).run(x[None].astype(np.float32))[0][0]
    np.testing.assert_allclose(opened.scores(pixels), expected, atol=1e-4)


def test_the_size_of_tiles(write_onnx, write_gossamer):
    fixed = write_onnx(network([("Identity", "x", "y")], size=(48, 64)), "fixed.onnx")
    free = write_onnx(CHANNEL, "free.onnx")
    stored = write_gossamer(CHANNEL, Preprocess((0.0,) * 3, (1.0,) * 3, 96))

    def size(path, tile=None, **values):
        return open_network(path, open_session, tile=tile, **values).preprocess.size

    assert size(fixed, **PLAIN) == (48, 64)
    assert size(free, **PLAIN) == (256, 256)
    assert size(free, 80, **PLAIN) == (80, 80)
    assert size(stored) == (96, 96)
    assert size(stored, 80) == (80, 80)
    with pytest.raises(ValueError, match=r"expected no --tile, .*fixed\.onnx reads 48x64 pixels and nothing else"):
        size(fixed, 48, **PLAIN)


def test_a_picture_that_is_turned_on_its_way_in_comes_back_upright(write_gossamer):
    pixels = noise(16, 16)
    scores = [
        open_network(write_gossamer(CHANNEL, Preprocess((0.0,) * 3, (1.0,) * 3, 16, turned=turned)), open_session)
        .scores(pixels)
        .copy()
        for turned in (False, True)
    ]
    np.testing.assert_array_equal(*scores)


def test_binary_networks(write_gossamer, write_onnx):
    grey = Preprocess((0.0,), (1.0,), 16, channels=1)
    opened = open_network(write_gossamer(BRIGHT, grey, ("ship",)), open_session)
    assert (opened.binary, opened.count, opened.classes) == (True, 2, ("background", "ship"))
    assert not opened.probabilities
    sigmoid = network([("Sub", "xb", "a"), ("Sigmoid", "a", "y")], channels=1, b=np.full((1, 1, 1, 1), 0.5, np.float32))
    opened = open_network(write_onnx(sigmoid), open_session, mean=[0.0], std=[1.0])
    assert opened.probabilities
    assert opened.classes == ("background", "foreground")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"\x08\x09", r"reads one batch of images in .*net\.onnx, but it has 0 graphs where one is expected"),
        (
            network([("Mul", "xw", "y")], w=np.ones((1, 3, 1, 1), np.float32))[:-30],
            r"but it has a field that ends outside",
        ),
        (
            POOLED,
            r"expected a segmentation network in .*, scores \(1, classes, 256, 256\) .*, got an output of \(1, 3\)",
        ),
        (
            network([("Resize", ("x", "", "s"), "y")], s=np.array([1, 1, 0.5, 0.5], np.float32)),
            r"got an output of \(1, 3, 128, 128\)",
        ),
        (network([("Conv", "xw", "y")], w=kernel(300, 3, 1, 1)), r"expected at most 256 classes, .*, got 300"),
        (network([("Identity", "x", "y")], batch=8), r"float32 \(N, C, H, W\), in .*, got float32 \(8, 3, any, any\)"),
        (network([("Identity", "x", "y")], dtype=TensorProto.DOUBLE), r"got another type \(any, 3, any, any\); export"),
        (BRIGHT, r"expected a network of 3 channels in .*net\.onnx, got 1; check --mean"),
        (
            network([("Nonsense", "x", "y")]),
            r"expected a network that the runtime opens in .*net\.onnx, but: .*Nonsense",
        ),
    ],
)
def test_other_networks_are_refused(write_onnx, model, message, capfd):
    with pytest.raises(ValueError, match=message) as caught:
        open_network(write_onnx(model), open_session, **PLAIN)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "the runtime says nothing of its own"


def test_a_tile_that_does_not_fit_is_refused(write_onnx, capfd):
    path = write_onnx(EVEN_ONLY)
    assert open_network(path, open_session, tile=48, **PLAIN).channels == 6
    with pytest.raises(ValueError, match=r"to read tiles of 49x49 pixels, but: .*; choose another --tile"):
        open_network(path, open_session, tile=49, **PLAIN)
    assert capfd.readouterr().err == ""


def test_what_is_not_known_or_known_twice_is_said(write_onnx, write_gossamer, tmp_path):
    preprocess = Preprocess((0.0,) * 3, (1.0,) * 3, 16)
    stored = write_gossamer(CHANNEL, preprocess, ("a", "b"))
    with pytest.raises(ValueError, match=r"expected 3 names of classes in .*net\.gossamer, got 2"):
        open_network(stored, open_session)
    with pytest.raises(ValueError, match=r"expected --mean and --std for an \.onnx file only, .* holds its own"):
        open_network(stored, open_session, **PLAIN)
    with pytest.raises(ValueError, match=r"an \.onnx file does not say; give --mean and --std, one number a channel"):
        open_network(write_onnx(CHANNEL), open_session, mean=[0.0] * 3)
    with pytest.raises(ValueError, match=r"std needs 3 numbers, one per channel, got \[1\.0\]"):
        open_network(write_onnx(CHANNEL), open_session, mean=[0.0] * 3, std=[1.0])
    with pytest.raises(ValueError, match=r"expected a network, a \.gossamer or an \.onnx file, got net\.pt"):
        open_network(tmp_path.relative_to(tmp_path) / "net.pt", open_session)
    stored.write_bytes(stored.read_bytes()[:-9])
    with pytest.raises(CorruptFile):
        open_network(stored, open_session)


def test_scores_that_are_no_numbers_are_refused(write_onnx):
    path = write_onnx(network([("Log", "x", "y")]))
    opened = open_network(path, open_session, tile=16, **PLAIN)
    opened.scores(np.ones((16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match=r"the network .*net\.onnx gives scores that are infinite or no numbers"):
        opened.scores(np.zeros((16, 16, 3), np.uint8))
