# SPDX-License-Identifier: Apache-2.0
"""`gossamer export`: files and what goes beside them, all or none, and one sentence where it cannot be."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from gossamer import container
from gossamer.cli import main
from gossamer.data.preprocess import Preprocess
from gossamer.detection import Head
from gossamer.exporters import TARGETS
from gossamer.exporters.check import BATCH, RANDOM_IMAGES
from gossamer.exporters.onnx_file import OnnxFile
from gossamer.exporters.written import place
from gossamer.runtime.session import available
from tests.device.detectors import HEAD, squares_network, write_detector
from tests.exporters.networks import CLASSES, PREPROCESS, float_network, int8_network, network, write_network

BUILT_IN = ["onnx", *(["openvino"] if "openvino" in available() else [])]


@pytest.fixture
def stored(tmp_path):
    return write_network(tmp_path / "net.gossamer", float_network("shortcut"))


def export(*words: object) -> int:
    return main(["export", *map(str, words)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("target", BUILT_IN)
def test_files_and_what_goes_beside_them(target, stored, tmp_path, capsys):
    assert export(stored, "--to", target, "--out", tmp_path / "there") == 0
    main_file = f"net{TARGETS[target].ending}"
    beside = json.loads((tmp_path / "there" / f"{main_file}.json").read_text())
    assert names(tmp_path / "there") == sorted([*beside["files"], f"{main_file}.json"])
    assert beside["files"][0] == main_file
    assert Preprocess.from_json(beside["preprocess"]) == replace(PREPROCESS, size=(16, 16))
    assert beside["classes"] == list(CLASSES)
    assert beside["input"] == {"name": "input0", "shape": [None, 3, 16, 16], "dtype": "float32", "layout": "NCHW"}
    assert "head" not in beside
    out = capsys.readouterr().out
    assert f"{tmp_path / 'there' / main_file}  " in out
    assert re.search(
        r"is within \d\.\de[-+]\d\d of ONNX Runtime [\d.]+, \d\.\de[-+]\d\d on average, as a share of", out
    )
    assert beside["check"]["difference"] < 1e-5


def test_what_is_beside_is_enough_to_run_it(stored, tmp_path):
    assert export(stored, "--to", "onnx") == 0
    beside = json.loads((tmp_path / "net.onnx.json").read_text())
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    way = beside["preprocess"]
    x = ((pixels / way["scale"] - way["mean"]) / way["std"]).astype(np.float32).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    (got,) = session.run(None, {beside["input"]["name"]: x})
    (expected,) = onnxruntime.InferenceSession(float_network("shortcut")).run(
        None, {"input0": PREPROCESS.apply(pixels)}
    )
    assert np.abs(got - expected).max() < 1e-5


def test_onnx_is_what_decode_writes(stored, tmp_path):
    container.decode(stored, tmp_path / "decoded.onnx")
    assert export(stored, "--to", "onnx") == 0
    assert (tmp_path / "net.onnx").read_bytes() == (tmp_path / "decoded.onnx").read_bytes()


def test_the_head_of_a_detector_goes_along(tmp_path):
    assert export(write_detector(tmp_path / "net.gossamer"), "--to", "onnx") == 0
    beside = json.loads((tmp_path / "net.onnx.json").read_text())
    assert Head.from_json(beside["head"]) == HEAD
    assert beside["outputs"] == [{"name": "y", "shape": [None, 16, 6], "dtype": "float32"}]


@pytest.mark.parametrize("target", BUILT_IN)
def test_int8(target, tmp_path, capsys):
    stored = write_network(tmp_path / "net.gossamer", int8_network("shortcut"))
    assert export(stored, "--to", target) == 0
    assert "within" in capsys.readouterr().out


def test_pictures(stored, tmp_path, capsys):
    for index in range(3):
        path = tmp_path / "photos" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), 80 * index, np.uint8)).save(path)
    assert export(stored, "--to", "onnx", "--data", tmp_path / "photos") == 0
    assert "on 4 random images and 3 pictures; 0 answers changed" in capsys.readouterr().out
    assert json.loads((tmp_path / "net.onnx.json").read_text())["check"]["pictures"] == 3


@dataclass(frozen=True)
class Remembering(OnnxFile):
    """ONNX, how often it was opened, and what it was run on."""

    seen: list[np.ndarray] = field(default_factory=list)
    times: list[str] = field(default_factory=list)

    @contextmanager
    def opened(self, exported):
        self.times.append("opened")
        with super().opened(exported) as run:
            yield lambda images: (self.seen.extend(images), run(images))[1]


@pytest.mark.parametrize("detector", [False, True])
def test_pictures_are_read_as_in_use(detector, tmp_path, monkeypatch):
    """A detector sees them whole, squeezed to its size; what gives each picture a class sees the middle."""
    way = replace(PREPROCESS, size=96)
    model = squares_network(anchors=24 * 24, side=96)
    stored = write_detector(tmp_path / "net.gossamer", model, HEAD if detector else None, preprocess=way)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 300, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    (tmp_path / "photos").mkdir()
    picture.save(tmp_path / "photos" / "wide.png")
    target = Remembering()
    monkeypatch.setitem(TARGETS, "onnx", target)
    assert export(stored, "--to", "onnx", "--data", tmp_path / "photos") == 0
    *random, seen = target.seen
    assert len(random) == RANDOM_IMAGES
    expected = way.squeeze(picture) if detector else way.fit(picture)
    assert not np.array_equal(way.squeeze(picture), way.fit(picture))
    assert np.array_equal(seen, way.apply(expected[None])[0])


def test_more_pictures_than_are_in_memory_at_once(stored, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    count = BATCH + 3
    for index in range(count):
        Image.fromarray(np.full((16, 16, 3), index, np.uint8)).save(tmp_path / "photos" / f"{index:03}.png")
    target = Remembering()
    monkeypatch.setitem(TARGETS, "onnx", target)
    assert export(stored, "--to", "onnx", "--data", tmp_path / "photos") == 0
    grey = [float(PREPROCESS.apply(np.full((1, 16, 16, 3), index, np.uint8))[0, 0, 0, 0]) for index in range(count)]
    assert [float(image[0, 0, 0]) for image in target.seen[RANDOM_IMAGES:]] == grey
    assert target.times == ["opened"]
    assert json.loads((tmp_path / "net.onnx.json").read_text())["check"]["pictures"] == count


def test_where_it_differs_nothing_is_written(stored, tmp_path, capsys, monkeypatch):
    class Wrong(OnnxFile):
        ending = ".pte"

        def export(self, model, example):
            exported = OnnxFile().export(model, example)
            return type(exported)({".pte": exported.files[".onnx"]}, exported.input, exported.outputs)

        @contextmanager
        def opened(self, exported):
            whole = type(exported)({".onnx": exported.files[".pte"]}, exported.input, exported.outputs)
            with OnnxFile().opened(whole) as run:
                yield lambda images: [output * 1.01 for output in run(images)]

    monkeypatch.setitem(TARGETS, "executorch", Wrong())
    before = names(tmp_path)
    assert export(stored, "--to", "executorch") == 1
    assert "of the output's spread and 0.001 on average, got " in capsys.readouterr().err
    assert names(tmp_path) == before


def test_a_full_disk_leaves_nothing(stored, tmp_path, capsys, monkeypatch):
    whole = Path.write_bytes

    def full(self, data):
        if ".json" in self.name:
            raise OSError(28, "No space left on device", str(self))
        return whole(self, data)

    before = names(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", full)
    assert export(stored, "--to", "onnx") == 1
    assert names(tmp_path) == before
    assert "the disk of" in capsys.readouterr().err


def test_a_size_for_a_network_that_reads_any(tmp_path, capsys):
    body = "a = Conv<pads=[1,1,1,1]>(input0, w0, b0)\n output0 = Relu(a)"
    free = network("", body, {"w0": (2, 3, 3, 3), "b0": (2,)})
    proto = onnx.load_from_string(free)
    for index, size in ((2, "H"), (3, "W")):
        proto.graph.input[0].type.tensor_type.shape.dim[index].dim_param = size
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    stored = write_network(tmp_path / "net.gossamer", proto.SerializeToString())
    assert export(stored, "--to", "onnx", "--size", "24") == 0
    beside = json.loads((tmp_path / "net.onnx.json").read_text())
    assert Preprocess.from_json(beside["preprocess"]).shape == (3, 24, 24)
    assert beside["input"]["shape"] == [None, 3, None, None]


def test_a_size_at_which_the_network_does_not_run(tmp_path, capfd):
    model = onnx.load_from_string(float_network("places"))  # its Reshape needs 6 numbers a place, and has them at any
    for node in model.graph.node:
        if node.op_type == "Conv" and node.output[0] == "a":  # a window of 3 pixels without padding finds none in 2
            del node.attribute[:]
    for index, size in ((2, "H"), (3, "W")):
        model.graph.input[0].type.tensor_type.shape.dim[index].dim_param = size
    model.graph.output[0].type.tensor_type.ClearField("shape")
    stored = write_network(tmp_path / "net.gossamer", model.SerializeToString())
    assert export(stored, "--to", "onnx", "--size", "2") == 1
    said = capfd.readouterr().err
    assert said.startswith(f"ValueError: expected {stored} to read pictures of 2x2 pixels, but: ")
    assert said.count("\n") == 1
    assert names(tmp_path) == ["net.gossamer"]


def test_a_detector_has_the_size_that_its_head_is_for(tmp_path, capsys):
    stored = write_detector(tmp_path / "net.gossamer", squares_network(side="any"))
    assert export(stored, "--to", "onnx", "--size", "32") == 1
    assert "reads 16x16 pixels and nothing else; leave it out" in capsys.readouterr().err
    assert export(stored, "--to", "onnx", "--size", "16") == 0


def test_a_size_that_the_network_does_not_read(stored, capsys):
    assert export(stored, "--to", "onnx", "--size", "24") == 1
    assert "reads 16x16 pixels and nothing else; leave it out" in capsys.readouterr().err


def test_other_files_are_refused(tmp_path, capsys):
    assert export(tmp_path / "net.onnx", "--to", "onnx") == 1
    assert "expected a .gossamer file, got " in capsys.readouterr().err
    assert export(tmp_path / "net.gossamer", "--to", "onnx") == 1
    assert "expected a .gossamer file, found none at " in capsys.readouterr().err


def test_another_ending_is_refused(stored, tmp_path, capsys):
    assert export(stored, "--to", "onnx", "--out", tmp_path / "net.tflite") == 1
    assert "expected a file that ends in .onnx, or a folder, for --out" in capsys.readouterr().err


def test_places(tmp_path):
    stored = Path("runs/model.gossamer")
    assert place(stored, None, ".ncnn.param") == Path("runs/model.ncnn.param")
    assert place(stored, Path("a/b.pte"), ".pte") == Path("a/b.pte")
    (tmp_path / "x.y").mkdir()
    assert place(stored, tmp_path / "x.y", ".pte") == tmp_path / "x.y" / "model.pte"
    with pytest.raises(ValueError, match=r"expected a file that ends in \.ncnn\.param"):
        place(stored, Path(".ncnn.param"), ".ncnn.param")


def test_a_target_that_is_none(stored, capsys):
    with pytest.raises(SystemExit):
        export(stored, "--to", "coreml")
    assert "invalid choice" in capsys.readouterr().err
