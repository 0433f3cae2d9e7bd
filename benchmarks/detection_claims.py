# SPDX-License-Identifier: Apache-2.0
"""Claims about detection: people in photographs, by the published FastestDet and by SSDLites that are trained here.

Methods that cut to one share of the multiply-adds are asked what that costs, so their tolerance is as wide as in the
comparison of structured methods: within a narrow one a cut that loses more is refused, and nothing is known of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.claim import STORED, Claim

PAGE = "detection"
_PEOPLE = "--data {data}/pedestrians/pedestrians.npz --only person "
_TUNED = "--batch-size 32 --epochs {} "
_TRAINED = "--epochs 300 --batch-size 32 --learning-rate 0.05"


@dataclass(frozen=True)
class Way:
    """What a detector is compressed for, and how; the networks that it is done to; whether it is on the page alone."""

    shows: str
    options: str
    networks: tuple[str, ...] = ("fastestdet", "pedestrians")
    page: bool = True


#: What each network is called, and the words for it, its weights and how long it is tuned.
NETWORKS = {
    "fastestdet": (
        "FastestDet",
        "--model fastestdet --weights {data}/weights/detection/fastestdet_coco_ap05_0.253.pth " + _TUNED.format(30),
    ),
    "pedestrians": (
        "SSDLite on MobileNetV1 0.25",
        "--model ssdlite224_mobilenetv1_025 --weights results/pedestrians-baseline/model.gossamer --preset half "
        "--size 224 " + _TUNED.format(150),
    ),
    "pedestrians-v2": (
        "SSDLite on MobileNetV2 0.5",
        "--model ssdlite224:width=0.5 --weights results/pedestrians-v2-baseline/model.gossamer --preset half "
        "--size 224 " + _TUNED.format(150),
    ),
}
_CUT = "--tolerance 20 --minimise macs --control --recipe {},macs=0.46"
WAYS = {
    "bytes": Way("smallest file", "--tolerance 5 --observed 1 --minimise bytes --hours 1", page=False),
    "latency": Way(
        "fastest in OpenVINO", "--tolerance 5 --observed 1 --minimise latency --runtime openvino --hours 1", page=False
    ),
    "macs": Way("auto, least arithmetic at no loss", "--tolerance 5 --observed 0 --minimise macs --control --hours 1"),
    "richness": Way(
        "information richness, grafted, 46 % of its multiply-adds",
        _CUT.format("information-richness:joint=true"),
        tuple(NETWORKS),
    ),
    "richness-8": Way(
        "information richness, grafted, 46 % of its multiply-adds, channels in multiples of 8",
        _CUT.format("information-richness:joint=true,multiple=8"),
        ("pedestrians",),
    ),
    "richness-distilled": Way(
        "information richness, distilled, 46 % of its multiply-adds, channels in multiples of 8",
        _CUT.format("information-richness:tuning=distillation,multiple=8"),
        ("pedestrians",),
    ),
    "entropy": Way("layer entropy, grafted, 46 % of its multiply-adds", _CUT.format("layer-entropy:joint=true")),
    "uniform": Way(
        "L1 norm, the same share of every layer, grafted, 46 % of its multiply-adds",
        _CUT.format("filter-pruning:tied=false,tuning=grafting"),
    ),
}
DETECTION: dict[str, Claim] = {
    "pedestrians-baseline": Claim(
        "SSDLite on MobileNetV1 0.25, its backbone published, trained here on people",
        f"train --model ssdlite224_mobilenetv1_025 {_PEOPLE}"
        f"--backbone {{data}}/weights/imagenet/mobilenet_v1_025_rot180.npz --backbone-turned {_TRAINED}",
        1.0,
        STORED.format("ssdlite224_mobilenetv1_025", 1, "half", 0.03),
    ),
    "pedestrians-v2-baseline": Claim(
        "SSDLite on MobileNetV2 at half its width, trained here on people from nothing",
        f"train --model ssdlite224:width=0.5 {_PEOPLE}{_TRAINED}",
        2.0,
        STORED.format("ssdlite224:width=0.5", 1, "half", 0.03),
    ),
}
for _way, _how in WAYS.items():
    for _name in _how.networks:
        _shows, _words = NETWORKS[_name]
        DETECTION[f"{_name}-{_way}"] = Claim(
            f"{_shows} on people, {_how.shows}",
            f"compress {_words}{_PEOPLE}{_how.options}",
            2.0 if _name == "pedestrians-v2" else 1.0,
            page=PAGE if _how.page else None,
        )
