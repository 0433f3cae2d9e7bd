# SPDX-License-Identifier: Apache-2.0
"""What papers claim of zeroing weights: tables are made from what is filed, and say what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import published_lenets, weight_level_tables
from benchmarks.claims import CLAIMS
from benchmarks.weight_level_claims import BARS, LADDERS
from gossamer.files import write_json
from gossamer.report.record import Epoch, Report, read_reports
from gossamer.report.record import write_json as write_report
from gossamer.zoo import ZOO

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "weight-level.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report() -> Report:
    return read_reports(ROOT / "results" / "resnet20-bytes" / "report.json")[0]


@pytest.fixture
def file(tmp_path, report):
    """Files a report of so many weights and so good a network."""

    def write(name: str, nonzeros: int, quality: float, control: float | None = None, **changed) -> None:
        after = replace(report.compressed, nonzeros=nonzeros, parameters=max(nonzeros, 100_000), quality=quality)
        dense = None if control is None else replace(report.original, quality=control)
        write_report(replace(report, compressed=after, control=dense, **changed), tmp_path / name / "report.json")

    return write


@pytest.mark.parametrize(
    ("marks", "shown", "command"),
    [
        (weight_level_tables.BARS_MARKS, weight_level_tables.bars, "weight_level_tables"),
        (weight_level_tables.LADDERS_MARKS, weight_level_tables.ladders, "weight_level_tables"),
        ((published_lenets.BEGIN, published_lenets.END), published_lenets.text, "published_lenets"),
    ],
    ids=["bars", "ladders", "lenets"],
)
def test_the_page_is_made_from_results(marks, shown, command):
    begin, end = marks
    assert PAGE.partition(begin)[2].partition(end)[0].strip() == shown(), f"run `python -m benchmarks.{command}`"


def test_a_bar_stands_beside_the_control_of_the_fewest(file, tmp_path, report):
    before = report.original.parameters
    file("bars-zfnet-twice", before // 32, 0.90, control=0.915)
    file("bars-zfnet", before // 16, 0.92)
    lines = [line for line in weight_level_tables.bars(tmp_path).splitlines() if line.startswith("| ZFNet")]
    assert len(lines) == 2
    for line, ratio, points in zip(lines, ("32.0x", "16.0x"), ("-1.50", "+0.50"), strict=True):
        assert f"| 15x | {ratio} |" in line
        assert f"| 91.50 % | {points} |" in line
    assert "run bars-zfnet " not in weight_level_tables.bars(tmp_path)
    assert f"run {'zfnet-baseline':<28} # about {CLAIMS['zfnet-baseline'].hours:g} h" in weight_level_tables.bars(
        tmp_path
    )


@pytest.mark.parametrize("name", BARS)
def test_a_bar_is_asked_for_with_room_for_biases(name):
    for claim, times in ((name, 1), (f"{name}-twice", 2)):
        kept = float(CLAIMS[claim].arguments.partition("kept=")[2].split()[0])
        network = ZOO[BARS[name].model](10)
        weights = sum(value.numel() for value in network.parameters() if value.ndim > 1)
        channels = sum(value.numel() for key, value in network.named_parameters() if key.endswith("bias"))
        parameters = sum(value.numel() for value in network.parameters())
        assert kept * weights + channels < parameters / (times * BARS[name].ratio)
        assert ("--control" in CLAIMS[claim].arguments) == (times == 2)


def test_learned_thresholds_are_said_to_save_what_they_save(file, tmp_path):
    thresholds, magnitude = LADDERS
    file(thresholds, 8_000, 0.91, seconds=3600.0, history=tuple(Epoch(n, 0.1, None) for n in range(1, 9)))
    assert "fewer weights" not in weight_level_tables.ladders(tmp_path)
    file(magnitude, 10_000, 0.91, seconds=3000.0)
    text = weight_level_tables.ladders(tmp_path)
    assert "Learned thresholds leave 20 % fewer weights, in 20 % more time." in text
    assert "| 8 | 1.0 |" in text
    without = [CLAIMS[name].arguments.partition("--recipe")[0] for name in LADDERS]
    assert without[0] == without[1], "the same tolerance and epochs"


def test_a_published_lenet_is_found_by_its_prefix():
    """Of two networks in a file; pixels are divided by 256."""
    torch.manual_seed(0)
    modules = {name: ZOO[name](10).eval() for name in ("lenet5", "lenet300100")}
    weights = {
        f"{name}.{key}": value.numpy().copy() for name, of in modules.items() for key, value in of.state_dict().items()
    }
    weights["lenet5.ip1.weight"][:, 1:] = 0
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    modules["lenet5"].ip1.weight.data[:, 1:] = 0
    with torch.no_grad():
        labels = modules["lenet5"](torch.from_numpy(images[:, None] / np.float32(256))).argmax(1).numpy()
    labels[:5] = (labels[:5] + 1) % 10
    found = published_lenets.judged("lenet5", weights, images, labels)
    assert found == {"parameters": 431_080, "nonzeros": 431_080 - 500 * 799, "quality": 0.75}


def test_our_lenets_stand_beside_the_published_ones(file, tmp_path):
    side = {"parameters": 266_610, "nonzeros": 266_610, "quality": 0.95}
    networks = {"lenet300100": {"original": side, "sparse": side | {"nonzeros": 5_000, "quality": 0.96}}}
    write_json(tmp_path / "published-lenets" / "published.json", {"images": 3000, "networks": networks})
    file("lenet300100-active-stepwise", 4_000, 0.97, control=0.98)
    (line,) = [line for line in published_lenets.text(tmp_path).splitlines() if line.startswith("| LeNet-300-100")]
    assert "| 266,610 | 5,000 (53x fewer) | 95.00 → 96.00 % | 4,000 (68x fewer) |" in line
    assert "→ 97.00 % | 98.00 % |" in line
