# SPDX-License-Identifier: Apache-2.0
"""Claims: every number that README and docs publish, as a small declared job.

A claim is one call of the command line; where it needs data or weights that the repository does not ship, `{data}`
stands for the folder in the environment variable GOSSAMER_DATA. A baseline has a second call, which stores what the
first one trained; claims that compress it take it from results/.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One job: the gossamer arguments without --out, what it shows, and the hours it takes on two cores.

    `then`: the arguments of a second call; `{run}` stands for the folder of the first. `also`: files of the run to be
    kept beside what every claim keeps. `compared`: it is a row of a comparison, and none of README's table.
    """

    shows: str
    arguments: str
    hours: float
    then: str | None = None
    also: tuple[str, ...] = ()
    compared: bool = False


_RESNET20 = (
    "compress --model resnet20 --weights {data}/weights/cifar10/resnet20-12fca82f.th --data cifar10:{data}/cifar10 "
    "--preset cifar10-imagenet-stats --tolerance 1 "
)
_RESNET56 = (
    "compress --model resnet56 --weights {data}/weights/cifar10/resnet56-4bfd9763.th --data cifar10:{data}/cifar10 "
    "--preset cifar10-imagenet-stats --tolerance 1 "
)
_TAUGHT = "--data cifar10:{data}/cifar10 --preset cifar10-imagenet-stats "  # as ResNet-56, the teacher, was trained
_VGG16 = "compress --model vgg16_bn --weights results/vgg16-baseline/model.gossamer " + _TAUGHT
_MOBILENETV2 = "compress --model mobilenetv2 --weights results/mobilenetv2-baseline/model.gossamer " + _TAUGHT
_TEACHER = "--teacher resnet56 --teacher-weights {data}/weights/cifar10/resnet56-4bfd9763.th "
_LENET = (
    "compress --model {name} --weights examples/mnist/{name}.safetensors --data mnist:{{data}}/mnist --preset mnist "
    "--no-augment --recipe deep-compression:rates={name}{bits} --tolerance 1 --observed {observed} --epochs {epochs} "
    "--learning-rate {rate} --numerics 'plain float32'"
)
_LENET_BN = "--data mnist:{data}/mnist --preset mnist --no-augment --numerics 'plain float32' "
_BRUTE_FORCE = "--recipe slim-then-sparsify:slimming={0},pruning={0},brute_force=true --observed {1} --epochs 1 "
_STORED = (
    "store {} --weights {{run}}/weights.safetensors --classes 10 --preset {} --error {} --trainable "
    "--out {{run}}/model.gossamer"
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
    "resnet20-bytes": Claim(
        "ResNet-20 on all of CIFAR-10, smallest file",
        _RESNET20 + "--observed 0.4 --minimise bytes --recipe auto:bits=1.06 --epochs 12 --hours 1.5 "
        "--numerics 'channels_last bfloat16'",
        1.5,
    ),
    "resnet56-bytes": Claim(
        "ResNet-56 on all of CIFAR-10, smallest file",
        _RESNET56 + "--observed 0.4 --minimise bytes --recipe auto:bits=1.2 --epochs 14 --hours 2.5",
        2.5,
    ),
    "resnet56-latency": Claim(
        "ResNet-56 on all of CIFAR-10, fastest in OpenVINO",
        _RESNET56 + "--observed 0.4 --minimise latency --runtime openvino --epochs 3 --hours 0.25",
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
        _STORED.format("lenet5_bn", "mnist", 0.03),
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
        _RESNET20 + _BRUTE_FORCE.format(16, 0.5),
        7.0,
        also=("grid.json",),
    ),
    "vgg16-first": Claim(
        "VGG-16 with batch norm, trained here on 50,000 images by ResNet-56: the first half",
        "train --model vgg16_bn "
        + _TAUGHT
        + _TEACHER
        + "--epochs 20 --learning-rate 0.1 --cutout 8 --numerics 'channels_last float32 products'",
        2.0,
        _STORED.format("vgg16_bn", "cifar10-imagenet-stats", 0.1),
    ),
    "vgg16-baseline": Claim(
        "VGG-16 with batch norm, trained on from the first half",
        "train --model vgg16_bn --weights results/vgg16-first/model.gossamer "
        + _TAUGHT
        + _TEACHER
        + "--epochs 20 --learning-rate 0.05 --cutout 8 --seed 1 --numerics 'channels_last float32 products'",
        2.0,
        _STORED.format("vgg16_bn", "cifar10-imagenet-stats", 0.03),
    ),
    "vgg16-bytes": Claim(
        "VGG-16 with batch norm on all of CIFAR-10, smallest file",
        _VGG16 + "--tolerance 1.5 --observed 0.9 --minimise bytes --recipe auto:bits=0.1 --epochs 12 --hours 4",
        4.0,
    ),
    "mobilenetv2-baseline": Claim(
        "MobileNetV2, trained here on 50,000 images by ResNet-56",
        "train --model mobilenetv2 "
        + _TAUGHT
        + _TEACHER
        + "--epochs 20 --learning-rate 0.1 --cutout 8 --numerics 'channels_last bfloat16 products'",
        1.7,
        _STORED.format("mobilenetv2", "cifar10-imagenet-stats", 0.03),
    ),
    "mobilenetv2-bytes": Claim(
        "MobileNetV2 on all of CIFAR-10, smallest file",
        _MOBILENETV2 + "--tolerance 1 --observed 0.4 --minimise bytes --recipe auto:bits=1.4 --epochs 10 --hours 4",
        4.0,
    ),
    "resnet56-macs": Claim(
        "ResNet-56 on all of CIFAR-10, least arithmetic at no loss, beside the dense control",
        _RESNET56 + "--observed 0 --minimise macs --epochs 8 --control --hours 4",
        4.0,
    ),
    "vgg16-macs": Claim(
        "VGG-16 with batch norm on all of CIFAR-10, least arithmetic at no loss, beside the dense control",
        _VGG16 + "--tolerance 1 --observed 0 --minimise macs --epochs 6 --control --hours 5",
        5.0,
    ),
    "mobilenetv2-macs": Claim(
        "MobileNetV2 on all of CIFAR-10, least arithmetic at no loss, beside the dense control",
        _MOBILENETV2 + "--tolerance 1 --observed 0 --minimise macs --epochs 6 --control --hours 5",
        5.0,
    ),
    "vgg16-latency": Claim(
        "VGG-16 with batch norm on all of CIFAR-10, fastest in OpenVINO",
        _VGG16 + "--tolerance 1 --observed 0.4 --minimise latency --runtime openvino --epochs 6 --hours 3",
        3.0,
    ),
    "mobilenetv2-latency": Claim(
        "MobileNetV2 on all of CIFAR-10, fastest in OpenVINO",
        _MOBILENETV2 + "--tolerance 1 --observed 0.4 --minimise latency --runtime openvino --epochs 6 --hours 3",
        3.0,
    ),
    "resnet20-deep-compression": Claim(
        "ResNet-20 on all of CIFAR-10 by the pipeline of Deep Compression",
        _RESNET20 + "--observed 0.4 --recipe deep-compression --epochs 6 --learning-rate 0.02 --hours 2 "
        "--numerics 'channels_last bfloat16'",
        2.0,
    ),
    "vgg16-deep-compression": Claim(
        "VGG-16 with batch norm on CIFAR-10 by the paper's pipeline",
        _VGG16 + "--recipe deep-compression --tolerance 1 --observed 0.3 --epochs 4 --learning-rate 0.02 --hours 8",
        8.0,
    ),
}

#: Structured methods on equal terms: a name, what it is, its recipe, and how many networks it trains at a time.
STRUCTURED: dict[str, tuple[str, str, int]] = {
    "l1-uniform": ("L1 norm, the same share of every layer", "filter-pruning:tied=false", 1),
    "random-uniform": ("filters at random", "filter-pruning:tied=false,criterion=at-random", 1),
    "scratch": ("the same widths, trained from random weights", "filter-pruning:tied=false,scratch=true", 1),
    "l2-uniform": ("L2 norm", "filter-pruning:tied=false,criterion=l2-norm", 1),
    "median-uniform": ("geometric median", "filter-pruning:tied=false,criterion=geometric-median", 1),
    "taylor-uniform": ("Taylor, the same share", "filter-pruning:tied=false,criterion=taylor", 1),
    "taylor-global": ("Taylor, one threshold", "filter-pruning:tied=false,criterion=taylor,rate=global", 1),
    "l1-three-steps": ("L1 norm, in three cuts", "filter-pruning:tied=false,steps=3", 1),
    "l1-distilled": ("L1 norm, learning from the original", "filter-pruning:tied=false,tuning=distillation", 1),
    "l1-grafted": ("L1 norm, grafted", "filter-pruning:tied=false,tuning=grafting", 2),
    "slimming": ("network slimming", "network-slimming:penalty=1e-4", 1),
    "car": ("greedy CAR, a shortlist of 8", "greedy-car:shortlist=8,images=512", 1),
    "entropy": ("layer entropy, grafted", "layer-entropy:joint=true", 2),
    "richness": ("information richness, grafted", "information-richness:joint=true", 2),
}
#: Dense networks trained as long and in the same way, one for each way of training.
CONTROLLED = ("structured-50-l1-uniform", "structured-50-l1-distilled", "structured-50-l1-grafted")
COMPARED_EPOCHS, EPOCH_HOURS = 15, 0.035
for _left in (50, 30):
    for _name, (_shows, _recipe, _copies) in STRUCTURED.items():
        _claim = f"structured-{_left}-{_name}"
        _control = _claim in CONTROLLED
        CLAIMS[_claim] = Claim(
            f"ResNet-56 with {_left} % of its multiply-adds: {_shows}",
            _RESNET56.replace("--tolerance 1 ", "--tolerance 20 ")
            + f"--minimise macs --epochs {COMPARED_EPOCHS} --recipe {_recipe},macs={_left / 100}"
            + (" --control" if _control else ""),
            round((2 if _control else 1) * _copies * COMPARED_EPOCHS * EPOCH_HOURS, 1),
            compared=True,
        )
