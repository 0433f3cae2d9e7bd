# SPDX-License-Identifier: Apache-2.0
"""Claims about zeroing weights, beside the comparison of methods: what the papers claim of their own networks.

bars-NETWORK           as few weights as the paper leaves
bars-NETWORK-twice     half as many, and the dense network tuned as long, which both stand beside
ladder-METHOD          as few weights as a tolerance allows, by a ladder of shares
dccnn-DATA-...         the wide networks of columns
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cifar10 import EPOCH_HOURS, baseline, trained_here
from benchmarks.claim import RESNET20, STORED, VGG16, Claim

EPOCHS = 15
BESIDE = 0.96  # of the weights that the bar leaves: biases are parameters too, and all of them stay


@dataclass(frozen=True)
class Bar:
    """A network of the paper in its form for CIFAR-10, and how many times fewer parameters the paper leaves of its own.

    `begins`: the words that compress ours.
    """

    shows: str
    model: str
    ratio: float
    begins: str

    def claim(self, times: int) -> Claim:
        """As few parameters as the bar, or `times` fewer; the control stands beside the fewest."""
        control = times > 1
        hours = EPOCHS * EPOCH_HOURS[self.model] * (2 if control else 1)
        return Claim(
            f"{self.shows} by active stepwise pruning, {times * self.ratio:g} times fewer parameters",
            f"{self.begins}--tolerance 20 --minimise bytes --epochs {EPOCHS} "
            f"--recipe active-stepwise:kept={BESIDE / self.ratio / times:.3f}" + (" --control" if control else ""),
            round(hours, 1),
            compared=True,
        )


#: S3: what the abstract claims without loss, its networks being of ImageNet's sizes.
BARS = {
    "bars-vgg16": Bar("VGG-16 with batch norm", "vgg16_bn", 16.6, VGG16),
    "bars-mobilenet": Bar("MobileNet", "mobilenet", 5.6, trained_here("mobilenet", "mobilenet-baseline")),
    "bars-alexnet": Bar("AlexNet", "alexnet", 11.7, trained_here("alexnet", "alexnet-baseline")),
    "bars-zfnet": Bar("ZFNet", "zfnet", 15.0, trained_here("zfnet", "zfnet-baseline")),
}
LENETS = {"lenet300100": "LeNet-300-100", "lenet5": "LeNet-5"}
_STEPWISE = (
    "compress --model {name} --weights examples/mnist/{name}.safetensors --data mnist:{{data}}/mnist --preset mnist "
    "--no-augment --recipe active-stepwise --tolerance 1 --observed 0.05 --epochs {epochs} --learning-rate {rate} "
    "--numerics 'plain float32' --control"
)
_LADDER = RESNET20 + "--observed 0.4 --minimise bytes --epochs 8 --numerics 'channels_last bfloat16' --recipe "
#: S1a: learned thresholds leave 14 to 33 % fewer weights than pruning by magnitude and training in turns.
LADDERS = {
    "ladder-learned-thresholds": ("learned thresholds", "learned-thresholds"),
    "ladder-magnitude": ("pruning by magnitude and training in turns", "weight-pruning:scope=layer"),
}
_MNIST = "--data mnist:{data}/mnist --preset mnist --no-augment --numerics 'channels_last float32 products' "
_COLUMNS = {
    "dccnn-mnist": "compress --model dccnn_mnist --weights results/dccnn-mnist-baseline/model.gossamer " + _MNIST,
    "dccnn-cifar10": trained_here("dccnn_cifar10", "dccnn-cifar10-baseline"),
}
_WAYS = {
    "bytes": ("smallest file at no loss, by auto", "--minimise bytes"),
    "macs": (
        "least arithmetic at no loss, by Taylor scores with one threshold",
        "--minimise macs --recipe filter-pruning:criterion=taylor,rate=global",
    ),
}
_COLUMN_HOURS = {"dccnn-mnist": 4.0, "dccnn-cifar10": 6.0}


def _columns() -> dict[str, Claim]:
    """The networks of columns: what shrinks them, and how far."""
    return {
        f"{name}-{way}": Claim(
            f"DCCNN of {'MNIST' if name == 'dccnn-mnist' else 'CIFAR-10'}, {shows}",
            f"{begins}--tolerance 1 --observed 0 --epochs 4 --learning-rate 0.02 --hours {_COLUMN_HOURS[name]:g} "
            f"--control {options}",
            _COLUMN_HOURS[name],
        )
        for name, begins in _COLUMNS.items()
        for way, (shows, options) in _WAYS.items()
    }


WEIGHTS: dict[str, Claim] = {
    f"{name}-active-stepwise": Claim(
        f"{LENETS[name]} by active stepwise pruning, at most 2 of 5,000 answers lost on the selection split",
        _STEPWISE.format(name=name, epochs=epochs, rate=rate),
        hours,
    )
    for name, epochs, rate, hours in (("lenet300100", 30, 0.1, 1.4), ("lenet5", 16, 0.05, 3.0))
}
WEIGHTS |= {
    name: Claim(
        f"ResNet-20, fewest weights within 0.4 points on the selection split, by {shows}", _LADDER + recipe, 1.5
    )
    for name, (shows, recipe) in LADDERS.items()
}
WEIGHTS |= {
    "mobilenet-baseline": baseline("mobilenet", "MobileNet", 20, "channels_last bfloat16 products"),
    "alexnet-baseline": baseline("alexnet", "AlexNet", 20, "channels_last float32 products", rate=0.05),
    "zfnet-baseline": baseline("zfnet", "ZFNet", 20, "channels_last float32 products", rate=0.05),
    "dccnn-mnist-baseline": Claim(
        "DCCNN of MNIST, trained here",
        f"train --model dccnn_mnist --epochs 10 --learning-rate 0.02 --smoothing 0 {_MNIST}",
        round(10 * EPOCH_HOURS["dccnn_mnist"], 1),
        STORED.format("dccnn_mnist", 10, "mnist", 0.03),
    ),
    "dccnn-cifar10-baseline": baseline(
        "dccnn_cifar10", "DCCNN of CIFAR-10", 20, "channels_last float32 products", rate=0.05
    ),
}
WEIGHTS |= {
    f"{name}{'-twice' if times > 1 else ''}": bar.claim(times) for name, bar in BARS.items() for times in (2, 1)
}
WEIGHTS |= _columns()
