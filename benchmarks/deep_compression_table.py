# SPDX-License-Identifier: Apache-2.0
"""The tables of Deep Compression, layer by layer in the paper's form, from the files in results/.

    python -m benchmarks.deep_compression_table       writes them into docs/methods/deep-compression.md

P: pruned. P+Q: pruned and shared, every entry in fixed width. +H: with Huffman codes and their tables. Sizes of layers
are codebook, codes and gaps, in percent of 32 bits a weight; codebooks are counted with 32 bits a value, as in the
paper, whatever the file needs. Where a batch norm was folded into a layer, shared values are multiplied by a factor for
each channel, which the paper's networks do not have: it is counted with 32 bits too.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.filing import put_between
from gossamer import container
from gossamer.coding import adaptive, huffman, relative_index
from gossamer.container import Tensor
from gossamer.report.record import Report, read_reports

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "methods" / "deep-compression.md"
BEGIN, END = "<!-- tables: python -m benchmarks.deep_compression_table -->", "<!-- end of tables -->"
HEAD = (
    "| | weights | P, % | weight bits P+Q | +H | index bits P+Q | +H | size P+Q, % | +H | the paper: P; bits; size |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|\n"
)


@dataclass(frozen=True)
class Published:
    """What the paper's table says of a network: a text a layer, and the whole; nothing, where it has another one."""

    title: str
    layers: dict[str, str] = field(default_factory=dict)
    whole: str = ""


PUBLISHED = {
    "lenet300100-deep-compression": Published(
        "LeNet-300-100 on MNIST",
        {
            "ip1.weight": "8; 6 → 4.4 and 5 → 3.7; 3.1 → 2.32",
            "ip2.weight": "9; 6 → 4.4 and 5 → 4.3; 3.8 → 3.04",
            "ip3.weight": "26; 6 → 4.3 and 5 → 3.2; 15.7 → 12.70",
        },
        "8 (12x); 6 → 5.1 and 5 → 3.7; 3.1 (32x) → 2.49 (40x)",
    ),
    "lenet5-deep-compression": Published(
        "LeNet-5 on MNIST",
        {
            "conv1.weight": "66; 8 → 7.2 and 5 → 1.5; 78.5 → 67.45",
            "conv2.weight": "12; 8 → 7.2 and 5 → 3.9; 6.0 → 5.28",
            "ip1.weight": "8; 5 → 4.5 and 5 → 4.5; 2.7 → 2.45",
            "ip2.weight": "19; 5 → 5.2 and 5 → 3.7; 6.9 → 6.13",
        },
        "8 (12x); 5.3 → 4.1 and 5 → 4.4; 3.05 (33x) → 2.55 (39x)",
    ),
    "resnet20-deep-compression": Published("ResNet-20 on CIFAR-10"),
    "vgg16-deep-compression": Published("VGG-16 with batch norm on CIFAR-10"),
}


@dataclass(frozen=True)
class Bits:
    """What a layer, or all of them, takes: entries are the non-zero weights and the fillers."""

    weights: int
    nonzeros: int
    entries: int
    fixed_codes: int
    fixed_gaps: int
    codes: int
    gaps: int
    codebook: int
    factors: int = 0

    def __add__(self, other: Bits) -> Bits:
        return Bits(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def fixed(self) -> int:
        """Bits of P+Q."""
        return self.fixed_codes + self.fixed_gaps + self.codebook + self.factors

    @property
    def coded(self) -> int:
        """Bits of P+Q+H."""
        return self.codes + self.gaps + self.codebook + self.factors

    def cells(self) -> list[str]:
        """The numbers of a row."""
        per_entry = [self.fixed_codes, self.codes, self.fixed_gaps, self.gaps]
        shares = [self.fixed, self.coded]
        return [
            f"{self.weights:,}",
            f"{100 * self.nonzeros / self.weights:.1f}",
            *(f"{bits / self.entries:.1f}" for bits in per_entry),
            *(f"{100 * bits / (32 * self.weights):.2f}" for bits in shares),
        ]


def bits_of(tensor: Tensor, index_bits: int) -> Bits:
    """The bits of one layer with gaps of so many bits."""
    assert tensor.integers is not None
    assert tensor.centroids is not None
    gaps, values = relative_index.entries(tensor.integers, index_bits)
    width = (len(tensor.centroids) - 1).bit_length()
    return Bits(
        weights=tensor.integers.size,
        nonzeros=int(np.count_nonzero(tensor.integers)),
        entries=len(gaps),
        fixed_codes=len(gaps) * width,
        fixed_gaps=len(gaps) * index_bits,
        codes=8 * len(huffman.encode(values)),
        gaps=8 * len(huffman.encode(gaps)),
        codebook=32 * len(tensor.centroids),
        factors=0 if tensor.unit is None else 32 * tensor.unit.size,
    )


def table(name: str, index_bits: int = 5) -> str:
    """The table of one claim, and what the network takes in all."""
    published, folder = PUBLISHED[name], ROOT / "results" / name
    (report,) = read_reports(folder / "report.json")
    file = container.read(folder / "model.gossamer")
    shared = {tensor.name: tensor for tensor in file.payload.tensors if tensor.centroids is not None}
    layers = {layer: bits_of(tensor, index_bits) for layer, tensor in shared.items()}
    whole = sum(list(layers.values())[1:], next(iter(layers.values())))
    named = [(layer, bits, published.layers.get(layer, "")) for layer, bits in layers.items()]
    rows = [_row(*row) for row in (*named, ("**all**", whole, published.whole))]
    title = f"**{published.title}**, [{name}](../../results/{name}/)"
    return f"{title}\n\n{HEAD}{''.join(rows)}\n{_sizes(whole, file, report)}"


def _row(layer: str, bits: Bits, published: str) -> str:
    return f"| {' | '.join([layer, *bits.cells(), published])} |\n"


def _sizes(whole: Bits, file: container.File, report: Report) -> str:
    """Ratios in every way of counting, and the errors."""
    biases = sum(tensor.decoded().size for tensor in file.payload.tensors if tensor.centroids is None)
    dense = 4 * (whole.weights + biases)
    stored = sum(entry.bytes for entry in file.stored)
    integers = [tensor.integers for tensor in file.payload.tensors if tensor.integers is not None]
    by_adaptive = sum(len(adaptive.encode(values)) for values in integers)
    counted = {
        "as the paper counts, P+Q": whole.fixed // 8 + 4 * biases,
        "as the paper counts, P+Q+H": whole.coded // 8 + 4 * biases,
        "the same by our adaptive coder": by_adaptive + (whole.codebook + whole.factors) // 8 + 4 * biases,
        "all tensors in our file": stored,
        "our whole file, graph and certificate in it": file.bytes,
    }
    lines = [f"- {what}: {size:,} bytes, {dense / size:.1f}x\n" for what, size in counted.items()]
    before, after = report.original.quality, report.compressed.quality
    control = "" if report.control is None else f", the dense control {_error(report.control.quality)}"
    images = f"{report.certificate['n']:,} test images"
    lines.append(f"- error on {images}: original {_error(before)}{control}, compressed {_error(after)}\n")
    return "".join(lines)


def _error(quality: float) -> str:
    return f"{100 * (1 - quality):.2f} %"


def tables() -> str:
    """The tables of all finished claims."""
    finished = [name for name in PUBLISHED if (ROOT / "results" / name / "report.json").exists()]
    return "\n".join(table(name) for name in finished)


def main() -> int:
    """Put the tables into the page."""
    put_between(PAGE, BEGIN, END, tables())
    return 0


if __name__ == "__main__":
    sys.exit(main())
