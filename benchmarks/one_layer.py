# SPDX-License-Identifier: Apache-2.0
"""Half of the filters of one layer, one after the other, without training: CAR beside L1, Taylor and chance.

    python -m benchmarks.one_layer measure vgg16-first     writes results/one-layer-vgg16-first/; needs GOSSAMER_DATA
    python -m benchmarks.one_layer                         the table and the pictures of docs/structured.md

The setting of Abbasi-Asl and Yu (2021), of whom half of AlexNet's first and second layer leaves accuracy 26 and 20
points above the next best method. Orders are found on images of the selection split, accuracies are of other images.
Of a first layer CAR tries every filter that is left; where a layer is too wide for that, a shortlist of those with the
smallest Taylor scores. What CAR has asked lies in GOSSAMER_RUNS (default: runs/), and a measurement that was killed
goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks import one_layer_plot
from benchmarks.__main__ import arguments, runs_folder
from benchmarks.claims import CLAIMS
from benchmarks.filing import data_folder, file_circumstances, put_between
from benchmarks.imagenet_images import CLASSES, pictures
from benchmarks.similarity import task_of
from benchmarks.squeezenet_file import PREPROCESS, PUBLISHED
from benchmarks.squeezenet_file import network as squeezenet
from gossamer.files import read_json, write_atomically, write_json
from gossamer.filters import Answers, Car, GroupMatrices, L1Norm, Taylor
from gossamer.graph import Network, trace
from gossamer.search.first_order import loss_changes
from gossamer.search.tail import Tail
from gossamer.search.widths import matrices_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "structured.md"
BEGIN, END = "<!-- one layer: python -m benchmarks.one_layer -->", "<!-- end of one layer -->"
POINTS, CHANCES, SAVED_AFTER = 8, 3, 20
MOST_PIXELS = 200  # of a filter, in all its colours, that is filed and drawn

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Subject:
    """A trained network, images that decide and images that count, in batches of inputs and labels."""

    network: Network
    asked: Batches
    tested: Batches
    classes: int
    bgr: bool = False  #: its first layer reads blue first


def vgg16(asking: int) -> Subject:
    """Our VGG-16 on CIFAR-10; `asking` images of the selection split decide, 5,000 test images count."""
    task = task_of(arguments(CLAIMS["vgg16-bytes"]))
    asked = list(task.batches(task.selection.subset(np.arange(asking), "selection"), 100))
    tested = list(task.batches(task.test.subset(np.arange(5000), "test"), 100))
    return Subject(trace(task.model.eval(), task.example), asked, tested, len(task.classes))


def squeezenet_published() -> Subject:
    """The authors' SqueezeNet of Deep Compression on ImageNet's classes; 500 images decide, the other 500 count."""
    data = data_folder()
    model, _ = squeezenet(data / PUBLISHED)
    images, labels = pictures(data)
    pixels = (np.stack([PREPROCESS.fit(image) for image in images[start : start + 50]]) for start in range(0, 1000, 50))
    inputs = [torch.from_numpy(PREPROCESS.apply(some)) for some in pixels]
    batches = list(zip(inputs, torch.from_numpy(labels).split(50), strict=True))
    network = trace(model, torch.zeros(2, *PREPROCESS.shape))
    return Subject(network, batches[:10], batches[10:], len(CLASSES), PREPROCESS.bgr)


@dataclass(frozen=True)
class Asked:
    """A layer of a subject, how many filters CAR tries at a step, 0 for all, and the hours of that on two cores.

    The hours are estimated: sets of filters that are asked about, times what the network takes for the images.
    """

    shows: str
    layer: str
    make: Callable[[], Subject]
    shortlist: int
    hours: float


SUBJECTS = {
    "vgg16-first": Asked("VGG-16, the first of 13 convolutions", "features.0.weight", lambda: vgg16(2000), 0, 2.0),
    "vgg16-last": Asked("VGG-16, the last of 13 convolutions", "features.40.weight", lambda: vgg16(3000), 16, 0.5),
    "squeezenet-first": Asked(
        "SqueezeNet of ImageNet, the first convolution", "features.0.weight", squeezenet_published, 0, 4.0
    ),
}


def measure(name: str) -> None:
    """Write the result of one subject."""
    asks = SUBJECTS[name]
    subject, layer = asks.make(), asks.layer
    network = subject.network
    group = next(group for group in network.groups if group.name == layer)
    asked, tested = (
        Tail(network, group, some, F.cross_entropy, right, subject.classes) for some in (subject.asked, subject.tested)
    )
    matrices = matrices_of(group, network.module.state_dict())
    matrices = replace(matrices, changes=loss_changes(network, subject.asked, F.cross_entropy)[layer])
    cached = Remembered(asked, runs_folder() / f"one-layer-{name}.json", digest(subject))
    orders = orders_of(replace(matrices, asked=cached), asks.shortlist)
    half, rows = group.size // 2, matrices.rows[0]
    removed = sorted({round(half * point / POINTS) for point in range(POINTS + 1)})
    curves = {
        way: [[count, quality(tested, group.size, order[:count])] for count in removed] for way, order in orders.items()
    }
    folder = ROOT / "results" / f"one-layer-{name}"
    write_json(
        folder / "curves.json",
        {
            "filters": group.size,
            "images_asked": asked.images,
            "images_tested": tested.images,
            "shortlist": asks.shortlist,
            "bgr": subject.bgr,
            "curves": curves,
            "orders": {way: order[:half] for way, order in orders.items()},
            "weights": rows.astype(float).tolist() if rows.shape[1] <= MOST_PIXELS else [],
        },
    )
    file_circumstances(folder, f"python -m benchmarks.one_layer measure {name}")
    cached.forget()


def right(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,): whether the highest output is that of the label."""
    return outputs.argmax(axis=1) == labels


def orders_of(matrices: GroupMatrices, shortlist: int) -> dict[str, list[int]]:
    """The filters in the order in which each way removes them, by its name."""
    half = matrices.size // 2
    car = Car(share=0.5, shortlist=shortlist, suspects="taylor")
    orders = {
        "CAR": [channel for channel, _ in car.removals(matrices)][:half],
        "L1 norm": np.argsort(L1Norm().score(matrices), kind="stable").tolist(),
        "Taylor": np.argsort(Taylor().score(matrices), kind="stable").tolist(),
    }
    for seed in range(CHANCES):
        orders[f"at random, {seed}"] = np.random.default_rng(seed).permutation(matrices.size).tolist()
    return orders


def quality(tail: Tail, size: int, removed: list[int]) -> float:
    """Accuracy without these filters."""
    keep = np.ones(size, np.bool_)
    keep[removed] = False
    return tail(keep).quality


def digest(subject: Subject) -> str:
    """Of the network's numbers and of the images that decide."""
    found = hashlib.sha256()
    for tensor in (*subject.network.module.state_dict().values(), *chain.from_iterable(subject.asked)):
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


class Remembered:
    """A tail whose answers are kept in a file, as long as it is of the same network and images."""

    def __init__(self, tail: Tail, path: Path, digest: str) -> None:
        self._tail, self._path, self._digest = tail, path, digest
        before = read_json(path) if path.exists() else {}
        self._known: dict[str, list[float]] = before["answers"] if before.get("digest") == digest else {}

    def __call__(self, keep: NDArray[np.bool_]) -> Answers:
        key = np.packbits(keep).tobytes().hex()
        if key not in self._known:
            answers = self._tail(keep)
            self._known[key] = [answers.quality, answers.loss]
            if len(self._known) % SAVED_AFTER == 0:
                self.save()
                print(f"{len(self._known)} answers", flush=True)
        return Answers(*self._known[key], by_class=np.zeros(0))

    def save(self) -> None:
        """Write what is known."""
        write_json(self._path, {"digest": self._digest, "answers": self._known})

    def forget(self) -> None:
        """All is filed."""
        self._path.unlink(missing_ok=True)


def filed() -> dict[str, dict[str, Any]]:
    """The results that there are, by the name of their subject."""
    paths = {name: ROOT / "results" / f"one-layer-{name}" / "curves.json" for name in SUBJECTS}
    return {name: read_json(path) for name, path in paths.items() if path.exists()}


def text(results: Mapping[str, dict[str, Any]]) -> str:
    """What stands between the marks."""
    if not results:
        return f"Not measured yet.\n\n{not_measured(SUBJECTS)}"
    head = ["network and layer", "filters", "whole", "CAR", "tried", "L1 norm", "Taylor", "at random", "images", ""]
    lines = [head, ["---", *["---:"] * (len(head) - 2), "---"]]
    shown = []
    for name, result in results.items():
        curves = averaged(result["curves"])
        ends = [f"{100 * curves[way][-1][1]:.1f} %" for way in ("CAR", "L1 norm", "Taylor", "at random")]
        ends.insert(1, f"{result['shortlist']} a step" if result["shortlist"] else "all")
        whole = f"{100 * curves['CAR'][0][1]:.1f} %"
        filters = f"{result['filters']} → {result['filters'] - curves['CAR'][-1][0]}"
        link = f"[results](../results/one-layer-{name}/)"
        lines.append([SUBJECTS[name].shows, filters, whole, *ends, f"{result['images_tested']:,}", link])
        shown.append(f"![{SUBJECTS[name].shows}](curves/one-layer-{name}.svg)")
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    missing = [name for name in SUBJECTS if name not in results]
    return "\n\n".join([table, *shown, *([not_measured(missing)] if missing else [])])


def not_measured(names: Iterable[str]) -> str:
    """The commands that are still to be run."""
    calls = [f"python -m benchmarks.one_layer measure {name:<17} # about {SUBJECTS[name].hours:g} h" for name in names]
    return "\n".join(["```shell", *calls, "```"])


def averaged(curves: Mapping[str, list[list[float]]]) -> dict[str, list[list[float]]]:
    """The curves, those of chance as one."""
    chance = [curve for way, curve in curves.items() if way.startswith("at random")]
    mean = [[float(x) for x in row] for row in np.mean(chance, axis=0)]
    return {**{way: curve for way, curve in curves.items() if not way.startswith("at random")}, "at random": mean}


def drawing(name: str, result: Mapping[str, Any]) -> str:
    """The picture of one subject."""
    return f"{one_layer_plot.plot(SUBJECTS[name].shows, averaged(result['curves']), result)}\n"


def main() -> int:
    """Measure one, or show what there is."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_layer", description=__doc__.splitlines()[0])
    parser.add_argument("verb", nargs="?", choices=("show", "measure"), default="show")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - SUBJECTS.keys()):
        parser.error(f"expected subjects of {', '.join(SUBJECTS)}, got {', '.join(unknown)}")
    if options.verb == "measure":
        for name in options.names or SUBJECTS:
            measure(name)
    results = filed()
    for name, result in results.items():
        write_atomically(ROOT / "docs" / "curves" / f"one-layer-{name}.svg", drawing(name, result).encode())
    put_between(PAGE, BEGIN, END, text(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
