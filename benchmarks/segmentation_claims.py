# SPDX-License-Identifier: Apache-2.0
"""Claims about segmentation, by U-Net and TernausNet at a quarter of their widths: buildings on aerial tiles, and cell
membranes under an electron microscope (ISBI 2012), in place of a second collection of buildings.
"""

from __future__ import annotations

from benchmarks.claim import STORED, Claim

_TILES = "--data {data}/buildings_oam --preset imagenet --size 256 "
_NETWORKS = {"unet16": "U-Net", "ternausnet11_bn_x0_25": "TernausNet-11"}
_TOLERANCES = (0.25, 0.5, 1.0, 2.0)
_EPOCHS = {"unet16": 100, "ternausnet11_bn_x0_25": 100}
_PROMISE = "--tolerance 5 --observed {} --minimise macs --epochs 20 --batch-size 8 "


def _compress(network: str) -> str:
    return f"compress --model {network} --weights results/{network}-baseline/model.gossamer {_TILES}"


SEGMENTATION: dict[str, Claim] = {}
for _network, _words in _NETWORKS.items():
    SEGMENTATION[f"{_network}-baseline"] = Claim(
        f"{_words} at a quarter of its widths, trained here on aerial tiles of buildings",
        f"train --model {_network} {_TILES}--epochs {_EPOCHS[_network]} --batch-size 8 --learning-rate 0.05 ",
        1.5,
        STORED.format(_network, 1, "imagenet", 0.03),
    )
    for _points in _TOLERANCES:
        _control = " --control" if _points == 1 else ""
        SEGMENTATION[f"{_network}-importance-{_points:g}"] = Claim(
            f"{_words} on buildings by importance weights, at most {_points:g} points of IoU lost on selection",
            f"{_compress(_network)}{_PROMISE.format(_points)}--recipe importance-weights{_control}",
            1.0,
        )
    for _goal in ("bytes", "latency"):
        SEGMENTATION[f"{_network}-{_goal}"] = Claim(
            f"{_words} on buildings, {'smallest file' if _goal == 'bytes' else 'fastest in OpenVINO'}",
            f"{_compress(_network)}--tolerance 5 --observed 1 --minimise {_goal} --epochs 20 --batch-size 8 --hours 1.5"
            + (" --runtime openvino" if _goal == "latency" else ""),
            1.5,
        )
_MEMBRANES = "--data {data}/isbi2012_em --preset imagenet --size 256 "
SEGMENTATION["membranes-baseline"] = Claim(
    "U-Net at a quarter of its widths, trained here on pictures of membranes",
    f"train --model unet16 {_MEMBRANES}--epochs 150 --batch-size 8 --learning-rate 0.05 ",
    0.5,
    STORED.format("unet16", 1, "imagenet", 0.03),
)
SEGMENTATION["membranes-importance"] = Claim(
    "U-Net on membranes by importance weights, no IoU lost on selection, beside the dense control",
    f"compress --model unet16 --weights results/membranes-baseline/model.gossamer {_MEMBRANES}"
    f"{_PROMISE.format(0)}--recipe importance-weights --control",
    0.7,
)
#: What the paper varies, on one network, at one point of IoU.
_ABLATIONS = {
    "ones": ("weights that start at 1", "start=ones"),
    "normal": ("weights that start around 1", "start=normal"),
    "dissimilarity": ("weights that start at the filters' dissimilarity", "start=dissimilarity"),
    "activation": ("weights that start at the activations", "start=activation"),
    "unlearned": ("no weights are learned, the norm decides", "learning=0"),
    "energy": ("a share of each layer's importance goes, whatever the error", "mode=energy"),
    "uniform": ("a share of each layer's filters goes, whatever the error", "mode=uniform"),
}
for _name, (_words, _options) in _ABLATIONS.items():
    SEGMENTATION[f"unet16-importance-{_name}"] = Claim(
        f"U-Net on buildings by importance weights: {_words}",
        f"{_compress('unet16')}{_PROMISE.format(1.0)}--recipe importance-weights:{_options}",
        1.0,
        compared=True,
    )
