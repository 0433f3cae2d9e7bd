# SPDX-License-Identifier: Apache-2.0
"""The verb `store`: a network as it is, in a .gossamer file, to the bit or within a stated error."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import cli_values

BARE = 2  # classes of pixels that one output tells apart

if TYPE_CHECKING:
    from torch import nn

    from gossamer.data.preprocess import Preprocess


def add_verbs(verbs: Any) -> None:
    """`store` with its options."""
    store = verbs.add_parser("store", help="a network as it is in a .gossamer file, to the bit or within an error")
    store.add_argument("what", help="a network (zoo name, torchvision:NAME, file.py:callable, ...) or a file .onnx")
    store.add_argument("--weights", type=Path, help="of a network: safetensors, .npz, or a state dict saved by torch")
    store.add_argument("--classes", type=cli_values.classes, help="of a network; default: those of its paper")
    store.add_argument("--class-names", nargs="+", default=(), metavar="NAME", help="what they are called, in order")
    store.add_argument(
        "--error",
        type=cli_values.error,
        default=0.0,
        metavar="BOUND",
        help="that every number keeps, times the root mean square of its tensor, such as 0.001; default 0, to the bit",
    )
    store.add_argument(
        "--trainable",
        action="store_true",
        help="keep batch norms apart, so that --weights reads the file and training can go on",
    )
    store.add_argument(
        "--coding",
        choices=("small", "fast"),
        default="small",
        help="small, or decoded several times as fast and some percent larger; default small",
    )
    store.add_argument("--preset", help="mean, std and size by name: cifar10, imagenet, ...")
    store.add_argument("--size", type=cli_values.pixels, metavar="PIXELS", help="of the input; default: the preset's")
    store.add_argument("--out", type=Path, help="default: NAME.gossamer here")
    store.set_defaults(run=run_store)


def run_store(options: argparse.Namespace) -> int:
    """`gossamer store`."""
    from gossamer import container
    from gossamer.coding import CHOICES
    from gossamer.container.describe import kept
    from gossamer.plan import Plan
    from gossamer.quantize.near_lossless import near_lossless
    from gossamer.runtime.weights import split_weights

    path = Path(options.what)
    preprocess = _preprocess(options)
    onnx, more = (_onnx_file(options, path), {}) if path.suffix == ".onnx" else _exported(options, preprocess)
    graph, weights = split_weights(onnx)
    payload = container.Payload(
        graph=graph,
        tensors=near_lossless(weights, options.error),
        preprocess=preprocess.to_json(),
        classes=_class_names(options),
        plan=Plan().in_file() | {"error": options.error} | more,
    )
    out = options.out or Path(f"{path.stem if path.suffix == '.onnx' else _short(options.what)}.gossamer")
    container.write(out, payload, {}, CHOICES[options.coding])
    floats = 4 * sum(value.size for value in weights.values())
    size = out.stat().st_size
    print(f"{out}: {size:,} bytes for {floats:,} of numbers in float32, {floats / size:.2f}x; {kept(options.error)}")
    return 0


def _short(network: str) -> str:
    """The name of a network's file: without family, options and folders."""
    from gossamer.zoo import ZOO, split_name

    name = split_name(network)[1]
    return name.partition(":")[0] if name.partition(":")[0] in ZOO else name.replace("/", "-")


def _class_names(options: argparse.Namespace) -> tuple[str, ...]:
    """Those that are given, or those in the .gossamer file of the weights; ValueError where their number is another."""
    from gossamer import container
    from gossamer.zoo.models import usual_classes

    names = tuple(options.class_names)
    if not names and options.weights is not None and options.weights.suffix == ".gossamer":
        names = container.read(options.weights).payload.classes
    if names and not options.what.endswith(".onnx"):
        classes = options.classes or usual_classes(options.what)
        if len(names) != classes and not (classes == 1 and len(names) == BARE):
            raise ValueError(f"expected a name for each of {classes} classes, got {len(names)}: {', '.join(names)}")
    return names


def _preprocess(options: argparse.Namespace) -> Preprocess:
    from gossamer.data.preprocess import preset
    from gossamer.zoo.detectors import published_preprocess

    known = preset(options.preset) if options.preset else None
    if known is None and not options.what.endswith(".onnx"):
        known = published_preprocess(options.what)
    if known is None:
        raise ValueError(f"expected to know what images {options.what} reads, and cannot; give --preset")
    return known if options.size is None else replace(known, size=options.size)


def _onnx_file(options: argparse.Namespace, path: Path) -> bytes:
    for flag in ("weights", "classes", "trainable"):
        if getattr(options, flag):
            raise ValueError(f"expected a network for --{flag}, got the file {path}, which holds its own; leave it out")
    if not path.is_file():
        raise ValueError(f"expected a file, found none at {path}")
    return path.read_bytes()


def _exported(options: argparse.Namespace, preprocess: Preprocess) -> tuple[bytes, dict[str, Any]]:
    """In ONNX, and what its plan says: of a detector what its output means; whether training can go on."""
    import torch

    from gossamer.detection import Head
    from gossamer.runtime.export import export_onnx
    from gossamer.zoo.detectors import is_detector, load_detector
    from gossamer.zoo.models import load_model, usual_classes
    from gossamer.zoo.weight_files import load_weights

    classes = options.classes or usual_classes(options.what)
    if is_detector(options.what):  # its boxes lie on grids that the size of its images gives
        model = load_detector(options.what, classes, preprocess.shape[1:])
    else:
        model = load_model(options.what, classes)
    if options.weights is not None:
        load_weights(model, options.weights)
    onnx = export_onnx(model.eval(), torch.zeros(2, *preprocess.shape), fold=not options.trainable)
    more = _trainable(model, onnx) if options.trainable else {}
    head = getattr(model, "head", None)
    return onnx, more | ({"head": head.to_json()} if isinstance(head, Head) else {})


def _trainable(model: nn.Module, onnx: bytes) -> dict[str, Any]:
    """What the plan of a network that training goes on from says: which of its parameters are in the graph.

    Every parameter and buffer must be in the file, or the network could not be filled from it; ValueError otherwise.
    """
    import numpy as np

    from gossamer.runtime.weights import split_weights
    from gossamer.zoo.weight_files import kept_numbers

    graph, weights = split_weights(onnx)
    numbers = {name: value for name, value in kept_numbers(graph).items() if name in model.state_dict()}
    held = weights | numbers
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked") and not np.array_equal(held.get(name, 0), value.numpy()):
            raise ValueError(
                f"expected every parameter in the exported network as it is, '{name}' is not; leave out --trainable"
            )
    return {"trainable": True} | ({"numbers": sorted(numbers)} if numbers else {})
