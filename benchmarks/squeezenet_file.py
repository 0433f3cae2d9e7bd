# SPDX-License-Identifier: Apache-2.0
"""The authors' own SqueezeNet of Deep Compression, read, run, and stored to the bit in our format.

    python -m benchmarks.squeezenet_file       writes results/squeezenet-deep-compression/

Needs GOSSAMER_DATA with weights/imagenet/squeezenet_v1.0_deep_compression.net and imagenet_nips17/images.npz.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import nn

from benchmarks.filing import file_circumstances
from benchmarks.imagenet_images import CLASSES, pictures
from gossamer import container
from gossamer.coding import CODERS, relative_index, smallest
from gossamer.container import Choice
from gossamer.data.preprocess import Preprocess
from gossamer.files import write_json
from gossamer.plan import LayerPlan, Plan
from gossamer.quantize.codebook import Codebook
from gossamer.quantize.integers import Shared, tensors
from gossamer.runtime.export import export_onnx
from gossamer.runtime.session import open_session
from gossamer.runtime.weights import split_weights
from gossamer.zoo.deep_compression_file import INDEX_BITS, StoredLayer, read_layers

RESULTS = Path(__file__).resolve().parent.parent / "results" / "squeezenet-deep-compression"
PUBLISHED = "weights/imagenet/squeezenet_v1.0_deep_compression.net"
PREPROCESS = Preprocess((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), 227, scale=1.0, bgr=True, crop=227 / 256)
BATCH = 20
CHOICES: dict[str, Choice] = {
    "relative indices of 4 bits, Huffman": lambda v, _: ("relative", relative_index.encode(v, INDEX_BITS)),
    "relative indices, Huffman": lambda v, _: ("relative", relative_index.encode(v)),
    "adaptive": lambda v, _: ("adaptive", CODERS["adaptive"].encode(v)),
    "smallest of each tensor": smallest,
}


def main() -> int:
    """Write model.gossamer and sizes.json."""
    data = Path(os.environ.get("GOSSAMER_DATA", ""))
    published = data / PUBLISHED
    model, weights = network(published)
    onnx = export_onnx(model, torch.zeros(1, *PREPROCESS.shape))
    sizes = {name: written(onnx, weights, choice) for name, choice in CHOICES.items()}  # the last one stays
    decoded = container.to_onnx(container.read(RESULTS / "model.gossamer").payload)
    stored = split_weights(decoded)[1]
    for name, value in split_weights(onnx)[1].items():
        if stored[name].tobytes() != value.tobytes():
            raise ValueError(f"expected the weights of {published} to the bit, but {name} differs")
    right = right_answers(decoded, data)
    write_json(
        RESULTS / "sizes.json",
        {
            "published_bytes": published.stat().st_size,
            "coded_bytes": sizes,
            "weights": sum(value.size for value in weights.values()),
            "nonzeros": sum(int(np.count_nonzero(value)) for value in weights.values()),
            "images": len(right),
            "top1": float(right[:, 0].mean()),
            "top5": float(right.any(axis=1).mean()),
            "weights_are_those_published": "to the bit",
        },
    )
    file_circumstances(RESULTS, "python -m benchmarks.squeezenet_file")
    print((RESULTS / "sizes.json").read_text(encoding="utf-8"))
    return 0


def network(published: Path) -> tuple[nn.Module, dict[str, NDArray[np.float32]]]:
    """torchvision's SqueezeNet 1.0 with the weights of the file, and these weights by name."""
    model = torchvision.models.squeezenet1_0(weights=None).eval()
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    shapes = [(tuple(layer.weight.shape), 8) for layer in layers.values()]
    found: dict[str, StoredLayer] = dict(zip(layers, read_layers(published, shapes), strict=True))
    with torch.no_grad():
        for name, stored in found.items():
            layers[name].weight.copy_(torch.from_numpy(stored.weight))
            assert layers[name].bias is not None
            layers[name].bias.copy_(torch.from_numpy(stored.bias))
    return model, {f"{name}.weight": stored.weight for name, stored in found.items()}


def written(onnx: bytes, weights: dict[str, NDArray[np.float32]], choice: Choice) -> int:
    """Write the network with codebooks; the bytes of the whole file."""
    graph, values = split_weights(onnx)
    books = {name: Codebook(np.unique(np.append(value, np.float32(0)))) for name, value in weights.items()}
    plan = {
        name: LayerPlan(float(np.mean(weights[name] == 0)), codebook=len(book.values)) for name, book in books.items()
    }
    payload = container.Payload(
        graph=graph,
        tensors=tensors(values, {}, {name: Shared(book) for name, book in books.items()}, mantissa_bits=None),
        preprocess=PREPROCESS.to_json(),
        classes=CLASSES,
        plan=Plan().with_layers(plan).in_file(),
    )
    file = RESULTS / "model.gossamer"
    container.write(file, payload, {}, choice)
    return file.stat().st_size


def right_answers(onnx: bytes, data: Path) -> NDArray[np.bool_]:
    """(N, 5): whether the label is the first, second, ... answer."""
    images, labels = pictures(data)
    session = open_session(onnx, threads=os.cpu_count() or 1)
    right = []
    for start in range(0, len(labels), BATCH):
        chosen = slice(start, start + BATCH)
        outputs = session.run(PREPROCESS.apply(np.stack([PREPROCESS.fit(image) for image in images[chosen]])))[0]
        best = np.argsort(-outputs, axis=1, kind="stable")[:, :5]
        right.append(best == labels[chosen][:, None])
    return np.concatenate(right)


if __name__ == "__main__":
    sys.exit(main())
