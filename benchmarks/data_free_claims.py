# SPDX-License-Identifier: Apache-2.0
"""Claims without training data: ImageNet's weights, 500 pictures whose labels are left aside, 500 to judge by."""

from __future__ import annotations

from benchmarks.claim import Claim

_LITE0 = "compress --data benchmarks/lite0.py:task "
_MOBILENETV1 = "compress --data benchmarks/mobilenetv1.py:task "
_UNTRAINED = "--tolerance 4 --observed 1 --minimise bytes --recipe post-training"
_TUNED = "--tolerance 4 --observed 1 --minimise macs --batch-size 32 --learning-rate 0.01 "
DATA_FREE: dict[str, Claim] = {
    "mobilenetv1-bytes": Claim(
        "MobileNetV1 at a quarter of its width, 500 unlabelled images, nothing trained: smallest file",
        _MOBILENETV1 + _UNTRAINED,
        0.2,
    ),
    "mobilenetv1-macs": Claim(
        "MobileNetV1 at a quarter of its width, tuned on 500 unlabelled images: least arithmetic",
        _MOBILENETV1 + _TUNED + "--epochs 15 --hours 1.5",
        1.5,
    ),
    "lite0-bytes": Claim(
        "EfficientNet-Lite0, 500 unlabelled images, nothing trained: smallest file", _LITE0 + _UNTRAINED, 0.5
    ),
    "lite0-macs": Claim(
        "EfficientNet-Lite0, tuned on 500 unlabelled images: least arithmetic",
        _LITE0 + _TUNED + "--epochs 6 --hours 4",
        4.0,
    ),
}
