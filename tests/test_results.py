# SPDX-License-Identifier: Apache-2.0
"""What README claims is what results/ holds, and every result can be run again."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    coverage_page,
    curves,
    deep_compression_table,
    detection_table,
    norms_after_rounding,
    one_layer,
    one_layer_plot,
    rate_curves,
    segmentation_table,
    staircase_table,
    survivors,
)
from benchmarks.__main__ import _log, _without_paths
from benchmarks.claims import CLAIMS
from benchmarks.detect_hour import MOST_GROWTH
from benchmarks.rate_curves import Point, rate_ratios
from benchmarks.table import BEGIN, END, _row, results_table
from gossamer import container
from gossamer.certify import Certificate, recheck
from gossamer.cli import build_parser
from gossamer.filters import Answers, GroupMatrices
from gossamer.recipes import recipe_named
from gossamer.report.record import SecondTest, read_reports

ROOT = Path(__file__).resolve().parent.parent
FINISHED = sorted(path.parent for path in (ROOT / "results").glob("*/report.json"))
COVERAGE = ROOT / "results" / "coverage"
FILES = {"report.json", "command.txt", "log.txt", "environment.json"}


def test_the_table_in_readme_is_made_from_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == results_table().strip(), (
        "run `python -m benchmarks table`"
    )


@pytest.mark.parametrize("folder", FINISHED, ids=lambda folder: folder.name)
def test_the_table_shows_no_bound_smaller_than_the_one_guaranteed(folder):
    (report,) = read_reports(folder / "report.json")
    for fraction in (report.certificate["guaranteed"], 0.0057396, 0.0031496):
        certificate = {**report.certificate, "guaranteed": fraction}
        cell = _row(folder.name, replace(report, certificate=certificate)).split(" | ")[3]
        if not certificate["proven"]:
            assert cell.startswith("not proven")
            continue
        points = float(re.match(r"< ([\d.]+) points?( |$)", cell)[1])
        assert 100 * fraction <= points <= 100 * fraction + 0.01


def test_there_are_results():
    assert FINISHED, "the tests below would pass for want of anything to look at"


@pytest.mark.parametrize("folder", FINISHED, ids=lambda folder: folder.name)
def test_a_result_is_whole_and_its_certificate_holds(folder):
    assert {path.name for path in folder.iterdir()} >= FILES
    assert folder.name in CLAIMS
    for report in read_reports(folder / "report.json"):
        certificate = Certificate.from_json(dict(report.certificate))
        assert recheck(certificate) == []
        file = container.read(folder / "model.gossamer")
        assert file.payload_sha256 == certificate.payload_sha256
        assert dict(file.claims["certificate"]) == certificate.to_json()
        assert file.bytes == report.compressed.bytes.coded


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_a_command_that_exists(name):
    words = shlex.split(CLAIMS[name].arguments.replace("{data}", "data"))
    if "--settings" in words:
        assert (ROOT / words[words.index("--settings") + 1]).exists()
        words = [words[0], "--data", "x"]
    build_parser().parse_args([*words, "--out", "runs/x"])
    if then := CLAIMS[name].then:
        build_parser().parse_args(shlex.split(then.format(run="runs/x")))
    if "--recipe" in words:
        recipe_named(words[words.index("--recipe") + 1])


# --- Deep Compression ------------------------------------------------------------------------------------------

#: SHA-256 of the weights in the authors' file, layer after layer as float32.
WEIGHTS_OF_THE_AUTHORS = "a7b128820e97a1031da272fa296ee1fea632140cc7ebd676323c8c1b2565ebaf"
PAGE = (ROOT / "docs" / "methods" / "deep-compression.md").read_text(encoding="utf-8")


def test_the_tables_of_deep_compression_are_made_from_results():
    assert PAGE.partition(deep_compression_table.BEGIN)[2].partition(deep_compression_table.END)[0].strip() == (
        deep_compression_table.tables().strip()
    ), "run `python -m benchmarks.deep_compression_table`"


def test_the_authors_network_is_stored_smaller_and_to_the_bit():
    folder = ROOT / "results" / "squeezenet-deep-compression"
    sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    file = container.read(folder / "model.gossamer")
    assert file.bytes == min(sizes["coded_bytes"].values()) < sizes["published_bytes"]
    for quoted in (sizes["published_bytes"], *sizes["coded_bytes"].values()):
        assert f"{quoted:,}" in PAGE, "the page quotes other sizes"
    assert f"{100 * sizes['top1']:.1f} %" in PAGE
    shared = [tensor for tensor in file.payload.tensors if tensor.centroids is not None]
    assert (len(shared), sum(int(np.count_nonzero(t.decoded())) for t in shared)) == (26, sizes["nonzeros"])
    digest = hashlib.sha256(b"".join(tensor.decoded().tobytes() for tensor in shared)).hexdigest()
    assert digest == WEIGHTS_OF_THE_AUTHORS, "these are other weights than those published"


def test_the_coverage_page_and_its_number_in_readme_are_made_from_results():
    assert (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8") == coverage_page.page(), (
        "run `python -m benchmarks.coverage_run page`"
    )
    rows = [row for source in coverage_page.SOURCES for row in json.loads((COVERAGE / f"{source}.json").read_text())]
    assert all(row["outcome"] == "exact" and row["error"] < 1e-10 and row["trains"] for row in rows)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"checked on {len(rows)} networks" in " ".join(readme.split())


@pytest.mark.parametrize("file", sorted((ROOT / "results").glob("nncodec-*/curves.json")), ids=lambda f: f.parent.name)
def test_the_ratios_beside_nncodec_are_those_of_the_points_filed(file):
    curves, points, share = rate_curves.measured(file)
    assert rate_ratios(points, share) == pytest.approx(curves["rate_ratio"])


def test_the_table_beside_nncodec_is_made_from_results():
    page = rate_curves.PAGE.read_text(encoding="utf-8")
    shown = page.partition(rate_curves.BEGIN)[2].partition(rate_curves.END)[0].strip()
    assert shown == rate_curves.table(), "run `python -m benchmarks.rate_curves`"


def test_the_table_of_norms_after_rounding_is_made_from_results():
    page = norms_after_rounding.PAGE.read_text(encoding="utf-8")
    shown = page.partition(norms_after_rounding.BEGIN)[2].partition(norms_after_rounding.END)[0].strip()
    assert shown == norms_after_rounding.table(), "run `python -m benchmarks.norms_after_rounding table`"


@pytest.mark.parametrize("of", [segmentation_table, detection_table], ids=["segmentation", "detection"])
def test_the_tables_of_segmentation_and_detection_are_made_from_results(of):
    shown = of.DOCS_PAGE.read_text(encoding="utf-8").partition(of.BEGIN)[2].partition(of.END)[0].strip()
    assert shown == of.text(of.filed()), f"run `python -m {of.__name__}`"


def test_every_claim_of_a_page_of_its_own_has_a_row_there():
    rows = {
        "segmentation": {name for claims in segmentation_table.sections().values() for name in claims},
        "detection": {name for network in detection_table.NETWORKS for name in detection_table.claims_of(network)},
    }
    for name, claim in CLAIMS.items():
        assert claim.page not in rows or name in rows[claim.page], name
    assert set.union(*rows.values()) <= set(CLAIMS)
    controlled = [name for name in rows["segmentation"] if re.search(r"-importance-[\d.]+$", name)]
    assert len(controlled) == 11
    assert all("--control" in CLAIMS[name].arguments for name in controlled)


def side(report, **changed):
    """One of a report's networks, with what a kind of task adds."""
    return replace(report.original, **changed)


def test_a_row_of_segmentation_has_both_tests_the_control_and_both_runtimes():
    report = read_reports(ROOT / "results" / "resnet56-latency" / "report.json")[0]
    accuracy = segmentation_table.ACCURACY
    before = side(report, quality=0.5, figures={accuracy: 0.9}, second_test=SecondTest(0.4, {accuracy: 0.8}))
    after = replace(
        report.compressed,
        quality=0.49,
        macs=report.original.macs // 10,
        figures={accuracy: 0.895},
        second_test=SecondTest(0.37, {accuracy: 0.79}),
    )
    control = side(report, quality=0.51, second_test=SecondTest(0.42))
    certificate = {**report.certificate, "proven": False, "look": 3}
    report = replace(report, original=before, compressed=after, control=control, certificate=certificate)
    made = segmentation_table.text({"unet-importance-0.5": report, "unet-importance-ones": report})
    assert made.index("### U-Net on buildings") < made.index("### What the paper varies")
    row = next(line for line in made.splitlines() if line.startswith("| 0.5 points |")).split(" | ")
    assert row[1].endswith("(-90.0 %)")
    assert row[3:8] == [
        "90.00 → 89.50 % (-0.50)",
        "50.00 → 49.00 % (-1.00)",
        "80.00 → 79.00 % (-1.00)",
        "40.00 → 37.00 % (-3.00)",
        "51.00 %, 42.00 %",
    ]
    assert row[8] == "2.37 → 0.99 ms (2.39x)"
    assert row[9].startswith("2.51 → 1.0")
    assert row[-2:] == ["not proven, look 3", "[results](../results/unet-importance-0.5/) |"]
    assert len(row) == len(segmentation_table.HEAD)
    assert "| weights that start at 1 |" in made
    assert segmentation_table.text({}) == "Not measured yet."


def test_a_row_of_detection_has_both_average_precisions_and_the_look():
    report = read_reports(ROOT / "results" / "resnet56-latency" / "report.json")[0]
    names = (detection_table.AP50, detection_table.AP)
    before, control = (side(report, figures=dict(zip(names, of, strict=True))) for of in ((0.9, 0.6), (0.91, 0.62)))
    after = replace(report.compressed, figures=dict(zip(names, (0.88, 0.57), strict=True)))
    report = replace(report, original=before, compressed=after, control=control)
    made = detection_table.text({"pedestrians-entropy": report, "pedestrians-v2-richness": report})
    assert made.count("### ") == 2
    row = next(line for line in made.splitlines() if line.startswith("| layer entropy")).split(" | ")
    assert row[1:3] == ["90.00 → 88.00 % (-2.00)", "60.00 → 57.00 % (-3.00)"]
    assert row[4] == "91.00 %, 62.00 %"
    assert row[7] == "3.43 MB → 759 kB (4.5x)"
    assert re.fullmatch(r"drop < [\d.]+ points?, look \d+", row[-2])
    assert len(row) == len(detection_table.HEAD)


def test_readme_s_table_names_the_measure_and_leaves_tables_of_pages_to_them():
    report = read_reports(ROOT / "results" / "resnet56-latency" / "report.json")[0]
    assert "| accuracy 93.18 → 93.14 % |" in _row("resnet56-latency", report)
    iou = replace(report, certificate={**report.certificate, "measure": "IoU"})
    assert "| IoU 93.18 → 93.14 % |" in _row("unet-bytes", iou)
    assert CLAIMS["unet-bytes"].page is None
    assert CLAIMS["unet-importance-1"].page == "segmentation"


def test_what_is_left_of_each_layer_is_counted_in_the_file():
    sizes = survivors.sizes_of("lenet5")
    left = survivors.left_in(ROOT / "results" / "lenet5-deep-compression" / "model.gossamer", sizes)
    total = sum(share * sizes[name] for name, share in left.items())
    report = read_reports(ROOT / "results" / "lenet5-deep-compression" / "report.json")[0]
    biases = report.compressed.nonzeros - total
    assert 0 < biases <= 580
    drawn = str(
        survivors.plot("title", {"it": left, "nothing": dict.fromkeys(left, 0.0), "all": dict.fromkeys(left, 1.0)})
    )
    assert [drawn.count(f'fill="{shade}" stroke') for shade in ("#ffffff", "#0550ae")] == [len(sizes), len(sizes)]
    assert f">it, conv1.weight: {100 * left['conv1.weight']:.1f} % left<" in drawn


def test_one_layer_s_filters_are_shown_as_filed():
    page, results = one_layer.PAGE.read_text(encoding="utf-8"), one_layer.filed()
    shown = page.partition(one_layer.BEGIN)[2].partition(one_layer.END)[0].strip()
    assert shown == one_layer.text(results), "run `python -m benchmarks.one_layer`"
    for name, result in results.items():
        drawn = (ROOT / "docs" / "curves" / f"one-layer-{name}.svg").read_text(encoding="utf-8")
        assert drawn == one_layer.drawing(name, result)


@pytest.mark.parametrize(("shortlist", "first"), [(0, 1), (2, 3)])
def test_of_a_first_layer_every_filter_is_tried(shortlist, first):
    """The filter that costs nothing has the largest Taylor score: a shortlist never sees it."""
    worth, asked = np.array([0.3, 0.0, 0.2, 0.1]), []

    def ask(keep):
        asked.append(keep)
        return Answers(float(worth[keep].sum()), 0.0, np.zeros(0))

    rows, changes = (np.ones((4, 3)),), np.array([[0.2, 0.9, 0.3, 0.1]])
    matrices = GroupMatrices("conv", size=4, rows=rows, asked=ask, changes=changes)
    assert one_layer.orders_of(matrices, shortlist)["CAR"][0] == first
    assert len(asked) == (4 + 3 if shortlist == 0 else 2 + 2)


def test_filters_are_colourful_where_colours_cancel_each_other():
    grey, red_against_green = np.ones((3, 2, 2)), np.array([1.0, -1.0, 0.0])[:, None, None] * np.ones((3, 2, 2))
    red = np.array([1.0, 0.0, 0.0])[:, None, None] * np.ones((3, 2, 2))
    shares = one_layer_plot.colour_share(np.stack([grey, red_against_green, red, np.zeros((3, 2, 2))]))
    assert shares == pytest.approx([0, 1, 2 / 3, 0])


@pytest.mark.parametrize("bgr", [True, False])
def test_the_filters_that_go_first_are_drawn_in_their_colours(bgr):
    weights = np.zeros((4, 3, 1, 1))
    weights[2, 0] = 1.0  # the first colour that it reads
    ways = ["CAR", "L1 norm", "Taylor", *(f"at random, {seed}" for seed in range(3))]
    result = {
        "filters": 4,
        "images_tested": 1000,
        "shortlist": 0,
        "bgr": bgr,
        "curves": {way: [[0, 0.9], [2, 0.5]] for way in ways} | {"CAR": [[0, 0.9], [2, 0.8]]},
        "orders": {way: [2, 0] for way in ways},
        "weights": weights.reshape(4, -1).tolist(),
    }
    shown = one_layer.text({"vgg16-first": result})
    assert "| 4 → 2 | 90.0 % | 80.0 % | all | 50.0 % | 50.0 % | 50.0 % | 1,000 |" in shown
    assert "| 80.0 % | 16 a step |" in one_layer.text({"vgg16-last": result | {"shortlist": 16}})
    assert "measure vgg16-last " in shown
    assert "measure vgg16-first " not in shown
    drawn = one_layer.drawing("vgg16-first", result)
    assert "The first 2 filters that go" in drawn
    assert "CAR: 1 colourful" in drawn
    first, second = re.findall(r'fill="(#[0-9a-f]{6})"></rect></g>', drawn)[:2]
    assert (first, second) == ("#8080ff" if bgr else "#ff8080", "#808080")


def test_the_grids_are_shown_as_filed():
    page = staircase_table.PAGE.read_text(encoding="utf-8")
    shown = page.partition(staircase_table.BEGIN)[2].partition(staircase_table.END)[0].strip()
    assert shown == staircase_table.tables(), "run `python -m benchmarks.staircase_table`"


def test_the_curves_are_made_from_results():
    page = curves.PAGE.read_text(encoding="utf-8")
    shown = page.partition(curves.BEGIN)[2].partition(curves.END)[0].strip()
    assert shown == curves.page(), "run `python -m benchmarks.curves`"
    assert {"resnet20", "resnet56"} <= set(curves.drawn())
    for name in curves.drawn():
        drawn = (ROOT / "docs" / "curves" / f"{name}.svg").read_text(encoding="utf-8")
        assert drawn == curves.drawing(name), "run `python -m benchmarks.curves`"


def test_a_curve_holds_what_nothing_of_its_kind_beats():
    marks = [
        curves.Mark("a", f"{size}", size, drop) for size, drop in [(9, 0.1), (5, 0.5), (7, 0.5), (3, 2.0), (4, 2.5)]
    ]
    assert [mark.bytes for mark in curves.frontier([*marks, curves.Mark("b", "", 1, -1.0)], "a")] == [3, 5, 9]


def test_bytes_are_compared_at_equal_quality():
    """Curves of known shape: half the bytes everywhere; noise that rises with more bytes is smoothed away."""
    drops = [-0.001, 0.002, 0.005, 0.008, 0.012]
    theirs = [Point("NNCodec, one qp", {}, int(1e6 * 0.8**n), 0.0, drop) for n, drop in enumerate(drops)]
    ours = [Point("ours", {}, int(5e5 * 0.8**n), 0.0, drop) for n, drop in enumerate(drops)]
    better = [Point("NNCodec, qp by tensor", {}, int(8e5 * 0.8**n), 0.0, drop) for n, drop in enumerate(drops)]
    ratios = rate_ratios([*ours, *theirs, *better], 0.0)
    assert list(ratios.values()) == pytest.approx([0.5, 0.625, 0.625], abs=1e-4)
    noisy = [replace(ours[0], bytes=10**6, test_drop=0.001), *ours]
    assert rate_ratios([*noisy, *theirs], 0.0)["NNCodec, one qp"] == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match="expected points of 'ours' from 0 to 1 points lost"):
        rate_ratios([*ours[:3], *theirs], 0.0)


def test_an_hour_of_detection_ended_as_it_was_told_and_its_memory_did_not_grow():
    found = json.loads((ROOT / "results" / "detect-hour" / "memory.json").read_text(encoding="utf-8"))
    assert found["minutes"] >= 60
    assert found["exit"] == 0
    assert found["frames_broken"] > 0
    assert found["streams"] > 1
    assert found["growth_bytes_per_hour"] <= MOST_GROWTH


def test_claims_whose_names_have_points_have_logs_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("GOSSAMER_RUNS", str(tmp_path))
    assert _log("slim-0.25") == tmp_path / "slim-0.25.log"


def test_no_result_names_a_folder_of_the_machine_that_it_came_from():
    emulated = r"home/(?!board\b|wheels\b)"  # those two are folders within the board that benchmarks/aarch64.sh makes
    machine = re.compile(rf"(?<![\w.$/])/(?:{emulated}|(?:root|tmp|work|opt|mnt|media|srv|Users|Volumes)/)")
    for path in (ROOT / "results").rglob("*"):
        if path.suffix in (".json", ".txt", ".html", ".svg", ".csv"):
            found = machine.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(ROOT)} names {found[0]}"


def test_a_folder_of_data_is_shown_by_its_variable_though_links_lead_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "there" / "people").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "people").symlink_to(tmp_path / "there" / "people")
    monkeypatch.setenv("GOSSAMER_DATA", str(tmp_path / "data"))
    text = f"{tmp_path}/data/a.npz, {tmp_path}/there/people/b.npz"
    assert _without_paths(text) == "$GOSSAMER_DATA/a.npz, $GOSSAMER_DATA/people/b.npz"
