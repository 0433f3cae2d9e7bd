# SPDX-License-Identifier: Apache-2.0
"""Claims: every number that README and docs publish, as a small declared job.

A claim is one call of the command line; where it needs data or weights that the repository does not ship, `{data}`
stands for the folder in the environment variable GOSSAMER_DATA. A baseline has a second call, which stores what the
first one trained; claims that compress it take it from results/.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.claim import MOBILENETV2, RESNET20, RESNET56, STORED, TAUGHT, TEACHER, VGG16, Claim
from benchmarks.data_free_claims import DATA_FREE
from benchmarks.detection_claims import DETECTION
from benchmarks.hour_claims import HOURS
from benchmarks.segmentation_claims import SEGMENTATION
from benchmarks.staircase_claims import STAIRCASES

_LENET = (
    "compress --model {name} --weights examples/mnist/{name}.safetensors --data mnist:{{data}}/mnist --preset mnist "
    "--no-augment --recipe deep-compression:rates={name}{bits} --tolerance 1 --observed {observed} --epochs {epochs} "
    "--learning-rate {rate} --numerics 'plain float32'"
)
_STEPWISE = (
    "compress --model {name} --weights examples/mnist/{name}.safetensors --data mnist:{{data}}/mnist --preset mnist "
    "--no-augment --recipe active-stepwise --tolerance 1 --observed 0.05 --epochs {epochs} --learning-rate {rate} "
    "--numerics 'plain float32'"
)
_LENET_BN = "--data mnist:{data}/mnist --preset mnist --no-augment --numerics 'plain float32' "
_GESTURES = "--data emg:{data}/emg_myo --preset emg --no-augment "
_BRUTE_FORCE = "--recipe slim-then-sparsify:slimming={0},pruning={0},brute_force=true --observed {1} --epochs 1 "
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
    "resnet20-bytes": Claim(
        "ResNet-20 on all of CIFAR-10, smallest file",
        RESNET20 + "--observed 0.4 --minimise bytes --recipe auto:bits=1.06 --epochs 12 --hours 1.5 "
        "--numerics 'channels_last bfloat16'",
        1.5,
    ),
    "resnet56-bytes": Claim(
        "ResNet-56 on all of CIFAR-10, smallest file",
        RESNET56 + "--observed 0.4 --minimise bytes --recipe auto:bits=1.2 --epochs 14 --hours 2.5",
        2.5,
    ),
    "resnet56-latency": Claim(
        "ResNet-56 on all of CIFAR-10, fastest in OpenVINO",
        RESNET56 + "--observed 0.4 --minimise latency --runtime openvino --epochs 3 --hours 0.25",
        0.3,
    ),
    "lenet300100-deep-compression": Claim(
        "LeNet-300-100 by the paper's pipeline; its table",
        _LENET.format(name="lenet300100", bits=",fc_bits=6", observed=0.2, epochs=16, rate=0.1) + " --control",
        0.5,
    ),
    "lenet5-deep-compression": Claim(
        "LeNet-5 by the paper's pipeline; its table",
        _LENET.format(name="lenet5", bits="", observed=0.2, epochs=8, rate=0.05) + " --control",
        0.7,
    ),
    "lenet5-no-loss": Claim(
        "LeNet-5 by the paper's pipeline, at most 2 of 5,000 answers lost on the selection split",
        _LENET.format(name="lenet5", bits="", observed=0.05, epochs=8, rate=0.05),
        0.5,
    ),
    "lenet5-bytes": Claim(
        "LeNet-5 on MNIST, smallest file",
        "compress --model lenet5 --weights examples/mnist/lenet5.safetensors --data mnist:{data}/mnist --preset mnist "
        "--no-augment --tolerance 1 --observed 0.2 --minimise bytes --epochs 10 --numerics 'plain float32'",
        1.0,
    ),
    "lenet5-bn-baseline": Claim(
        "LeNet-5 with batch norms, trained here",
        "train --model lenet5_bn --epochs 10 --learning-rate 0.1 --smoothing 0 " + _LENET_BN,
        0.1,
        STORED.format("lenet5_bn", 10, "mnist", 0.03),
    ),
    "lenet5-brute-force": Claim(
        "LeNet-5 with batch norms: the staircase beside all of 30 x 30 cells",
        "compress --model lenet5_bn --weights results/lenet5-bn-baseline/model.gossamer --tolerance 1 "
        + _BRUTE_FORCE.format(30, 0.2)
        + _LENET_BN,
        3.0,
        also=("grid.json",),
    ),
    "resnet20-brute-force": Claim(
        "ResNet-20: the staircase beside all of 16 x 16 cells",
        RESNET20 + _BRUTE_FORCE.format(16, 0.5),
        7.0,
        also=("grid.json",),
    ),
    "vgg16-first": Claim(
        "VGG-16 with batch norm, trained here on 50,000 images by ResNet-56: the first third",
        "train --model vgg16_bn "
        + TAUGHT
        + TEACHER
        + "--epochs 20 --learning-rate 0.1 --cutout 8 --numerics 'channels_last float32 products'",
        2.0,
        STORED.format("vgg16_bn", 10, "cifar10-imagenet-stats", 0.1),
    ),
    "vgg16-second": Claim(
        "VGG-16 with batch norm, trained on from the first third",
        "train --model vgg16_bn --weights results/vgg16-first/model.gossamer "
        + TAUGHT
        + TEACHER
        + "--epochs 20 --learning-rate 0.05 --cutout 8 --seed 1 --numerics 'channels_last float32 products'",
        2.0,
        STORED.format("vgg16_bn", 10, "cifar10-imagenet-stats", 0.1),
    ),
    "vgg16-baseline": Claim(
        "VGG-16 with batch norm, trained on from the second third",
        "train --model vgg16_bn --weights results/vgg16-second/model.gossamer "
        + TAUGHT
        + TEACHER
        + "--epochs 20 --learning-rate 0.05 --cutout 8 --seed 2 --numerics 'channels_last float32 products'",
        2.0,
        STORED.format("vgg16_bn", 10, "cifar10-imagenet-stats", 0.03),
    ),
    "vgg16-bytes": Claim(
        "VGG-16 with batch norm on all of CIFAR-10, smallest file",
        VGG16
        + "--tolerance 1.5 --observed 0.9 --minimise bytes --recipe auto:bits=0.1,macs=0.4 --epochs 12 --hours 8",
        8.0,
    ),
    "mobilenetv2-baseline": Claim(
        "MobileNetV2, trained here on 50,000 images by ResNet-56",
        "train --model mobilenetv2 "
        + TAUGHT
        + TEACHER
        + "--epochs 20 --learning-rate 0.1 --cutout 8 --numerics 'channels_last bfloat16 products'",
        1.7,
        STORED.format("mobilenetv2", 10, "cifar10-imagenet-stats", 0.03),
    ),
    "mobilenetv2-bytes": Claim(
        "MobileNetV2 on all of CIFAR-10, smallest file",
        MOBILENETV2 + "--tolerance 1 --observed 0.4 --minimise bytes --recipe auto:bits=1.4 --epochs 10 --hours 4",
        4.0,
    ),
    "resnet56-macs": Claim(
        "ResNet-56 on all of CIFAR-10, least arithmetic at no loss, beside the dense control",
        RESNET56 + "--observed 0 --minimise macs --epochs 8 --control --hours 4",
        4.0,
    ),
    "vgg16-macs": Claim(
        "VGG-16 with batch norm on all of CIFAR-10, least arithmetic at no loss, beside the dense control",
        VGG16 + "--tolerance 1 --observed 0 --minimise macs --epochs 6 --control --hours 5",
        5.0,
    ),
    "mobilenetv2-macs": Claim(
        "MobileNetV2 on all of CIFAR-10, least arithmetic at no loss, beside the dense control",
        MOBILENETV2 + "--tolerance 1 --observed 0 --minimise macs --epochs 6 --control --hours 5",
        5.0,
    ),
    "vgg16-latency": Claim(
        "VGG-16 with batch norm on all of CIFAR-10, fastest in OpenVINO",
        VGG16 + "--tolerance 1 --observed 0.4 --minimise latency --runtime openvino --epochs 6 --hours 3",
        3.0,
    ),
    "mobilenetv2-latency": Claim(
        "MobileNetV2 on all of CIFAR-10, fastest in OpenVINO",
        MOBILENETV2 + "--tolerance 1 --observed 0.4 --minimise latency --runtime openvino --epochs 6 --hours 3",
        3.0,
    ),
    "resnet56-latency-onnxruntime": Claim(
        "ResNet-56 on all of CIFAR-10, fastest in ONNX Runtime",
        RESNET56 + "--observed 0.4 --minimise latency --runtime onnxruntime --epochs 6 --hours 2",
        2.0,
    ),
    "vgg16-latency-onnxruntime": Claim(
        "VGG-16 with batch norm on all of CIFAR-10, fastest in ONNX Runtime",
        VGG16 + "--tolerance 1 --observed 0.4 --minimise latency --runtime onnxruntime --epochs 6 --hours 3",
        3.0,
    ),
    "mobilenetv2-latency-onnxruntime": Claim(
        "MobileNetV2 on all of CIFAR-10, fastest in ONNX Runtime",
        MOBILENETV2 + "--tolerance 1 --observed 0.4 --minimise latency --runtime onnxruntime --epochs 6 --hours 3",
        3.0,
    ),
    "gestures-baseline": Claim(
        "A gesture network for the forearms of seven wearers, trained here",
        "train --model emg_cnn --epochs 15 --learning-rate 0.05 " + _GESTURES,
        0.4,
        STORED.format("emg_cnn", 8, "emg", 0.03),
    ),
    "gestures-bytes": Claim(
        "The gesture network, smallest file",
        "compress --model emg_cnn --weights results/gestures-baseline/model.gossamer --tolerance 2 --observed 0.5 "
        "--minimise bytes --epochs 5 --hours 0.6 " + _GESTURES,
        0.6,
    ),
    "resnet20-deep-compression": Claim(
        "ResNet-20 on all of CIFAR-10 by the pipeline of Deep Compression",
        RESNET20 + "--observed 0.4 --recipe deep-compression --epochs 6 --learning-rate 0.02 --hours 2 "
        "--numerics 'channels_last bfloat16'",
        2.0,
    ),
    "resnet56-deep-compression": Claim(
        "ResNet-56 on all of CIFAR-10 by the pipeline of Deep Compression",
        RESNET56 + "--observed 0.4 --recipe deep-compression --epochs 5 --learning-rate 0.02 --hours 3",
        3.0,
    ),
    "mobilenetv2-deep-compression": Claim(
        "MobileNetV2 on CIFAR-10 by the pipeline of Deep Compression",
        MOBILENETV2
        + "--recipe deep-compression --tolerance 1 --observed 0.4 --epochs 5 --learning-rate 0.02 --hours 4",
        4.0,
    ),
    "lenet300100-active-stepwise": Claim(
        "LeNet-300-100 by active stepwise pruning, at most 2 of 5,000 answers lost on the selection split",
        _STEPWISE.format(name="lenet300100", epochs=30, rate=0.1),
        0.7,
    ),
    "lenet5-active-stepwise": Claim(
        "LeNet-5 by active stepwise pruning, at most 2 of 5,000 answers lost on the selection split",
        _STEPWISE.format(name="lenet5", epochs=16, rate=0.05),
        1.5,
    ),
    "vgg16-deep-compression": Claim(
        "VGG-16 with batch norm on CIFAR-10 by the paper's pipeline",
        VGG16 + "--recipe deep-compression --tolerance 1 --observed 0.3 --epochs 4 --learning-rate 0.02 --hours 8",
        8.0,
    ),
}
CLAIMS |= DATA_FREE | STAIRCASES | HOURS | SEGMENTATION | DETECTION


@dataclass(frozen=True)
class Compared:
    """A method of a comparison: what it is, its recipe without the share, how many networks it trains at a time."""

    shows: str
    recipe: str
    copies: int = 1
    controlled: bool = False


#: Structured methods on equal terms.
_UNTIED = "filter-pruning:tied=false"
STRUCTURED = {
    "l1-uniform": Compared("L1 norm, the same share of every layer", _UNTIED, controlled=True),
    "random-uniform": Compared("filters at random", f"{_UNTIED},criterion=at-random"),
    "scratch": Compared("the same widths, trained from random weights", f"{_UNTIED},scratch=true"),
    "l2-uniform": Compared("L2 norm", f"{_UNTIED},criterion=l2-norm"),
    "median-uniform": Compared("geometric median", f"{_UNTIED},criterion=geometric-median"),
    "taylor-uniform": Compared("Taylor, the same share", f"{_UNTIED},criterion=taylor"),
    "taylor-global": Compared("Taylor, one threshold", f"{_UNTIED},criterion=taylor,rate=global"),
    "l1-three-steps": Compared("L1 norm, in three cuts", f"{_UNTIED},steps=3"),
    "l1-distilled": Compared("L1 norm, learning from the original", f"{_UNTIED},tuning=distillation", controlled=True),
    "l1-grafted": Compared("L1 norm, grafted", f"{_UNTIED},tuning=grafting", 2, controlled=True),
    "slimming": Compared("network slimming", "network-slimming:penalty=1e-4"),
    "car": Compared("greedy CAR, a shortlist of 8", "greedy-car:shortlist=8,images=512"),
    "entropy": Compared("layer entropy, grafted", "layer-entropy:joint=true", 2),
    "richness": Compared("information richness, grafted", "information-richness:joint=true", 2),
}
#: Methods of zeroing weights on equal terms.
WEIGHT_LEVEL = {
    "stepwise": Compared("active stepwise pruning", "active-stepwise", controlled=True),
    "no-recovery": Compared("the same, nothing comes back", "active-stepwise:recovery=false"),
    "linear": Compared("the same, linear schedule", "active-stepwise:schedule=linear"),
    "cubic": Compared("the same, cubic schedule", "active-stepwise:schedule=cubic"),
    "thresholds": Compared("the same, thresholds along the logarithm", "active-stepwise:reading=threshold"),
    "one-threshold": Compared("the same, one threshold for all layers", "active-stepwise:scope=scaled"),
    "learned": Compared("learned thresholds", "learned-thresholds"),
    "learned-two-sides": Compared("learned thresholds, one on each side", "learned-thresholds:symmetric=false"),
    "surgery": Compared("dynamic network surgery", "weight-pruning:way=surgery"),
    "gradual": Compared("gradual, cubic, one threshold", "weight-pruning:way=gradual"),
    "one-shot": Compared("magnitude, at once", "weight-pruning:scope=layer"),
    "one-shot-scaled": Compared("magnitude, at once, one threshold", "weight-pruning"),
    "second-order": Compared("second order, at once", "weight-pruning:method=second-order"),
    "untrained": Compared("second order, untrained", "weight-pruning:method=second-order,way=untrained", 0),
}
COMPARED_EPOCHS, RESNET56_HOURS, RESNET20_HOURS = 15, 0.035, 0.018


def _with(recipe: str, option: str) -> str:
    return f"{recipe}{',' if ':' in recipe else ':'}{option}"


def _compared(network: str, kind: str, left: int, name: str, minimise: str, option: str, hours: float) -> None:
    """A claim of a comparison; dense controls stand beside the larger share only."""
    method = (STRUCTURED if kind == "structured" else WEIGHT_LEVEL)[name]
    control = method.controlled and left in (50, 10)
    of, words = ("multiply-adds", "ResNet-56") if kind == "structured" else ("weights", "ResNet-20")
    CLAIMS[f"{kind}-{left}-{name}"] = Claim(
        f"{words} with {left} % of its {of}: {method.shows}",
        network.replace("--tolerance 1 ", "--tolerance 20 ")
        + f"--minimise {minimise} --epochs {COMPARED_EPOCHS} --recipe {_with(method.recipe, option)}"
        + (" --control" if control else ""),
        round((2 if control else 1) * method.copies * COMPARED_EPOCHS * hours, 1),
        compared=True,
    )


for _left in (50, 30):
    for _name in STRUCTURED:
        _compared(RESNET56, "structured", _left, _name, "macs", f"macs={_left / 100}", RESNET56_HOURS)
for _left in (10, 5):
    for _name in WEIGHT_LEVEL:
        _compared(RESNET20, "weight-level", _left, _name, "bytes", f"kept={_left / 100}", RESNET20_HOURS)
