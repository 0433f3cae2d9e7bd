# SPDX-License-Identifier: Apache-2.0
"""The LeNets that dynamic network surgery published, dense and sparse, beside ours by active stepwise pruning.

    python -m benchmarks.published_lenets measure     writes results/published-lenets/; needs GOSSAMER_DATA
    python -m benchmarks.published_lenets             the table of docs/weight-level.md

Their files are `weights/mnist/dns_lenet_original.npz` and `dns_lenet_sparse.npz`: both networks in each, names with the
prefixes `lenet300100.` and `lenet5.`, pixels / 256. All four are asked about the test images of the data folder, on
which nothing is chosen; ours are on the same ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.claims import CLAIMS
from benchmarks.filing import data_folder, file_circumstances, put_between
from benchmarks.weight_level_claims import LENETS
from gossamer.files import read_json, write_json
from gossamer.report.record import read_reports
from gossamer.zoo import ZOO

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
PAGE = ROOT / "docs" / "weight-level.md"
BEGIN, END = "<!-- lenets: python -m benchmarks.published_lenets -->", "<!-- end of lenets -->"
FOLDER, FILE, SCALE = "published-lenets", "published.json", 256.0
HEAD = [
    "network",
    "parameters",
    "left, surgery",
    "accuracy, surgery",
    "left, ours",
    "accuracy, ours",
    "dense control",
    "",
]

Arrays = Mapping[str, NDArray[np.float32]]


def measure() -> None:
    """File accuracies and survivors of the published networks."""
    data = data_folder()
    with np.load(data / "mnist" / "mnist.npz") as mnist:
        images, labels = mnist["test_x"], mnist["test_y"]
    found: dict[str, Any] = {"images": len(images), "networks": {name: {} for name in LENETS}}
    for which in ("original", "sparse"):
        with np.load(data / "weights" / "mnist" / f"dns_lenet_{which}.npz") as file:
            weights = {name: file[name] for name in file.files}
        for name in LENETS:
            found["networks"][name][which] = judged(name, weights, images, labels)
    write_json(RESULTS / FOLDER / FILE, found)
    file_circumstances(RESULTS / FOLDER, "python -m benchmarks.published_lenets measure")


def judged(name: str, weights: Arrays, images: NDArray[np.uint8], labels: NDArray[np.integer]) -> dict[str, Any]:
    """Parameters, those that are not zero, and the share of images (N, 28, 28) that a LeNet of the file gets right."""
    own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
    module = ZOO[name](10).eval()
    module.load_state_dict({key: torch.from_numpy(value) for key, value in own.items()})
    with torch.no_grad():
        outputs = module(torch.from_numpy(images[:, None]).float() / SCALE)
    return {
        "parameters": sum(value.size for value in own.values()),
        "nonzeros": sum(int(np.count_nonzero(value)) for value in own.values()),
        "quality": float((outputs.argmax(1).numpy() == labels).mean()),
    }


def text(results: Path = RESULTS) -> str:
    """What stands between the marks: theirs beside ours, as far as they are filed."""
    if not (results / FOLDER / FILE).exists():
        return "Not measured yet."
    published = read_json(results / FOLDER / FILE)
    lines = [HEAD, ["---", *["---:"] * (len(HEAD) - 2), "---"]]
    lines += [_cells(name, of, results) for name, of in published["networks"].items()]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    images = f"Accuracies are of {published['images']:,} test images, their dense networks' before the arrow."
    missing = [name for name in map(_claim, published["networks"]) if not (results / name).exists()]
    if not missing:
        return f"{table}\n\n{images}"
    commands = "\n".join(f"python -m benchmarks run {name:<28} # about {CLAIMS[name].hours:g} h" for name in missing)
    return f"{table}\n\n{images} Not run yet:\n\n```shell\n{commands}\n```"


def _claim(name: str) -> str:
    return f"{name}-active-stepwise"


def _cells(name: str, published: Mapping[str, Any], results: Path) -> list[str]:
    before, after = published["original"], published["sparse"]
    path = results / _claim(name) / "report.json"
    ours = ["", "", "", ""]
    if path.exists():
        report = read_reports(path)[0]
        ours = [
            _left(report.compressed.nonzeros, report.original.parameters),
            f"{100 * report.original.quality:.2f} → {100 * report.compressed.quality:.2f} %",
            f"{100 * report.control.quality:.2f} %" if report.control else "",
            f"[results](../results/{_claim(name)}/)",
        ]
    theirs = f"{100 * before['quality']:.2f} → {100 * after['quality']:.2f} %"
    return [
        LENETS[name],
        f"{before['parameters']:,}",
        _left(after["nonzeros"], after["parameters"]),
        theirs,
        *ours,
    ]


def _left(nonzeros: int, parameters: int) -> str:
    return f"{nonzeros:,} ({parameters / nonzeros:.0f}x fewer)"


def main() -> int:
    """Measure, or show what there is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published_lenets", description=__doc__.splitlines()[0])
    parser.add_argument("verb", nargs="?", choices=("show", "measure"), default="show")
    if parser.parse_args().verb == "measure":
        measure()
    put_between(PAGE, BEGIN, END, text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
