# SPDX-License-Identifier: Apache-2.0
"""The papers' rows: what is filed stands beside what they say, and what is not run is named with its command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import paper_table
from benchmarks.claims import CLAIMS
from benchmarks.paper_claims import ROWS
from gossamer.report.record import Report, read_reports, write_json

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def report() -> Report:
    return read_reports(ROOT / "results" / "resnet56-latency" / "report.json")[0]


def shown(results: Path, method: str) -> list[str]:
    (line,) = [line for line in paper_table.text(results).splitlines() if line.startswith(f"| {method} |")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_page_is_made_from_results():
    page = paper_table.PAGE.read_text(encoding="utf-8")
    between = page.partition(paper_table.BEGIN)[2].partition(paper_table.END)[0].strip()
    assert between == paper_table.text(), "run `python -m benchmarks.paper_table`"


def test_what_is_not_run_is_named_with_its_baseline_and_its_hours(tmp_path):
    text = paper_table.text(tmp_path)
    for name in ("vgg16-baseline", *ROWS, *(f"{name}-uniform" for name in ROWS)):
        assert f"run {name} " in text
        assert f"{name:<36} # about {CLAIMS[name].hours:g} h" in text
    assert text.index("run resnet110-baseline") < text.index("run papers-entropy-resnet110")


def test_ours_stands_beside_the_dense_control_and_uniform_rates(report, tmp_path):
    """The control may be that of another claim, tuned in the same way."""

    def file(name: str, drop: float, control: float | None = None) -> None:
        macs, parameters = report.original.macs // 2, report.original.parameters // 4
        after = replace(report.compressed, macs=macs, parameters=parameters, nonzeros=parameters)
        dense = None if control is None else replace(report.original, quality=report.original.quality + control)
        certificate = {**report.certificate, "observed_drop": drop, "b": 50, "c": 50, "n": 5000}
        filed = replace(report, compressed=after, control=dense, certificate=certificate)
        write_json(filed, tmp_path / name / "report.json")

    assert shown(tmp_path, "information richness, MobileNetV2")[3:] == ["not run yet", "", "", "", ""]
    file("papers-richness-mobilenetv2", -0.015)
    file("papers-richness-mobilenetv2-uniform", 0.002)
    file("papers-entropy-mobilenetv2", 0.001, control=0.012)
    assert shown(tmp_path, "information richness, MobileNetV2")[1:] == [
        "53.9 % of MACs, 58.4 % of parameters",
        "+1.56",
        "50.0 % of MACs, 75.0 % of parameters",
        "+1.50 ± 0.39",
        "+1.20",
        "-0.20 ± 0.39",
        "[results](../results/papers-richness-mobilenetv2/)",
    ]
    assert "run papers-richness-mobilenetv2 " not in paper_table.text(tmp_path)


@pytest.mark.parametrize("name", ROWS)
def test_uniform_rates_and_the_control_are_tuned_as_the_method_is(name):
    row = ROWS[name]
    method, uniform = CLAIMS[name].arguments, CLAIMS[f"{name}-uniform"].arguments
    assert f"macs={row.left}" in method
    assert f"macs={row.left}" in uniform
    assert ("tuning=grafting" in uniform) == row.grafted
    assert method.split("--recipe")[0] == uniform.split("--recipe")[0]
    controlled = CLAIMS[row.control or name].arguments
    assert "--control" in controlled
    for words in ("--model", "--epochs"):
        assert controlled.split(words)[1].split()[0] == method.split(words)[1].split()[0]
