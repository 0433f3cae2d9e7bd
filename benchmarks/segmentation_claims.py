# SPDX-License-Identifier: Apache-2.0
"""Claims about segmentation, by U-Net and TernausNet at a quarter of their widths: buildings on aerial tiles, and cells
under an electron microscope (ISBI 2012), in place of a second collection of buildings.

Of ISBI's masks the second class, whose IoU counts, is the inside of the cells; membranes are the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.claim import STORED, Claim

PAGE = "segmentation"
TOLERANCES = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Network:
    """A network of the zoo as claims train it: what it is called, `--model`, and its epochs on tiles of buildings.

    `tuning`: how a round of pruning is tuned.
    """

    shows: str
    model: str
    epochs: int
    tuning: str = "--epochs 20"


@dataclass(frozen=True)
class Data:
    """Images with masks: what is on them, and the words of the command line."""

    shows: str
    words: str


NETWORKS = {
    "unet": Network("U-Net", "unet:width=16,batch_norm=true", 100),
    "ternausnet": Network("TernausNet-11", "ternausnet11:width=16,batch_norm=true", 100),
}
#: The same trained to its end: what it can answer then, a round of 20 epochs does not win back.
LONG = Network(
    "U-Net, trained three times as long", "unet:width=16,batch_norm=true", 300, "--epochs 100 --learning-rate 0.02"
)
BUILDINGS = Data("buildings", "--data {data}/buildings_oam --preset imagenet --size 256 ")
CELLS = Data("cells", "--data {data}/isbi2012_em --preset imagenet --size 256 ")
#: What the paper varies, on one network, at one point of IoU.
ABLATIONS = {
    "ones": ("weights that start at 1", "start=ones"),
    "normal": ("weights that start around 1", "start=normal"),
    "dissimilarity": ("weights that start at the filters' dissimilarity", "start=dissimilarity"),
    "activation": ("weights that start at the activations", "start=activation"),
    "unlearned": ("no weights are learned, the norm decides", "learning=0"),
    "energy": ("a share of each layer's importance goes, whatever the error", "mode=energy"),
    "uniform": ("a share of each layer's filters goes, whatever the error", "mode=uniform"),
}
_BY_WEIGHTS = "--tolerance 5 --observed {} --minimise macs {} --batch-size 8 --control --recipe {}"
#: Trained as long as the baseline and its pruning together.
_FROM_RANDOM = "--plan results/{}/plan.json --epochs {} --batch-size 8 --learning-rate 0.05"
_BY_AUTO = "--tolerance 5 --observed 1 --minimise {} --epochs 20 --batch-size 8 --hours 1.5"


def _baseline(network: Network, data: Data, epochs: int, hours: float) -> Claim:
    return Claim(
        f"{network.shows} at a quarter of its widths, trained here on {data.shows}",
        f"train --model {network.model} {data.words}--epochs {epochs} --batch-size 8 --learning-rate 0.05",
        hours,
        STORED.format(network.model, 1, "imagenet", 0.03),
    )


def _compressed(
    network: Network, data: Data, baseline: str, shows: str, options: str, hours: float, page: bool
) -> Claim:
    return Claim(
        f"{network.shows} on {data.shows}{shows}",
        f"compress --model {network.model} --weights results/{baseline}/model.gossamer {data.words}{options}",
        hours,
        page=PAGE if page else None,
    )


SEGMENTATION: dict[str, Claim] = {}
for _name, _network in NETWORKS.items():
    _of = (_network, BUILDINGS, f"{_name}-baseline")
    SEGMENTATION[f"{_name}-baseline"] = _baseline(_network, BUILDINGS, _network.epochs, 1.5)
    for _points in TOLERANCES:
        _said = f" by importance weights, at most {_points:g} point{'s' * (_points != 1)} of IoU lost on selection"
        _options = _BY_WEIGHTS.format(_points, _network.tuning, "importance-weights")
        SEGMENTATION[f"{_name}-importance-{_points:g}"] = _compressed(*_of, _said, _options, 1.5, page=True)
    SEGMENTATION[f"{_name}-importance-1-int8"] = _compressed(
        *_of,
        " by importance weights, at most 1 point of IoU lost on selection, in int8",
        _BY_WEIGHTS.format(1, _network.tuning, "importance-weights:int8=true").replace("--control ", ""),
        1.0,
        page=True,
    )
    SEGMENTATION[f"{_name}-scratch"] = Claim(
        f"{_network.shows} on buildings: the shape of {_name}-importance-1, trained from random weights",
        f"train --model {_network.model} {BUILDINGS.words}"
        + _FROM_RANDOM.format(f"{_name}-importance-1", 2 * _network.epochs),
        0.5,
    )
    SEGMENTATION[f"{_name}-bytes"] = _compressed(*_of, ", smallest file", _BY_AUTO.format("bytes"), 1.5, page=False)
    SEGMENTATION[f"{_name}-latency"] = _compressed(
        *_of, ", fastest in OpenVINO", _BY_AUTO.format("latency") + " --runtime openvino", 1.5, page=False
    )
for _name, _network in NETWORKS.items():
    SEGMENTATION[f"cells-{_name}-baseline"] = _baseline(_network, CELLS, 150, 0.5)
    # `--observed 0` would leave no error to the search for what may go before tuning, so that is said apart
    SEGMENTATION[f"cells-{_name}-importance-0"] = _compressed(
        _network,
        CELLS,
        f"cells-{_name}-baseline",
        " by importance weights, no IoU lost on selection",
        _BY_WEIGHTS.format(0, _network.tuning, "importance-weights:tolerance=1"),
        0.7,
        page=True,
    )
SEGMENTATION["unet-long-baseline"] = _baseline(LONG, BUILDINGS, LONG.epochs, 1.5)
SEGMENTATION["unet-long-importance-1"] = _compressed(
    LONG,
    BUILDINGS,
    "unet-long-baseline",
    " by importance weights, at most 1 point of IoU lost on selection",
    _BY_WEIGHTS.format(1, LONG.tuning, "importance-weights"),
    3.0,
    page=True,
)
for _name, (_words, _option) in ABLATIONS.items():
    SEGMENTATION[f"unet-importance-{_name}"] = _compressed(
        NETWORKS["unet"],
        BUILDINGS,
        "unet-baseline",
        f" by importance weights: {_words}",
        _BY_WEIGHTS.format(1, NETWORKS["unet"].tuning, f"importance-weights:{_option}").replace("--control ", ""),
        1.0,
        page=True,
    )
