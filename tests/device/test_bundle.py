# SPDX-License-Identifier: Apache-2.0
"""A bundle runs by itself where nothing but its requirements is, answers as here, and says where it does not."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from packaging.version import Version

from gossamer import cli_board
from gossamer.cli import main
from gossamer.cli_bundle import ENTRIES
from gossamer.data.preprocess import Preprocess
from gossamer.device.board_texts import PINS, PYTHON
from gossamer.device.imports import PACKAGE, needed
from gossamer.runtime.providers import PROVIDERS
from tests.conftest import ONNXRUNTIME
from tests.device.conftest import CHANNEL, network, noise, save
from tests.device.detectors import save_scene, write_detector

SCENES = {"a.png": [(0, 0, 0), (1, 2, 3)], "b.jpg": [(1, 1, 1)], "c.tif": []}
BRIGHTEST = network([("GlobalAveragePool", "x", "p"), ("Flatten", "p", "y")])  # a classifier: which channel is
#: In the interpreter that a script starts: no module but these and the standard library's.
SITECUSTOMIZE = f"""
import sys
ALLOWED = set("gossamer,PIL,{ONNXRUNTIME}".split(","))

class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {{top!r}}", name=top)

sys.meta_path.insert(0, Nothing())
"""


def bundle(*words: object) -> int:
    return main(["bundle", *map(str, words)])


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, squares in SCENES.items():
        save_scene(folder / name, 200, 160, squares, **({"quality": 95} if name == "b.jpg" else {}))
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory, photos) -> Path:
    """The bundle of a detector with pictures; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("made")
    assert bundle(write_detector(folder / "mine.gossamer"), "--out", folder / "b", "--pictures", photos) == 0
    return folder / "b"


@pytest.fixture
def copied(packed, tmp_path) -> Path:
    """The same, for a test alone; as a board has it, elsewhere."""
    return shutil.copytree(packed, tmp_path / "board" / "it")


@pytest.fixture
def on_board(tmp_path):
    """Runs a bundle's script from another folder, where only the modules of its requirements are found."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(SITECUSTOMIZE)

    def run(script: Path, *words: object, allowed: bool = True) -> subprocess.CompletedProcess[str]:
        if not allowed:
            (place / "sitecustomize.py").write_text(SITECUSTOMIZE.replace("numpy,", ""))
        known = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [script, *map(str, words)], capture_output=True, text=True, check=False, env=known, cwd=tmp_path
        )

    return run


def json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Modes and bytes of all files."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def change(path: Path, edit) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


# --- it runs by itself -----------------------------------------------------------------------------------------


def test_the_script_detects_as_gossamer_does_here(packed, photos, on_board, tmp_path):
    assert main(["detect", str(packed / "network.gossamer"), str(photos), "--out", str(tmp_path / "here")]) == 0
    done = on_board(packed / "run.sh", photos, "--out", "there", "--threads", 1)
    assert (done.returncode, done.stderr) == (0, "")
    here, there = (json_lines(tmp_path / name / "detections.jsonl") for name in ("here", "there"))
    assert len(here) == 3
    assert there == here
    assert {path.name for path in (tmp_path / "there").iterdir()} == {"a.jpg", "b.jpg", "c.jpg", "detections.jsonl"}


def test_the_check_passes_and_files_what_it_saw(copied, on_board):
    done = on_board(copied / "check.sh")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("the same, but for rounding\n")
    found = json.loads((copied / "check.json").read_text())
    assert found["same"]
    assert found["machine"]["python"]
    assert {name: row["count"] for name, row in found["pictures"].items()} == {
        "test.png": 0,
        "pictures/a.png": 2,
        "pictures/b.jpg": 1,
        "pictures/c.tif": 0,
    }


def test_milliseconds_of_each_step(copied, on_board):
    done = on_board(copied / "latency.sh", "--rounds", 3, "--threads", 1, 2)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((copied / "latency.json").read_text())
    assert found["rounds"] == 3
    assert found["picture"] == "a.png"
    assert found["file_decode_ms"] > 0
    assert set(found["threads"]) == {"1", "2"}
    for steps in found["threads"].values():
        assert set(steps) == {"decode", "network", "boxes"}
        assert all(0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"] for row in steps.values())


@pytest.mark.parametrize(
    ("model", "kind", "words", "says"),
    [
        (BRIGHTEST, "classification", (), "a.png: "),
        (CHANNEL, "segmentation", ("--out", "masks"), "1 of 1 masks are in masks"),
    ],
    ids=["classification", "segmentation"],
)
def test_other_kinds_of_networks(model, kind, words, says, write_gossamer, on_board, tmp_path, capsys):
    picture = save(tmp_path / "a.png", noise(40, 50))
    stored = write_gossamer(model, Preprocess((0.0,) * 3, (1.0,) * 3, 16), ("red", "green", "blue"))
    assert bundle(stored, "--out", tmp_path / "b", "--pictures", picture) == 0
    assert f"for {kind}" in capsys.readouterr().out
    assert on_board(tmp_path / "b" / "run.sh", picture, *words).stdout.startswith(says)
    assert on_board(tmp_path / "b" / "check.sh").returncode == 0
    answer = json.loads((tmp_path / "b" / "expected.json").read_text())["pictures"]["pictures/a.png"]["answer"]
    assert {name for name, _ in answer} == {"red", "green", "blue"}
    assert sum(share for _, share in answer) == pytest.approx(1, abs=1e-5)
    change(tmp_path / "b" / "expected.json", lambda value: value["pictures"]["test.png"]["answer"][0].__setitem__(1, 0))
    assert on_board(tmp_path / "b" / "check.sh").returncode == 1


def test_a_classifier_names_the_likeliest(write_gossamer, on_board, tmp_path):
    (tmp_path / "in").mkdir()
    for name, colour in (("1.png", (250, 5, 5)), ("2.png", (5, 5, 250))):
        save(tmp_path / "in" / name, np.full((40, 60, 3), colour, np.uint8))
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    stored = write_gossamer(BRIGHTEST, Preprocess((0.0,) * 3, (0.1,) * 3, 16), ("red", "green", "blue"))
    assert bundle(stored, "--out", tmp_path / "b") == 0
    done = on_board(tmp_path / "b" / "run.sh", tmp_path / "in", "--best", 1)
    assert done.returncode == 1
    assert done.stdout == "1.png: red 1.000\n2.png: blue 1.000\n"
    assert re.fullmatch(r"cannot read the image \S+3.png: .*\n", done.stderr)


def test_the_decoded_network_for_other_runtimes(packed, tmp_path):
    network = packed / "network.gossamer"
    assert main(["decode", str(network), "--out", str(tmp_path / "here.onnx")]) == 0
    assert cli_board.main(["decode", str(network), "--out", str(tmp_path / "there.onnx")]) == 0
    assert (tmp_path / "there.onnx").read_bytes() == (tmp_path / "here.onnx").read_bytes()


# --- the check can fail ----------------------------------------------------------------------------------------


def _first(value: dict) -> dict:
    return value["pictures"]["pictures/a.png"]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda value: value.update(decoded_sha256="0" * 64), "bytes, OTHERS as where it was packed"),
        (lambda value: _first(value)["outputs"].__setitem__(4, 99.0), "outputs differ by 1"),
        (lambda value: _first(value)["answer"].pop(), "2 boxes, 1 on one side only"),
        (lambda value: _first(value)["answer"].append(["leaf", 0.9, 0.1, 0.1, 0.2, 0.2]), "1 on one side only"),
        (lambda value: _first(value)["answer"][0].__setitem__(0, "leaf"), "2 on one side only"),
        (lambda value: _first(value)["answer"][0].__setitem__(1, 0.9), "scores differ by"),
        (lambda value: _first(value)["answer"][0].__setitem__(4, 0.2), "corners by 5.0e-02: MORE THAN ROUNDING"),
    ],
)
def test_what_is_not_rounding_is_found(copied, capsys, edit, says):
    change(copied / "expected.json", edit)
    assert cli_board.main(["check", str(copied)]) == 1
    said = capsys.readouterr().out
    assert says in said
    assert said.endswith("NOT the same; check.json has the numbers\n")
    assert not json.loads((copied / "check.json").read_text())["same"]


def test_boxes_near_the_threshold_may_be_on_one_side(copied, capsys):
    change(copied / "expected.json", lambda value: _first(value)["answer"].append(["leaf", 0.505, 0, 0, 0.1, 0.1]))
    assert cli_board.main(["check", str(copied)]) == 0


@pytest.mark.parametrize("name", ["network.gossamer", "pictures/b.jpg"])
def test_what_was_changed_on_the_way_is_refused(copied, capsys, name):
    content = bytearray((copied / name).read_bytes())
    content[-1] ^= 1
    (copied / name).write_bytes(content)
    assert cli_board.main(["check", str(copied)]) == 1
    assert (
        capsys.readouterr().err == f"CorruptFile: {copied / name}: it is not as it was packed; copy the bundle again\n"
    )


# --- what is in it ---------------------------------------------------------------------------------------------


def test_the_same_network_gives_the_same_bytes(packed, photos, tmp_path):
    assert bundle(packed / "network.gossamer", "--out", tmp_path / "again", "--pictures", photos) == 0
    first, again = tree(packed), tree(tmp_path / "again")
    assert again == first
    assert (packed.stat().st_mode & 0o777, first["run.sh"][0] & 0o777) == (0o755, 0o755)
    assert {"LICENSE", "README.md", "board.py", "check.sh", "latency.sh", "requirements.txt"} <= first.keys()
    assert first["network.gossamer"][1] == (packed.parent / "mine.gossamer").read_bytes()


def test_it_holds_only_what_runs_it(packed):
    there = {path.relative_to(packed) for path in packed.rglob("*.py")}
    assert Path("gossamer/device/detect.py") in there
    for absent in ("gossamer/cli.py", "gossamer/device/bundle.py", "gossamer/zoo/ssdlite.py", "gossamer/report"):
        assert not (packed / absent).exists()
    text = "".join(path.read_text() for path in packed.rglob("*") if path.suffix in (".md", ".txt", ".sh", ".json"))
    assert str(packed.parent) not in text, "nothing says where it was made"


def test_requirements_are_exact_and_all_there(packed):
    lines = (packed / "requirements.txt").read_text().splitlines()
    assert [line.split("==")[0] for line in lines] == sorted(PINS)
    assert all(re.fullmatch(r"[a-z]+==\d+(\.\d+)+", line) for line in lines)
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name, _, least = requirement.partition(">=")
        assert name not in PINS or Version(PINS[name]) >= Version(least)
    assert project["requires-python"] == f">={'.'.join(map(str, PYTHON))}"
    imported = set()
    for path in needed(ENTRIES).values():
        for node in ast.parse(path.read_text()).body:  # at the top of a module: what it cannot do without
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"gossamer"}
    assert foreign == {"numpy", "PIL"}, "what else is needed must be among the requirements"


def test_the_launcher_says_what_is_missing(copied, on_board):
    done = on_board(copied / "run.sh", "a.png", allowed=False)
    assert done.returncode == 1
    assert done.stderr == "expected the packages of requirements.txt, numpy is missing; README.md says how\n"
    code = "import runpy, sys; sys.version_info = (3, 6, 9); runpy.run_path(sys.argv[1], run_name='__main__')"
    old = subprocess.run([sys.executable, "-c", code, copied / "board.py"], capture_output=True, text=True, check=False)
    assert old.stderr == "expected Python 3.11 or newer, got 3.6; README.md says how\n"


# --- what cannot be packed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("net.onnx --out new", "expected a .gossamer file, got net.onnx; 'gossamer store' makes one of an .onnx file"),
        ("net.gossamer --out full", "expected a folder that is new or empty, full holds files; choose another --out"),
        ("net.gossamer --out new --pictures gone", "expected an image or a folder of images at gone, found none"),
        ("net.gossamer --out new --pictures full/x.png", "cannot read the image"),
        ("flat.gossamer --out new", "expected a classifier, a segmentation network or a detector with its head in"),
        ("gone.gossamer --out new", "expected a .gossamer file, found none at gone.gossamer"),
    ],
)
def test_what_cannot_be_packed_is_one_sentence(words, message, write_gossamer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_detector(tmp_path / "net.gossamer")
    write_detector(tmp_path / "flat.gossamer", head=None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x.png").write_bytes(b"no picture")
    before = tree(tmp_path)
    assert bundle(*words.split()) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert (said.err.count("\n"), said.out) == (1, "")
    assert tree(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["full"]


@pytest.mark.parametrize("out", [".", "../b"])
def test_an_empty_folder_is_taken(tmp_path, monkeypatch, out):
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    assert bundle(write_detector(tmp_path / "net.gossamer"), "--out", out) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "net.gossamer"]
    assert (tmp_path / "b" / "run.sh").exists()


# --- accelerators ----------------------------------------------------------------------------------------------


def runtime_with_accelerators(starts: tuple[str, ...]) -> SimpleNamespace:
    """An ONNX Runtime that was built with TensorRT and CUDA; `starts` are the providers that work here."""
    real = onnxruntime.InferenceSession
    asked: list[list[str]] = []

    def session(model: bytes, options: object, providers: list[str]) -> SimpleNamespace:
        asked.append(providers)
        made = real(model, providers=["CPUExecutionProvider"])
        working = [name for name in providers if name in starts]
        return SimpleNamespace(run=made.run, get_inputs=made.get_inputs, get_providers=lambda: working)

    return SimpleNamespace(
        asked=asked,
        InferenceSession=session,
        SessionOptions=SimpleNamespace,
        get_available_providers=lambda: list(PROVIDERS.values()),
    )


@pytest.mark.parametrize("starts", [True, False])
def test_an_accelerator_is_asked_first(copied, monkeypatch, capsys, starts):
    there = list(PROVIDERS.values())
    fake = runtime_with_accelerators(tuple(there if starts else there[1:]))
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    assert cli_board.main(["check", str(copied), "--provider", "tensorrt"]) == (0 if starts else 1)
    assert fake.asked == [["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]]
    if not starts:
        assert "expected TensorrtExecutionProvider to start, and it does not" in capsys.readouterr().err


def test_an_accelerator_that_is_not_there(copied, capsys):
    assert cli_board.main(["latency", str(copied), "--provider", "tensorrt"]) == 1
    assert "expected an ONNX Runtime that has TensorrtExecutionProvider, this one has " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli_board.main(["check", str(copied), "--provider", "npu"])
    assert capsys.readouterr().err.count("\n") == 1


# --- what was seen on 64-bit ARM -------------------------------------------------------------------------------


def test_the_page_says_what_an_emulated_board_did():
    found = json.loads((PACKAGE.parent / "results" / "aarch64" / "checks.json").read_text())
    page = " ".join((PACKAGE.parent / "docs" / "board.md").read_text().split())
    assert found["same"]
    assert found["decoded_sha256"]["here"] == found["decoded_sha256"]["there"]
    assert found["onnxruntime"] == PINS["onnxruntime"], "run sh benchmarks/aarch64.sh with these requirements"
    assert sum(row["count"] for row in found["pictures"].values()) == found["boxes_drawn"]["there"] == 4
    assert "the same four people" in page
    assert max(row["outputs"] for row in found["pictures"].values()) <= 2e-6
    assert "at most 0.000002" in page
