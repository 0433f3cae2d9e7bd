# SPDX-License-Identifier: Apache-2.0
"""Methods beside each other: pages show what is filed, seeds are put together, and nothing is called what it is not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import comparison_plots, comparison_rows, comparison_tables, layer_squares, similarity
from benchmarks.claims import CLAIMS
from benchmarks.compared_claims import METHODS, SHARES, TERMS, name_of
from benchmarks.comparison_rows import COMPARISONS, Comparison, epochs_until
from gossamer.measure.cka import similarities
from gossamer.report.record import Epoch, Report, Watched, read_reports
from gossamer.report.record import write_json as write_report

ROOT = Path(__file__).resolve().parent.parent
STRUCTURED, WEIGHT_LEVEL = COMPARISONS


@pytest.fixture(scope="module")
def report() -> Report:
    return read_reports(ROOT / "results" / "resnet56-latency" / "report.json")[0]


@pytest.fixture
def filed(tmp_path, report):
    """Files a report as a claim of a comparison would, and gives the rows that there are then."""

    def file(comparison: Comparison, method: str, share: int, drop: float, seed: int = 0, left: float = 0.1, **changed):
        folder = tmp_path / name_of(comparison.name, share, method, seed)
        before = report.original
        after = replace(
            report.compressed,
            quality=before.quality - drop,
            nonzeros=round(left * before.parameters),
            macs=round(left * before.macs),
        )
        certificate = {**report.certificate, "observed_drop": drop}
        write_report(replace(report, compressed=after, certificate=certificate, **changed), folder / "report.json")
        return folder

    return file


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda comparison: comparison.name)
def test_methods_beside_each_other_are_shown_as_filed(comparison):
    begin, end = comparison_tables.marks_of(comparison)
    page = comparison_tables.page_of(comparison).read_text(encoding="utf-8")
    rows = comparison.filed()
    assert page.partition(begin)[2].partition(end)[0].strip() == comparison_tables.text(comparison, rows), (
        "run `python -m benchmarks.comparison_tables`"
    )
    for path, picture in comparison_tables.pictures(comparison, rows).items():
        assert path.read_text(encoding="utf-8") == f"{picture}\n"


def test_every_method_is_a_claim_at_both_shares_and_with_every_seed():
    for comparison, terms in TERMS.items():
        for share in SHARES[comparison]:
            for method in METHODS[comparison]:
                for seed in range(terms.seeds):
                    words = CLAIMS[name_of(comparison, share, method, seed)].arguments
                    assert (f"--seed {seed}" in words) == (seed > 0)
                    assert "--control" not in words or (seed == 0 and share == SHARES[comparison][0])


def test_a_point_lost_is_a_point_to_the_left_and_shares_have_tables_of_their_own(filed, tmp_path):
    for of in (("l1-uniform", 50, 0.01), ("scratch", 50, 0.03), ("l1-uniform", 30, 0.05)):
        filed(STRUCTURED, *of)
    rows = STRUCTURED.filed(tmp_path)
    table = comparison_tables.text(STRUCTURED, rows)
    assert "-1.00 ± " in table
    assert table.index("50 % of the multiply-adds") < table.index("30 % of the multiply-adds")
    drawn = str(comparison_plots.lost(rows))
    places = {words: float(x) for x, words in re.findall(r'cx="([\d.]+)"[^>]*><title>([^<]*)</title>', drawn)}
    order = sorted(places, key=places.__getitem__)
    assert [words.rpartition(": ")[2] for words in order] == ["-5.00 points", "-3.00 points", "-1.00 points"]


def test_seeds_are_one_row_of_their_mean_with_their_spread(filed, tmp_path, report):
    for seed, drop in enumerate((0.01, 0.02, 0.06)):
        filed(WEIGHT_LEVEL, "stepwise", 10, drop, seed)
    (row,) = WEIGHT_LEVEL.filed(tmp_path)
    assert row.lost == pytest.approx(3)
    base = 100 * report.original.quality
    assert row.spread == f"3: {base - 6:.2f} to {base - 1:.2f} %"
    table = comparison_tables.section(WEIGHT_LEVEL, 10, [row])
    assert f"| {base - 3:.2f} % | -3.00 ± " in table
    assert table.count("](../results/weight-level-10-stepwise") == 3


def test_quality_is_drawn_over_what_is_really_left(filed, tmp_path):
    """A line through the means from the smaller to the larger share, a thin point for each seed."""
    for share, left, drop, seed in ((10, 0.12, 0.02, 0), (10, 0.12, 0.04, 1), (5, 0.03, 0.08, 0)):
        filed(WEIGHT_LEVEL, "surgery", share, drop, seed, left)
    drawn = str(comparison_plots.remaining(WEIGHT_LEVEL.filed(tmp_path)))
    assert drawn.count('r="2"') == 3
    titles = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="3.5"[^>]*><title>([^<]*)</title>', drawn)
    assert [re.search(r"with ([\d.]+) % left", words)[1] for *_, words in titles] == ["3.00", "12.00"]
    (few_x, few_y, _), (many_x, many_y, _) = titles
    assert float(few_x) < float(many_x)
    assert float(few_y) > float(many_y), "what loses more stands lower"


def test_two_different_wrong_answers_are_not_the_same():
    assert similarity.same(np.array([1, 2, 3, 4]), np.array([1, 2, 5, 4])) == 0.75


def test_what_is_alike_is_filed_and_shown(filed, tmp_path, make_task, monkeypatch):
    task = make_task()
    from gossamer.graph import trace
    from gossamer.runtime.export import export_onnx

    network = trace(task.model.eval(), task.example)
    run = tmp_path / "run"
    run.mkdir()
    (run / "original.onnx").write_bytes(export_onnx(network.module, network.example))
    other = network.copy()
    last = next(name for name, value in reversed(list(other.tensors.items())) if name.endswith(".bias"))
    other.tensors[last].data[1] += 1e6  # always the second class
    (run / "model.onnx").write_bytes(export_onnx(other.module, other.example))
    monkeypatch.setattr(similarity, "task_of", lambda arguments: task)
    folder = filed(STRUCTURED, "entropy", 50, 0.01)
    similarity.file_similarities([], run, folder)
    (row,) = STRUCTURED.filed(tmp_path)
    models = [(run / name).read_bytes() for name in ("original.onnx", "model.onnx")]
    images, _ = next(task.numpy_batches(task.selection, len(task.selection)))
    assert row.layers == pytest.approx(similarities(*models, images[: similarity.IMAGES]))
    answers = similarity.answers(models[0], task.test, task.preprocess)
    assert row.same_answers == f"{100 * float((answers == 1).mean()):.1f} %"
    assert f"| {row.same_answers} | {row.similarity} |" in comparison_tables.section(STRUCTURED, 50, [row])
    drawn = str(comparison_plots.alike_by_layer([row]))
    for layer, value in row.layers.items():
        assert f"{row.shows}, {layer}: CKA {value:.3f}" in drawn


def test_a_layer_that_a_method_lacks_stays_white():
    drawn = str(layer_squares.plot("title", {"a": {"x": 1.0, "y": 0.0}, "b": {"x": 1.0}}, float, str))
    assert "b, y: not there" in drawn
    assert drawn.count('fill="#0550ae"') == 2
    assert drawn.count('fill="#ffffff" stroke') == 2


def test_epochs_until_the_target_are_counted_in_the_last_shape(report, filed, tmp_path):
    """Before the last cut a network is good because it is not yet small."""
    course = [(1, 0.93), (1, 0.93), (2, 0.80), (2, 0.905), (2, 0.92)]
    history = tuple(Epoch(n, 0.1, quality, training) for n, (training, quality) in enumerate(course, start=1))
    watched = replace(report, history=history, watched=Watched(1000, 0.93))
    assert [epochs_until(watched, drop) for drop in (0.03, 0.01, 0.001)] == ["4", "5", "> 5"]
    assert epochs_until(report, 0.03) == ""
    filed(STRUCTURED, "slimming", 30, 0.02, history=history, watched=Watched(1000, 0.93))
    filed(STRUCTURED, "slimming", 30, 0.02, 1, history=history[:3], watched=Watched(1000, 0.93))
    (row,) = STRUCTURED.filed(tmp_path)
    assert row.epochs == "5, > 3"
    assert comparison_rows.COMPARISONS[0].targets[30] == 2
    assert "| epochs until −2 |" in comparison_tables.section(STRUCTURED, 30, [row])
