# SPDX-License-Identifier: Apache-2.0
"""Claims: every number that README and docs publish, as a small declared job.

A claim is one call of the command line; where it needs data or weights that the repository does not ship, `{data}`
stands for the folder in the environment variable GOSSAMER_DATA. A baseline has a second call, which stores what the
first one trained; claims that compress it take it from results/.
"""

from __future__ import annotations

from benchmarks.claim import MOBILENETV2, RESNET20, RESNET56, STORED, TAUGHT, TEACHER, VGG16, Claim
from benchmarks.compared_claims import COMPARED
from benchmarks.data_free_claims import DATA_FREE
from benchmarks.detection_claims import DETECTION
from benchmarks.hour_claims import HOURS
from benchmarks.paper_claims import PAPERS
from benchmarks.segmentation_claims import SEGMENTATION
from benchmarks.staircase_claims import STAIRCASES
from benchmarks.weight_level_claims import WEIGHTS

_LENET = (
    "compress --model {name} --weights examples/mnist/{name}.safetensors --data mnist:{{data}}/mnist --preset mnist "
    "--no-augment --recipe deep-compression:rates={name}{bits} --tolerance 1 --observed {observed} --epochs {epochs} "
    "--learning-rate {rate} --numerics 'plain float32'"
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
        VGG16 + "--tolerance 2 --observed 0.9 --minimise bytes --recipe auto:bits=0.1,macs=0.4 --epochs 12 --hours 8",
        8.0,
    ),
    "mobilenetv2-baseline": Claim(
        "MobileNetV2, trained here on 50,000 images by ResNet-56",
        "train --model mobilenetv2 "
        + TAUGHT
        + TEACHER
        + "--epochs 30 --learning-rate 0.1 --cutout 8 --numerics 'channels_last bfloat16 products'",
        1.8,
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
    "vgg16-deep-compression": Claim(
        "VGG-16 with batch norm on CIFAR-10 by the paper's pipeline",
        VGG16 + "--recipe deep-compression --tolerance 1 --observed 0.3 --epochs 4 --learning-rate 0.02 --hours 3",
        3.0,
    ),
}
CLAIMS |= DATA_FREE | STAIRCASES | HOURS | SEGMENTATION | DETECTION | WEIGHTS | PAPERS | COMPARED
