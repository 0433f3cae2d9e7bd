# SPDX-License-Identifier: Apache-2.0
"""The command line: every verb works on the files that the last one wrote, and bad input is one sentence."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import gossamer.estimate
import gossamer.graph
from gossamer import container, filters, rates, tuning, weights
from gossamer.cli import main
from gossamer.measure.bench import short_names
from gossamer.recipes import RECIPES
from gossamer.runtime.session import open_session

ROOT = Path(__file__).resolve().parent.parent


def words(trained: Path, out: Path) -> list[str]:
    line = f"compress --model {trained / 'net.py'}:SmallNet --weights {trained / 'weights.safetensors'} "
    line += f"--data {trained / 'data.npz'} --mean .5 .5 .5 --std .25 .25 .25 --tolerance 3 --epochs 1 "
    line += f"--batch-size 64 --no-augment --out {out} --ledger {out}.json"
    return line.split()


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory) -> Path:
    """The folder of a finished run of `gossamer compress`."""
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main([*words(trained, out), "--quiet"]) == 0
    return out


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(trained, tmp_path, capsys):
    assert main([*words(trained, tmp_path / "run"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    for part in ("test: 600 images", "channel groups can be cut", "600 test images", "an epoch", "multiply-adds"):
        assert part in said, part
    assert not (tmp_path / "run").exists()


def asked(trained: Path, *more: str) -> list[str]:
    """A line of `estimate`."""
    line = words(trained, Path("nowhere"))
    at = line.index("--out")
    line[at : at + 4] = ["--ledger", str(trained / "estimate-ledger.json")]
    return ["estimate", *line[1:], *more]


@pytest.mark.parametrize(
    ("goal", "parts"),
    [
        ("--minimise bytes", ["fine grid", "provable on test"]),
        ("--minimise macs", ["uncut, float32", "85 % of the MACs, float32", "provable on test"]),
        ("--minimise latency", ["uncut, float32", "uncut, int8", "85 % of the MACs, int8"]),
    ],
)
def test_an_estimate_shows_what_needs_no_training(trained, capsys, monkeypatch, goal, parts):
    monkeypatch.setattr(gossamer.estimate, "MINUTE", 3600.0)
    monkeypatch.setattr(gossamer.estimate, "SHARES", (0.85,))
    assert main(asked(trained, *goal.split())) == 0
    said, progress = capsys.readouterr()
    for part in ("600 test images", "without training, on 600 images", "±", "training: ", *parts):
        assert part in said, part
    assert progress.startswith("reading the data ...\n"), "nobody looks at an empty terminal"
    assert "tracing the network ..." in progress


def test_an_estimate_says_what_fits(trained, capsys, monkeypatch):
    """The uncut network does not in either arithmetic, a cut one does in int8, and then its bits get fewer."""
    monkeypatch.setattr(gossamer.estimate, "MINUTE", 3600.0)
    line = asked(trained)
    at = line.index("--tolerance")
    line[at : at + 2] = ["--fit", "ram=1900", "bytes=1500", "--quiet"]
    traced = []
    exact = gossamer.graph.trace
    monkeypatch.setattr(gossamer.graph, "trace", lambda *given, **more: traced.append(1) or exact(*given, **more))
    monkeypatch.setattr(gossamer.estimate, "trace", None)
    assert main(line) == 0
    assert traced == [1], "once is enough"
    rows = [row for row in capsys.readouterr().out.splitlines() if row.startswith("  ") and ", " in row]
    assert all("no: ram" in row for row in rows if "float32" in row)
    assert "no: ram 1.08 times the limit, bytes" in next(row for row in rows if "uncut, int8" in row)
    assert rows[-1].split()[0] == "strength"
    assert "int8" in rows[-1]
    assert rows[-1].rstrip().endswith("yes")


def test_after_a_minute_an_estimate_begins_nothing_more(trained, capsys, monkeypatch):
    monkeypatch.setattr(gossamer.estimate, "MINUTE", 1e-6)
    assert main(asked(trained, "--minimise", "macs", "--quiet")) == 0
    said = capsys.readouterr().out
    assert "85 % of the MACs" in said
    assert "70 % of the MACs" not in said
    assert "training: not timed" in said


@pytest.mark.parametrize("words", ["--out run", "--workers 2", "--control", "--recipe post-training"])
def test_an_estimate_refuses_words_that_would_do_nothing(trained, capsys, words):
    flag, _, value = words.partition(" ")
    try:
        status = main(asked(trained, *words.split()))
    except SystemExit as ended:
        status = ended.code
    assert status
    said = capsys.readouterr().err
    assert (f"got {flag}" if flag != "--recipe" else f"got '{value}'; leave it out") in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--fit bytes=200X", "macs=20M, latency=5ms or ram=512k, got bytes=200X; k is 1,000"),
        ("--fit ram=512ms", "got ram=512ms"),
        ("--fit macs=5ms", "got macs=5ms"),
        ("--fit bytes=200k --tolerance 1", "expected --fit or --tolerance, got both"),
        ("--fit bytes=200k bytes=3", "expected each limit of --fit once"),
    ],
)
def test_limits_that_make_no_sense_are_refused(words, message, capsys):
    line = f"compress --model resnet20 --weights w.pt --data cifar10:examples/cifar10 --out x {words}"
    with suppress(SystemExit):
        assert main(line.split()) == 1
    assert message in capsys.readouterr().err


def test_a_network_is_stored_as_it_is(trained, run, tmp_path, capsys):
    made = f"--weights {trained / 'weights.safetensors'} --preset half --size 8 --classes 4".split()
    sizes = []
    for error in ("0", "0.001"):
        out = tmp_path / f"{error}.gossamer"
        line = ["store", f"{trained / 'net.py'}:SmallNet", *made, "--error", error, "--out", str(out)]
        assert main(line) == 0
        sizes.append(out.stat().st_size)
        assert f"{sizes[-1]:,} bytes" in capsys.readouterr().out
        assert main(["inspect", str(out)]) == 0
        kept = "within 0.001 of its tensor's root mean square" if float(error) else "to the bit"
        assert f"stored as it was: every number {kept}" in capsys.readouterr().out
    assert sizes[1] < 0.6 * sizes[0]
    assert main(["store", str(run / "original.onnx"), "--preset", "half", "--out", str(tmp_path / "a.gossamer")]) == 0
    assert main(["decode", str(tmp_path / "a.gossamer"), "--out", str(tmp_path / "a.onnx")]) == 0
    sessions = [open_session(path) for path in (run / "original.onnx", tmp_path / "a.onnx")]
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    before, after = (session.run(x)[0] for session in sessions)
    assert before.tobytes() == after.tobytes()


def test_a_fast_file_has_no_tensor_of_the_mixing_coder(tmp_path):
    coders = []
    for coding in ("small", "fast"):
        out = tmp_path / f"{coding}.gossamer"
        assert (
            main(["store", "lenet5", "--error", "0.3", "--coding", coding, "--preset", "mnist", "--out", str(out)]) == 0
        )
        coders.append({entry.coder for entry in container.read(out).stored})
    assert "mixing" in coders[0]
    assert "mixing" not in coders[1]


def test_what_a_detector_of_the_zoo_reads_is_known(tmp_path):
    assert main(["store", "fastestdet", "--error", "0.1", "--out", str(tmp_path / "a.gossamer")]) == 0
    stored = container.read(tmp_path / "a.gossamer").payload
    assert stored.preprocess["size"] == [352, 352]
    assert stored.preprocess["bgr"]
    assert "head" in stored.plan
    assert len(stored.classes) == 0


def test_a_stored_network_knows_what_its_classes_are_called(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["store", "ssdlite224:width=0.25", "--error", "0.3", "--classes", "2"]
    assert main([*line, "--class-names", "person", "car"]) == 0
    assert container.read(tmp_path / "ssdlite224.gossamer").payload.classes == ("person", "car")
    assert main([*line, "--trainable", "--class-names", "person", "car"]) == 0
    assert main([*line, "--weights", "ssdlite224.gossamer", "--out", "again.gossamer"]) == 0
    assert container.read(tmp_path / "again.gossamer").payload.classes == ("person", "car"), "as in the file of weights"
    capsys.readouterr()
    assert main([*line, "--class-names", "person", "car", "dog"]) == 1
    assert "expected a name for each of 2 classes, got 3: person, car, dog" in capsys.readouterr().err


def test_a_network_is_stored_to_be_trained_further(trained, tmp_path, capsys):
    from gossamer.zoo.models import load_model
    from gossamer.zoo.weight_files import load_weights, read_weights

    network, weights = f"{trained / 'net.py'}:SmallNet", trained / "weights.safetensors"
    line = ["store", network, *f"--weights {weights} --preset half --size 8 --classes 4".split()]
    out = tmp_path / "a.gossamer"
    assert main([*line, "--error", "0.01", "--trainable", "--out", str(out)]) == 0
    assert main(["inspect", str(out)]) == 0
    assert "batch norms apart, to be trained further" in capsys.readouterr().out
    before, after = read_weights(weights), read_weights(out)
    assert after.keys() == {name for name in before if not name.endswith("num_batches_tracked")}
    for name, value in after.items():
        bound = 0.01 * float(before[name].square().mean().sqrt())
        assert (value - before[name]).abs().max() <= bound, name
    load_weights(load_model(network, 4), out)
    assert main([*line, "--out", str(out)]) == 0
    with pytest.raises(ValueError, match=r"that `gossamer store --trainable` wrote, got one whose batch norms may be"):
        read_weights(out)


def test_parameters_of_one_element_are_stored_to_be_trained_further(tmp_path):
    """A mask for one class ends in one bias, which stays in the graph."""
    from gossamer.zoo.models import load_model
    from gossamer.zoo.weight_files import load_weights

    words = "unet:width=2 --classes 1 --preset half --size 32 --trainable --error 0.01 --out"
    line = ["store", *words.split()]
    assert main([*line, str(tmp_path / "a.gossamer")]) == 0
    made = load_model("unet:width=2", 1)
    load_weights(made, tmp_path / "a.gossamer")
    load_again = [*line[:2], "--weights", str(tmp_path / "a.gossamer"), *line[2:], str(tmp_path / "b.gossamer")]
    assert main(load_again) == 0
    first, again = (container.read(tmp_path / f"{name}.gossamer").payload for name in "ab")
    assert first.graph == again.graph, "the bias is the one that was read"


def test_a_detector_is_stored_for_images_of_the_size_asked_for(tmp_path):
    """Its boxes lie on grids that this size gives."""
    assert main(["store", "fastestdet", "--error", "0.1", "--size", "224", "--out", str(tmp_path / "a.gossamer")]) == 0
    stored = container.read(tmp_path / "a.gossamer").payload
    assert stored.preprocess["size"] == 224
    assert [level["rows"] for level in stored.plan["head"]["levels"]] == [14]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("store resnet20", "expected to know what images resnet20 reads, and cannot; give --preset"),
        ("store gone.onnx --preset half", "expected a file, found none at gone.onnx"),
        ("store gone.onnx --preset half --classes 3", "expected a network for --classes, got the file gone.onnx"),
        ("store gone.onnx --preset half --trainable", "expected a network for --trainable, got the file gone.onnx"),
    ],
)
def test_what_cannot_be_stored_is_said(line, message, capsys):
    assert main(line.split()) == 1
    assert message in capsys.readouterr().err


def test_a_bound_that_is_none_is_refused_at_once(capsys):
    with pytest.raises(SystemExit):
        main(["store", "resnet20", "--preset", "half", "--error", "2"])
    assert "expected a bound from 0 to below 1, such as 0.001, got 2" in capsys.readouterr().err


def test_inspect_decode_verify_report_bench(run, capsys):
    assert main(["inspect", str(run / "model.gossamer")]) == 0
    assert "conv2.weight" in capsys.readouterr().out
    (run / "model.onnx").unlink()
    assert main(["decode", str(run / "model.gossamer")]) == 0
    assert (run / "model.onnx").exists()
    assert main(["verify", str(run / "model.gossamer")]) == 0
    assert capsys.readouterr().out.count("holds: ") >= 4
    assert main(["report", str(run)]) == 0
    assert "multiply-adds" in capsys.readouterr().out
    assert main(["bench", str(run / "original.onnx"), str(run / "model.gossamer"), "--rounds", "5"]) == 0
    assert "onnxruntime" in capsys.readouterr().out


def test_a_gate_lets_through_what_promises_no_less(run, tmp_path, capsys):
    new, old = run / "model.gossamer", tmp_path / "old.gossamer"
    old.write_bytes(new.read_bytes())
    assert main(["verify", str(new), "--against", str(old)]) == 0
    claims = json.loads(json.dumps(dict(container.read(old).claims)))
    claims["certificate"]["tolerance"] /= 2
    container.with_claims(old, claims)
    assert main(["verify", str(new), "--against", str(old)]) == 1
    assert "does not hold: it promises a drop of at most 3 points, the other 1.5 points" in capsys.readouterr().out
    container.with_claims(old, {})
    assert main(["verify", str(new), "--against", str(old)]) == 1
    assert "expected a certificate in" in capsys.readouterr().err


def test_a_changed_file_does_not_verify(run, tmp_path, capsys):
    data = bytearray((run / "model.gossamer").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.gossamer").write_bytes(data)
    assert main(["verify", str(tmp_path / "changed.gossamer")]) == 1
    assert "CorruptFile: changed.gossamer: the checksum of section" in capsys.readouterr().err


def test_a_certificate_that_was_polished_does_not_verify(run, tmp_path, capsys):
    path = tmp_path / "polished.gossamer"
    path.write_bytes((run / "model.gossamer").read_bytes())
    claims = json.loads(json.dumps(dict(container.read(path).claims)))
    claims["certificate"]["bound"] /= 2
    container.with_claims(path, claims)
    assert main(["verify", str(path)]) == 1
    assert "does not hold" in capsys.readouterr().out


def test_a_guarantee_that_its_candidates_do_not_give_does_not_verify(run, tmp_path, capsys):
    path = tmp_path / "polished.gossamer"
    path.write_bytes((run / "model.gossamer").read_bytes())
    claims = json.loads(json.dumps(dict(container.read(path).claims)))
    found = claims["certificate"]
    found["guaranteed"] = (found["bound"] + found["tolerance"]) / 2  # the certificate's own counts allow it
    container.with_claims(path, claims)
    assert main(["verify", str(path)]) == 1
    assert "does not hold: guaranteed is" in capsys.readouterr().out
    del found["sequence"]
    container.with_claims(path, claims)
    assert main(["verify", str(path)]) == 0
    assert "not recomputed: guaranteed, " in capsys.readouterr().out


def test_both_networks_are_tested_again_without_a_new_look(run, trained, tmp_path, capsys):
    file, ledger = run / "model.gossamer", run.with_name("run.json")
    before = ledger.read_bytes()
    again = ["verify", str(file), "--data", str(trained / "data.npz"), "--original", str(run / "original.onnx")]
    assert main(again) == 0
    said = capsys.readouterr().out
    assert "holds: both networks, run again on 600 test images in onnxruntime, give its counts" in said
    assert ledger.read_bytes() == before
    claims = dict(container.read(file).claims)
    assert claims["runtime"] == "onnxruntime"
    copied = tmp_path / "copied.gossamer"
    shutil.copyfile(file, copied)
    container.with_claims(copied, claims | {"runtime": "openvino"})
    main(["verify", str(copied), *again[2:]])
    assert "in openvino" in capsys.readouterr().out, "the runtime that the file names"

    other = onnx.load(run / "original.onnx")
    bias = next(tensor for tensor in other.graph.initializer if tensor.name == "fc.bias")
    bias.CopyFrom(numpy_helper.from_array(np.float32([99, 0, 0, 0]), bias.name))  # it answers one class always
    onnx.save(other, tmp_path / "other.onnx")
    assert main([*again[:-1], str(tmp_path / "other.onnx")]) == 1
    said = capsys.readouterr().out
    assert "does not hold: the original network has " in said
    assert "is it the network that was compressed?" in said
    assert re.search(r"does not hold: c is \d+ in the certificate, but \d+ images turned right in onnxruntime", said)

    with np.load(trained / "data.npz") as arrays:
        others = dict(arrays)
    others["test_labels"] = (others["test_labels"] + (np.arange(600) == 0)) % 4
    np.savez(tmp_path / "data.npz", **others)
    again[3] = str(tmp_path / "data.npz")
    assert main(again) == 1
    assert "does not hold: the test split has the hash " in capsys.readouterr().out
    assert ledger.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "data.npz"], "expected --data and --original, or neither, got one of them"),
        (["--original", "original.onnx"], "expected --data and --original, or neither, got one of them"),
        (["--data", "unlabelled:x", "--original", "original.onnx"], "the original's own answers"),
    ],
)
def test_testing_again_wants_data_with_labels_and_both_networks(words, message, run, capsys):
    words = [str(run / word) if word == "original.onnx" else word for word in words]
    assert main(["verify", str(run / "model.gossamer"), *words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_decoding_in_an_environment_that_has_only_numpy(run, tmp_path):
    """A real environment: no torch, no onnx, no numba; the same bytes come out."""
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy"], check=True)
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    probe = "import importlib.util as u; raise SystemExit(any(u.find_spec(n) for n in ('torch', 'onnx', 'numba')))"
    subprocess.run([python, "-c", probe], check=True, env=environment)
    out = tmp_path / "decoded.onnx"
    for verb in (["decode", str(run / "model.gossamer"), "--out", str(out)], ["verify", str(run / "model.gossamer")]):
        subprocess.run([python, "-m", "gossamer", *verb], check=True, env=environment, cwd=tmp_path)
    assert out.read_bytes() == (run / "model.onnx").read_bytes()


def test_settings_come_from_a_file_and_the_command_line_wins(trained, tmp_path, capsys):
    settings = tmp_path / "settings.toml"
    line = words(trained, tmp_path / "run")
    settings.write_text('tolerance = 7\nprotect = ["conv1"]\n')
    assert main([line[0], "--settings", str(settings), *line[1:], "--dry-run"]) == 0
    assert "drop at most 3 points" in capsys.readouterr().out
    assert main([line[0], "--settings", str(settings), *line[1:6], *line[-10:], "--dry-run"]) in (0, 1)


def test_methods_and_doctor(capsys):
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    assert "network slimming" in said.lower() or "Network Slimming" in said
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out


BAD = {
    "no weights": (["--weights"], None, "expected the trained weights of"),
    "weights that are not there": (["--weights"], "nowhere.pt", "there is no file nowhere.pt"),
    "weights that are a folder": (["--weights"], ".", "expected a file of weights, got the folder ."),
    "a mistyped network": (["--model"], "torchvision:resnet81", "did you mean torchvision:resnet18"),
    "more seen than promised": (["--observed"], "4", "expected --observed of at most the tolerance, 3 points, got 4"),
    "data that are not there": (["--data"], "nowhere.npz", "nowhere.npz"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name, trained, tmp_path, capsys):
    (flag,), value, expected = BAD[name]
    line = words(trained, tmp_path / "run")
    if flag in line:
        at = line.index(flag)
        del line[at : at + 2]
    if value is None:
        line[line.index("--model") + 1] = "resnet20"
    else:
        line += [flag, value]
    assert main(line) == 1
    said = capsys.readouterr().err
    assert expected in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


WRONG_VALUES = {
    "--tolerance": {
        "0": "points (percent) above 0 and below 100, such as 1, got 0",
        "100": "got 100",
        "nan": "got nan",
    },
    "--confidence": {"0.95": "expected percent from 50 to below 100, such as 95, got 0.95", "100": "got 100"},
    "--observed": {"-1": "expected points (percent) from 0 to below 100, such as 0.3, got -1"},
    "--hours": {"0": "expected hours above 0, such as 0.5, got 0", "inf": "got inf"},
    "--batch-size": {"0": "expected images a batch (batch norm", "-1": "at least 2, got -1", "x": "got x"},
    "--learning-rate": {"nan": "expected a learning rate above 0, such as 0.05, got nan", "-1": "got -1"},
    "--size": {"0": "expected pixels, a whole number of at least 1, got 0"},
    "--epochs": {"0": "expected epochs, a whole number of at least 1, got 0"},
    "--threads": {"0": "expected threads, a whole number of at least 1, got 0"},
    "--seed": {"-1": "expected a seed, a whole number of at least 0 and below 4294967296, got -1"},
    "--crop": {"1.5": "expected a share of the shorter side above 0, at most 1, such as 0.875, got 1.5"},
    "--mean": {"inf": "expected a number, got inf"},
    "--device": {
        "gpu": "expected cpu, cuda, cuda:N or mps, got gpu",
        "cuda:99": "expected a device of this machine, got cuda:99, but torch finds",
    },
}


@pytest.mark.parametrize(
    ("flag", "value", "expected"), [(f, v, words) for f, values in WRONG_VALUES.items() for v, words in values.items()]
)
def test_a_wrong_value_names_its_option_in_the_units_of_the_command_line(flag, value, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compress", "--data", "nowhere", flag, value])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.startswith(f"gossamer compress: argument {flag}: expected ")
    assert said.endswith("; see gossamer compress --help\n")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(("flag", "value"), [("--size", "0"), ("--classes", "0")])
def test_inspect_refuses_nothing_as_a_number(flag, value, capsys):
    with pytest.raises(SystemExit):
        main(["inspect", "resnet20", flag, value])
    assert f"argument {flag}: expected" in capsys.readouterr().err


def test_images_of_another_size_than_the_network_reads(trained, tmp_path, capsys):
    arrays = dict(np.load(trained / "data.npz"))
    for name in arrays:
        if name.endswith("images"):
            arrays[name] = np.repeat(np.repeat(arrays[name], 2, axis=1), 2, axis=2)
    np.savez(tmp_path / "large.npz", **arrays)
    line = words(trained, tmp_path / "run")
    line[line.index("--data") + 1] = str(tmp_path / "large.npz")
    assert main(line) == 1
    assert "the network cannot read images (2, 3, 16, 16)" in capsys.readouterr().err


def test_a_network_that_cannot_be_exported_names_its_line(trained, tmp_path, capsys):
    source = (trained / "net.py").read_text()
    branch = "        x = x if float(x.detach().mean()) > 0 else -x\n        return self.fc("
    (tmp_path / "branching.py").write_text(source.replace("        return self.fc(", branch))
    line = words(trained, tmp_path / "run")
    line[line.index("--model") + 1] = f"{tmp_path / 'branching.py'}:SmallNet"
    assert main(line) == 1
    said = capsys.readouterr().err
    assert "branching.py" in said
    assert "float(x.detach().mean())" in said or "branching.py:" in said
    assert len(said.splitlines()) == 1


SETTINGS = {
    "tolerance = ": "expected TOML in {file}, got something else",
    "tolerence = 1": "expected options in {file}, got 'tolerence', which is none; did you mean tolerance?",
    "bogus = false": "expected options in {file}, got 'bogus', which is none",
    "toler = 1": "expected options in {file}, got 'toler', which is none",
    "settings = 'more.toml'": "got 'settings': a file of settings cannot name another",
    "help = true": "got 'help', which is none",
    "[compress]\ntolerance = 1": "expected options by name in {file}, got a table [compress]",
    "quiet = 1": "expected true or false for 'quiet' in {file}, got 1",
    "tolerance = true": "expected a value for 'tolerance' in {file}, got true",
    "tolerance = [1, 2]": "expected one value for 'tolerance' in {file}, got a list of 2",
}


@pytest.mark.parametrize("text", SETTINGS)
def test_a_mistake_in_a_settings_file_is_named(text, tmp_path, capsys):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert main(["compress", "--settings", str(file), "--data", "nowhere"]) == 1
    said = capsys.readouterr().err
    assert SETTINGS[text].format(file=file) in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("file", ["gone.toml", "."])
def test_a_settings_file_that_is_none(file, capsys):
    assert main(["train", f"--settings={file}", "--data", "nowhere"]) == 1
    assert f"ValueError: expected a TOML file of options, got {file}, which is " in capsys.readouterr().err


def test_settings_once_and_only_where_they_are_read(tmp_path, capsys):
    (tmp_path / "mine.toml").write_text("seed = 1")
    words = ["--settings", str(tmp_path / "mine.toml")]
    assert main(["compress", *words, *words, "--data", "x"]) == 1
    assert "expected --settings once" in capsys.readouterr().err
    assert main(["compress", "--data", "x", "--settings"]) == 1
    assert "expected --settings once and a TOML file after it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["verify", "x.gossamer", *words])
    assert "expected its options, got --settings, which is none" in capsys.readouterr().err


def test_options_are_written_in_full(capsys):
    with pytest.raises(SystemExit):
        main(["compress", "--data", "x", "--toler", "1"])
    assert "expected its options, got --toler, which is none" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compress", "--data", "x", "--tolerence=1"])
    assert "got --tolerence, which is none; did you mean --tolerance; see" in capsys.readouterr().err


def test_a_run_folder_that_cannot_be_one(trained, tmp_path, capsys):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(SystemExit):
            main(words(trained, out))
        assert f"argument --out: expected a folder, got {out}, but {tmp_path / 'file'} is a file" in (
            capsys.readouterr().err
        )
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.EACCES, "x.onnx may not be read or written; check its permissions, or choose another path"),
        (errno.ENOSPC, "the disk of x.onnx is full; make room, or choose another path"),
        (errno.EROFS, "x.onnx is on a disk that cannot be written; choose another path"),
        (errno.EIO, "x.onnx: Input/output error; check the path"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(run, code, expected, monkeypatch, capsys):
    def refuse(path: Path, out: Path) -> None:
        raise OSError(code, os.strerror(code), "x.onnx.part")

    monkeypatch.setattr("gossamer.container.decode", refuse)
    assert main(["decode", str(run / "model.gossamer"), "--out", "x.onnx"]) == 1
    said = capsys.readouterr().err
    assert expected in said
    assert "Errno" not in said


def test_decode_below_a_file_and_onto_a_folder(run, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["decode", str(run / "model.gossamer"), "--out", str(tmp_path / "file" / "x.onnx")]) == 1
    assert f"expected a folder in {tmp_path / 'file'}, got a file; choose another path" in capsys.readouterr().err
    assert main(["decode", str(run / "model.gossamer"), "--out", str(tmp_path)]) == 1
    assert f"expected a file in {tmp_path}, got a folder; name the file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_inspect_hints_at_the_file_that_it_reads(run, tmp_path, capsys):
    for given in (run, run / "original.onnx"):
        assert main(["inspect", str(given)]) == 1
        said = capsys.readouterr().err
        assert f"expected a .gossamer file or the name of a network, got {given}; try {run / 'model.gossamer'}" in said
    assert main(["inspect", "gone.onnx"]) == 1
    assert "got gone.onnx; a run's model.gossamer can be inspected" in capsys.readouterr().err


def test_inspect_knows_the_classes_and_the_size_of_a_zoo_network(capsys):
    assert main(["inspect", "lenet5"]) == 0
    assert "10 classes, images of 28x28 pixels with 1 channels" in capsys.readouterr().out


def test_inspect_says_bound_and_input_in_words(run, capsys):
    assert main(["inspect", str(run / "model.gossamer")]) == 0
    said = capsys.readouterr().out
    assert "input: 8x8 pixels, 3 channels; resized (bilinear), the centre kept: 0.875 of the shorter side" in said
    assert "divided by 255; minus 0.5 0.5 0.5; divided by 0.25 0.25 0.25" in said
    shown = re.search(r"drop in accuracy below ([\d.]+) points at 95 % confidence, proven on 600 images", said)
    bound = container.read(run / "model.gossamer").claims["certificate"]["guaranteed"]
    assert 100 * bound <= float(shown[1]) < 100 * bound + 0.001


def test_inspect_says_the_bound_that_holds_after_the_choice(run, tmp_path, capsys):
    path = tmp_path / "chosen.gossamer"
    path.write_bytes((run / "model.gossamer").read_bytes())
    claims = json.loads(json.dumps(dict(container.read(path).claims)))
    claims["certificate"]["guaranteed"] = 0.0214581
    container.with_claims(path, claims)
    assert main(["inspect", str(path)]) == 0
    assert "drop in accuracy below 2.146 points" in capsys.readouterr().out


def test_methods_says_each_name_once_and_what_it_costs(capsys):
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    assert "  auto: our own recipe." in said
    assert not re.search(r"^  ([a-z0-9-]+): \1:", said, flags=re.MULTILINE | re.IGNORECASE)
    for table in (RECIPES, filters.METHODS, rates.METHODS, weights.METHODS, tuning.METHODS):
        for name in table:
            assert re.search(rf"^  {name}: [^\n]+\n(      [^\n]+\n)*      Cost: ", said, flags=re.MULTILINE), name


def test_methods_names_all_papers_in_whole_sentences(capsys):
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    assert (
        "  rate-penalty: training on the bits that the file will need, with the grids learned.\n      Papers: D. Oktay"
        in said
    )
    entries = [entry for entry in said.split("\n\n") if entry.startswith("  ")]
    assert len(entries) > 40
    for entry in entries:
        assert entry.rstrip().endswith("."), entry


def test_bench_names_files_shortly_and_refuses_one_twice(run, capsys):
    assert main(["bench", str(run / "original.onnx"), str(run / "model.gossamer"), "--rounds", "3"]) == 0
    said = capsys.readouterr().out
    assert "┃ original.onnx" in said
    assert "┃ model.gossamer" in said
    assert main(["bench", str(run / "original.onnx"), str(run / "original.onnx")]) == 1
    assert "expected different files, got" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"got b\.onnx twice"):
        short_names([Path("a.onnx"), Path("b.onnx"), Path("b.onnx")])


@pytest.mark.parametrize(
    ("verb", "said"), [("train", "stopped; the same command goes on from here"), ("store", "stopped")]
)
def test_ctrl_c_promises_no_more_than_the_verb_does(verb, said, capsys, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("gossamer.cli.with_settings_file", interrupted)
    assert main([verb]) == 130
    assert capsys.readouterr().err.strip() == said


def test_few_steps_of_training_are_warned_of(trained, tmp_path, capsys):
    line = words(trained, tmp_path / "run")
    line = ["train", *line[1 : line.index("--tolerance")], "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(line) == 0
    assert "warning: 3 steps of training in all are few; take --batch-size 16" in capsys.readouterr().err


def test_reading_pictures_shows_how_far_it_is(trained, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for part, count in (("train", 2), ("val", 4)):
        for of in ("ne", "nw", "se", "sw"):
            (tmp_path / part / of).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / of / f"{index}.png")
    line = words(trained, tmp_path / "run")
    line[line.index("--data") + 1] = str(tmp_path)
    assert main([*line, "--size", "8", "--dry-run"]) == 0
    assert "reading images  16/24 (67 %)" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["compress"], ["fly"], ["certify", "a.onnx"]])
def test_unknown_words_are_refused_with_where_to_read_more(line, capsys):
    with pytest.raises(SystemExit) as stop:
        main(line)
    assert stop.value.code == 2
    assert "--help" in capsys.readouterr().err


def test_python_dash_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "gossamer", "--help"], capture_output=True, text=True, check=True)
    assert "compress" in done.stdout
