# SPDX-License-Identifier: Apache-2.0
"""Detectors: what their file says is used and checked, and whatever is none is refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.data.preprocess import Preprocess
from gossamer.device.detector import open_detector
from gossamer.runtime.session import open_session
from tests.device.conftest import CHANNEL, noise
from tests.device.detectors import CLASSES, HEAD, PREPROCESS, SQUARES, squares_network, write_detector

PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.gossamer"


def test_a_gossamer_file_says_everything(path):
    opened = open_detector(write_detector(path), open_session)
    assert (opened.head, opened.classes, opened.preprocess.size) == (HEAD, CLASSES, (16, 16))
    batch = PREPROCESS.apply(noise(16, 16)[None])
    np.testing.assert_allclose(opened.outputs(batch), open_session(SQUARES).run(batch)[0], atol=1e-5)


def test_an_onnx_file_is_told_everything(write_onnx):
    opened = open_detector(write_onnx(SQUARES), open_session, head=HEAD.to_json(), mean=[0.4] * 3, std=[0.2] * 3)
    assert opened.preprocess == Preprocess((0.4,) * 3, (0.2,) * 3, (16, 16))
    assert opened.classes == ("class 0", "class 1")


def test_the_size_of_a_network_that_leaves_it_free_is_its_files(path, write_onnx):
    free = squares_network(side="side")
    assert open_detector(write_detector(path, free), open_session).preprocess.size == (16, 16)
    with pytest.raises(ValueError, match=r"pictures of one size in .*net\.onnx, .*, got any size; export it with a"):
        open_detector(write_onnx(free), open_session, head=HEAD.to_json(), **PLAIN)


def test_names_of_classes(path):
    opened = open_detector(write_detector(path, classes=("cherry\x1b[31m\n", "leaf")), open_session)
    assert opened.classes[0] == "cherry�[31m�", "a terminal is not to obey a file"
    assert opened.classes_named(["leaf"]) == {1}
    with pytest.raises(ValueError, match=r"expected classes of .*, got 'leef'; did you mean leaf\?; it knows cherry"):
        opened.classes_named(["leef"])
    with pytest.raises(ValueError, match=r"expected 2 names of classes in .*net\.gossamer, got 3"):
        open_detector(write_detector(path, classes=("a", "b", "c")), open_session)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"head": None},
            r"expected a detector in .*net\.gossamer, and it has no head; .*'gossamer predict' makes masks",
        ),
        (
            {"head": {"levels": []}},
            r"expected the head of a detector for .*net\.gossamer, but: a head must be an object",
        ),
        ({"head": 5}, r"expected the head of a detector for .*, but: a head must be an object"),
        (
            {"model": squares_network(anchors=8)},
            r"expected an output of \(1, 16, 6\), .*, got \(2, 8, 6\); the head is",
        ),
        ({"model": CHANNEL}, r"expected an output of \(1, 16, 6\), .* got \(1, 3, 16, 16\); the head is another net"),
        ({"model": squares_network(factor=np.inf)}, r"gives nothing but infinities or what are no numbers"),
        (
            {"preprocess": Preprocess((0.0,) * 3, (1.0,) * 3, 16, turned=True)},
            r"expected a detector that reads pictures upright in .*, this one turns them",
        ),
        ({"preprocess": Preprocess((0.0,), (1.0,), 16, channels=1)}, r"expected a network of 1 channels in .*, got 3"),
    ],
)
def test_what_is_no_detector_is_refused(path, options, message, capfd):
    with pytest.raises(ValueError, match=message) as caught:
        open_detector(write_detector(path, **options), open_session)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "the runtime says nothing of its own"


def test_a_size_that_the_network_does_not_read(path, capfd):
    odd = Preprocess((0.0,) * 3, (1.0,) * 3, 15)  # 3 x 3 cells cannot be shaped into 16 anchors
    with pytest.raises(ValueError, match=r"expected .*net\.gossamer to read pictures of 15x15 pixels, but: "):
        open_detector(write_detector(path, squares_network(side="side"), preprocess=odd), open_session)
    assert capfd.readouterr().err == ""


def test_what_is_not_known_or_known_twice_is_said(path, write_onnx):
    stored, plain = write_detector(path), write_onnx(SQUARES)
    with pytest.raises(ValueError, match=r"expected --head for an \.onnx file only, .* holds its own; leave it out"):
        open_detector(stored, open_session, head=HEAD.to_json())
    with pytest.raises(ValueError, match=r"what the output of .*net\.onnx means, and .* does not say; give --head"):
        open_detector(plain, open_session, **PLAIN)
    with pytest.raises(ValueError, match=r"an \.onnx file does not say; give --mean and --std"):
        open_detector(plain, open_session, head=HEAD.to_json())
