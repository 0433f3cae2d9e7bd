# SPDX-License-Identifier: Apache-2.0
"""The command line: every verb works on the files that the last one wrote, and bad input is one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from gossamer.cli import main

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


def test_a_changed_file_does_not_verify(run, tmp_path, capsys):
    data = bytearray((run / "model.gossamer").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.gossamer").write_bytes(data)
    assert main(["verify", str(tmp_path / "changed.gossamer")]) == 1
    assert "CorruptFile: changed.gossamer: the checksum of section" in capsys.readouterr().err


def test_a_certificate_that_was_polished_does_not_verify(run, tmp_path, capsys):
    from gossamer import container

    path = tmp_path / "polished.gossamer"
    path.write_bytes((run / "model.gossamer").read_bytes())
    claims = json.loads(json.dumps(dict(container.read(path).claims)))
    claims["certificate"]["bound"] /= 2
    container.with_claims(path, claims)
    assert main(["verify", str(path)]) == 1
    assert "does not hold" in capsys.readouterr().out


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
    "an impossible tolerance": (["--tolerance"], "0", "tolerance must be a fraction between 0 and 1"),
    "confidence": (["--confidence"], "100", r"confidence must be in [0.5, 1)"),
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


def test_a_damaged_settings_file(tmp_path, capsys):
    (tmp_path / "bad.toml").write_text("tolerance = ")
    assert main(["compress", "--settings", str(tmp_path / "bad.toml")]) == 1
    assert "expected TOML in" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["compress"], ["fly"], ["bench"]])
def test_unknown_words_are_refused_with_where_to_read_more(line, capsys):
    with pytest.raises(SystemExit) as stop:
        main(line)
    assert stop.value.code == 2
    assert "--help" in capsys.readouterr().err


def test_python_dash_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "gossamer", "--help"], capture_output=True, text=True, check=True)
    assert "compress" in done.stdout
