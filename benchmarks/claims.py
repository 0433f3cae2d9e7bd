# SPDX-License-Identifier: Apache-2.0
"""Claims: every number that README and docs publish, as a small declared job.

A claim is one call of the command line; where it needs data or weights that the repository does not ship, `{data}`
stands for the folder in the environment variable GOSSAMER_DATA.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One job: the gossamer arguments without --out, what it shows, and the hours it takes on two cores."""

    shows: str
    arguments: str
    hours: float


_RESNET56 = (
    "compress --model resnet56 --weights {data}/weights/cifar10/resnet56-4bfd9763.th --data cifar10:{data}/cifar10 "
    "--preset cifar10-imagenet-stats --tolerance 1 --observed 0.4 "
)
#: In the order of what they decide.
CLAIMS: dict[str, Claim] = {
    "demo-bytes": Claim(
        "ResNet-20 on what the repository ships, smallest file", "compress --settings examples/cifar10/bytes.toml", 0.1
    ),
    "demo-latency": Claim(
        "ResNet-20 on what the repository ships, fastest in OpenVINO",
        "compress --settings examples/cifar10/latency.toml",
        0.1,
    ),
    "resnet56-bytes": Claim(
        "ResNet-56 on all of CIFAR-10, smallest file",
        _RESNET56 + "--minimise bytes --epochs 6 --hours 2.5",
        2.5,
    ),
    "resnet56-latency": Claim(
        "ResNet-56 on all of CIFAR-10, fastest in OpenVINO",
        _RESNET56 + "--minimise latency --runtime openvino --epochs 3 --hours 0.25",
        0.3,
    ),
}
