# SPDX-License-Identifier: Apache-2.0
"""What benchmarks show: what is filed, and of made-up records what these say; and what a curve is made of."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import benchmarks.__main__ as main
from benchmarks import (
    beside_nncodec,
    curves,
    deep_compression_table,
    exporters,
    hour_table,
    macs_table,
    rate_curves,
    speed_table,
)
from benchmarks.claims import CLAIMS
from benchmarks.filed import PAGE, shown, table
from gossamer.container import Tensor
from gossamer.exporters.onnx_file import OnnxFile
from gossamer.files import read_json
from gossamer.report.record import Candidate, Opened, SpeedRow, read_reports

ROOT = Path(__file__).resolve().parent.parent
RUN_BY_OTHERS = {"nncodec_worker", "aarch64_check"}  # in environments of their own
PROVEN = Opened(proven=True, n=5000, b=20, c=5, observed_drop=0.003, bound=0.004, guaranteed=0.005)


@pytest.fixture
def report():
    return read_reports(ROOT / "results" / "resnet56-latency" / "report.json")[0]


@pytest.mark.parametrize("module", [speed_table, macs_table, hour_table, exporters], ids=lambda module: module.MODULE)
def test_the_page_shows_what_is_filed(module):
    assert shown(module.MODULE) == module.text(), f"run `python -m benchmarks.{module.MODULE}`"


def candidate(name, ms, accepted=True, test=PROVEN):
    return Candidate(name, 1000, 1000, ms, 0.9, 0.003, accepted, test=test)


def test_speed_is_against_the_same_runtime_and_against_the_fastest_float(report):
    turns = [
        SpeedRow("onnxruntime", "f32", 3.0, 1.0, 3.0, 2.9, 3.1),
        SpeedRow("openvino", "f32", 4.0, 1.0, 4.0, 1.5, 4.5),
        SpeedRow("openvino", "f32, 2 threads", 2.0, 0.5, 4.0, 3.9, 4.1),
        SpeedRow("openvino", "bf16", 1.2, 0.9, 1.3, 1.2, 1.4),
    ]
    tried = (
        candidate("uncut, float32", 4.2),
        candidate("uncut, int8", 2.1),
        candidate("70 % of the time, float32", 3.0),
        candidate("50 % of the time, float32", 1.4, accepted=False, test=None),
        candidate("50 % of the time, int8", 1.05),
    )
    made = replace(report, speed=tuple(turns), candidates=tried, chosen="50 % of the time, int8")
    delivered, int8, pruned = speed_table.rows_of("x-latency", made)
    assert delivered[2] == "delivered: 50 % of the time, int8"
    assert delivered[4:7] == ["1.00 ms", "4.00x \\*", "2.40x"], "4.0 / 1.0, scattering; 1.2 / 0.5"
    assert int8[2:7] == ["int8 alone: uncut, int8", "0.30", "2.00 ms", "2.00x", "0.60x"], "1.2 / (4.0 / 2)"
    assert pruned[2:7] == ["pruning alone: 70 % of the time, float32", "0.30", "2.86 ms", "1.40x", "0.42x"]
    alone = replace(made, candidates=tried[:2], chosen="uncut, int8")
    rows = speed_table.rows_of("x-latency", alone)
    assert rows[1][2:7] == ["int8 alone: what was delivered", *rows[0][3:7]]
    assert rows[2][2] == "pruning alone: none was accepted and faster"


def test_both_runtimes_have_claims():
    for network in ("resnet56", "vgg16", "mobilenetv2"):
        assert {f"{network}-latency", f"{network}-latency-onnxruntime"} <= set(speed_table.NAMES)
        for name, runtime in ((f"{network}-latency", "openvino"), (f"{network}-latency-onnxruntime", "onnxruntime")):
            assert f"--runtime {runtime} " in CLAIMS[name].arguments


def test_multiply_adds_are_compared_with_the_original_and_with_the_control(report):
    side = report.original
    certificate = {**report.certificate, "proven": True, "guaranteed": 0.0085}
    made = replace(
        report,
        original=replace(side, quality=0.93, macs=1000),
        compressed=replace(report.compressed, quality=0.932, macs=240),
        control=replace(side, quality=0.935),
        certificate=certificate,
    )
    row = macs_table.row_of("x-macs", made)
    assert row[2:7] == ["76.0 %", "93.00 % → 93.20 %", "-0.20", "0.30", "< 0.85 points"]
    assert macs_table.row_of("x", replace(made, control=None))[5] == "no control"


def test_an_hour_counts_evaluations_until_the_file_is_smaller(report):
    def made(sizes, final):
        tried = tuple(replace(candidate(f"{n}", 1.0), bytes=bytes_) for n, bytes_ in enumerate(sizes))
        coded = replace(report.compressed.bytes, coded=final)
        return replace(
            report, candidates=tried, chosen="0", parts=None, compressed=replace(report.compressed, bytes=coded)
        )

    auto, stairs = made([900, 500, 300], 300), made([800] * 11, 400)
    assert hour_table.halved(auto, stairs) == (
        "`auto` had a smaller file after 3 evaluations than slim-then-sparsify after 11."
    )
    assert "found no smaller file than slim-then-sparsify with its 3" in hour_table.halved(stairs, auto)
    assert hour_table.row_of("resnet20", "auto", auto)[5] == "3"


def test_every_recipe_has_an_hour_with_each_network():
    for network in hour_table.NETWORKS:
        for recipe in hour_table.RECIPES:
            claim = CLAIMS[f"hour-{network}-{recipe}"]
            assert "--tolerance 1 --observed 0.5 --minimise bytes --hours 1 " in claim.arguments
            assert claim.arguments.endswith(f"--recipe {recipe}")
            assert claim.page == "benchmarks"


def test_a_table_without_rows_is_a_sentence():
    assert table(("a", "b"), []) == "Not measured yet."
    assert table(("a", "b"), [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


# --- Deep Compression where batch norms are folded ---------------------------------------------------------------


def test_factors_of_folded_batch_norms_are_counted_beside_the_codebook():
    integers = np.tile(np.array([[0, 1, -1, 0]], np.int32), (8, 4))
    centroids = np.array([-0.5, 0.0, 0.5], np.float32)
    shared = Tensor.codebook("w", integers, centroids, 1)
    folded = Tensor.codebook("w", integers, centroids, 1, np.full(8, 2.0, np.float32), 0)
    plain, scaled = (deep_compression_table.bits_of(tensor, 5) for tensor in (shared, folded))
    assert (plain.factors, scaled.factors) == (0, 32 * 8)
    assert scaled.fixed - plain.fixed == scaled.coded - plain.coded == 32 * 8
    assert (plain + scaled).factors == 32 * 8


def test_networks_that_the_paper_has_not_are_shown_with_an_empty_column(monkeypatch):
    assert {"vgg16-deep-compression", "resnet20-deep-compression"} <= set(deep_compression_table.PUBLISHED)
    name = "lenet5-deep-compression"
    monkeypatch.setitem(deep_compression_table.PUBLISHED, name, deep_compression_table.Published("Another"))
    rows = [line for line in deep_compression_table.table(name).splitlines() if line.startswith(("| c", "| i", "| **"))]
    assert len(rows) == 5
    assert all(row.endswith(" |  |") for row in rows)


# --- a curve -----------------------------------------------------------------------------------------------------


@pytest.fixture
def done(monkeypatch, tmp_path):
    """What a curve runs, without running it; all but the baseline of VGG-16 waits."""
    steps = []

    class Ended:
        returncode = 0

    monkeypatch.setattr(main, "run", lambda name, claim: steps.append(name) or 0)
    monkeypatch.setattr(main, "state", lambda name: "finished" if name.startswith("vgg16-base") else "waiting")
    monkeypatch.setattr(main.subprocess, "run", lambda command, **_: steps.append(" ".join(command[2:])) or Ended())
    monkeypatch.setattr(main.os, "nice", lambda _: 0)
    for variable in ("GOSSAMER_DATA", "GOSSAMER_NNCODEC"):
        monkeypatch.setenv(variable, str(tmp_path))
    return steps


def test_one_command_makes_all_of_a_curve(done):
    assert main.curve("vgg16") == 0
    assert done == [
        "vgg16-bytes",
        "vgg16-deep-compression",
        "benchmarks.beside_nncodec vgg16",
        "benchmarks.curves measure vgg16",
        "benchmarks.curves",
    ]
    done.clear()
    main.curve("mobilenetv2")
    assert done[:2] == ["mobilenetv2-baseline", "mobilenetv2-bytes"]


def test_a_curve_without_its_folders_begins_nothing(done, monkeypatch):
    with pytest.raises(SystemExit, match=r"expected a network of resnet20, .*, got 'vgg'"):
        main.curve("vgg")
    monkeypatch.delenv("GOSSAMER_NNCODEC")
    with pytest.raises(SystemExit, match="expected a folder in GOSSAMER_NNCODEC, got None"):
        main.curve("vgg16")
    assert done == []


@pytest.mark.parametrize("name", curves.NETWORKS)
def test_every_curve_has_its_subject_and_its_claims(name):
    assert name in beside_nncodec.SUBJECTS
    assert name in rate_curves.NETWORKS
    assert {f"{name}-bytes", f"{name}-deep-compression"} <= CLAIMS.keys()


# --- other runtimes ----------------------------------------------------------------------------------------------


class Off(OnnxFile):
    """ONNX Runtime under another name, wrong by so much; or nothing at all."""

    def __init__(self, wrong):
        self.wrong = wrong

    def runtime(self):
        return "Off 1.0"

    def export(self, model, example):
        if self.wrong is None:
            raise ValueError("expected an operator that is known, got another; choose another --to")
        return super().export(model, example)

    @contextmanager
    def opened(self, exported):
        with super().opened(exported) as run:
            yield lambda images: [output + self.wrong * np.ptp(output) for output in run(images)]


@pytest.mark.parametrize(("wrong", "kept"), [(1e-5, True), (0.1, False)])
def test_a_runtime_that_is_far_off_is_told_and_not_left_out(monkeypatch, tmp_path, wrong, kept):
    monkeypatch.setitem(exporters.TARGETS, "litert", Off(wrong))
    file = ROOT / "results" / "gestures-bytes" / "model.gossamer"
    exporters.measure("litert", [file], tmp_path)
    (row,) = read_json(tmp_path / "exporters" / "litert.json")["networks"].values()
    assert row["kept"] == kept
    assert row["difference"] == pytest.approx(wrong, rel=0.5)
    cells = exporters.row_of("litert", "gestures-bytes", row)
    assert cells[1:3] == ["float32", "Off 1.0" + ("" if kept else ", too far off: not written")]


def test_a_network_that_a_runtime_does_not_take_has_a_row_that_says_why(monkeypatch):
    monkeypatch.setitem(exporters.TARGETS, "litert", Off(None))
    row = exporters.agreement(exporters.TARGETS["litert"], ROOT / "results" / "gestures-bytes" / "model.gossamer")
    cells = exporters.row_of("litert", "gestures-bytes", row)
    assert cells[2] == "litert: expected an operator that is known, got another"
    assert len(cells) == 7


def test_the_page_names_every_module_that_can_be_run():
    page = PAGE.read_text(encoding="utf-8")
    for path in sorted((ROOT / "benchmarks").glob("[a-z]*.py")):
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8") and path.stem not in RUN_BY_OTHERS:
            assert f".{path.stem}" in page, f"docs/benchmarks.md does not name benchmarks.{path.stem}"
