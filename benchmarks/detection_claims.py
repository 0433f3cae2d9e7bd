# SPDX-License-Identifier: Apache-2.0
"""Claims about detection: people in photographs, by the published FastestDet and by an SSDLite that is trained here."""

from __future__ import annotations

from benchmarks.claim import STORED, Claim

_PEOPLE = "--data {data}/pedestrians/pedestrians.npz --only person "
_FASTESTDET = "--model fastestdet --weights {data}/weights/detection/fastestdet_coco_ap05_0.253.pth "
_SSDLITE = "--model ssdlite224_mobilenetv1_025 "
_BASELINE = "pedestrians-baseline"
_COMPRESS = {
    "fastestdet": f"compress {_FASTESTDET}{_PEOPLE}--tolerance 5 --batch-size 32 --epochs 30 ",
    "pedestrians": (
        f"compress {_SSDLITE}--weights results/{_BASELINE}/model.gossamer {_PEOPLE}--preset half --size 224 "
        "--tolerance 5 --batch-size 32 --epochs 30 "
    ),
}
_WORDS = {"fastestdet": "FastestDet on people", "pedestrians": "SSDLite on people"}
_WAYS = {
    "bytes": ("smallest file", "--observed 1 --minimise bytes --hours 1"),
    "latency": ("fastest in OpenVINO", "--observed 1 --minimise latency --runtime openvino --hours 1"),
    "macs": ("least arithmetic at no loss", "--observed 0 --minimise macs --control --hours 1"),
    "richness": (
        "information richness, grafted, 46 % of its multiply-adds",
        "--observed 5 --minimise macs --control --recipe information-richness:joint=true,macs=0.46",
    ),
    "entropy": (
        "layer entropy, grafted, 46 % of its multiply-adds",
        "--observed 5 --minimise macs --recipe layer-entropy:joint=true,macs=0.46",
    ),
}
DETECTION: dict[str, Claim] = {
    _BASELINE: Claim(
        "SSDLite on MobileNetV1 0.25, its backbone published, trained here on people",
        f"train {_SSDLITE}{_PEOPLE}--backbone {{data}}/weights/imagenet/mobilenet_v1_025_rot180.npz --backbone-turned "
        "--epochs 300 --batch-size 32 --learning-rate 0.05",
        1.0,
        STORED.format("ssdlite224_mobilenetv1_025", 1, "half", 0.03),
    )
}
for _network, _words in _WORDS.items():
    for _way, (_shows, _options) in _WAYS.items():
        DETECTION[f"{_network}-{_way}"] = Claim(f"{_words}, {_shows}", _COMPRESS[_network] + _options, 1.0)
