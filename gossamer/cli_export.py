# SPDX-License-Identifier: Apache-2.0
"""The verb `export`: a .gossamer file as the file of another runtime, compared there before it is written."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import cli_values

if TYPE_CHECKING:
    from gossamer.data.images import Split
    from gossamer.data.preprocess import Preprocess
    from gossamer.device.stored import Stored

TARGETS = ("litert", "executorch", "ncnn", "openvino", "onnx")


def add_verbs(verbs: Any) -> None:
    """`export` with its options."""
    export = verbs.add_parser("export", help="a network as the file of another runtime: LiteRT, ExecuTorch, ncnn, ...")
    export.add_argument("network", type=Path, help="a .gossamer file")
    export.add_argument("--to", required=True, choices=TARGETS, help="what it is to run in")
    export.add_argument(
        "--out", type=Path, metavar="PATH", help="a file, or a folder; default: beside the network, with another ending"
    )
    export.add_argument("--data", type=Path, metavar="DIR", help="pictures on which it is compared too")
    export.add_argument(
        "--size",
        type=cli_values.pixels,
        metavar="PIXELS",
        help="a side of its input, of a network that reads any; default: what its file says",
    )
    export.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """`gossamer export`."""
    from gossamer.device.stored import first_output, read_stored
    from gossamer.exporters import TARGETS as KNOWN
    from gossamer.exporters.check import FLOAT, INT8, check, random_images
    from gossamer.exporters.onnx_file import is_int8
    from gossamer.exporters.written import Meaning, place, write
    from gossamer.runtime.session import open_session

    target = KNOWN[options.to]
    path = place(options.network, options.out, target.ending)
    if options.network.suffix != ".gossamer":
        raise ValueError(f"expected a .gossamer file, got {options.network}; 'gossamer store' makes one of a network")
    stored = read_stored(options.network)
    preprocess = _preprocess(stored, options.size)
    pictures = _pictures(options.data, stored, preprocess)
    example = random_images(preprocess, 1)
    first_output(stored.path, stored.open(open_session), example)  # or in a sentence that it reads no such size
    exported = target.export(stored.model, example)
    agreement = check(target, exported, stored.model, preprocess, pictures, INT8 if is_int8(stored.model) else FLOAT)
    meaning = Meaning(preprocess, stored.classes, stored.plan.get("head"))
    for file in write(path, exported, meaning, agreement):
        print(f"{file}  {file.stat().st_size:,} bytes")
    print(agreement)
    return 0


def _preprocess(stored: Stored, size: int | None) -> Preprocess:
    """How pixels are read, at the size for which the network is exported."""
    known = stored.sized()
    fixed = (known.height, known.width) if _is_detector(stored) else stored.sides()  # a head is for one size
    height, width = fixed[0] or size or known.height, fixed[1] or size or known.width
    if size is not None and (height, width) != (size, size):
        raise ValueError(
            f"expected no --size, {stored.path} reads {height}x{width} pixels and nothing else; leave it out"
        )
    return replace(known, size=(height, width))


def _pictures(folder: Path | None, stored: Stored, preprocess: Preprocess) -> Split | None:
    """What the network is compared on: pictures as it reads them in use, whole ones for a detector."""
    if folder is None:
        return None
    from gossamer.data.loose import unlabelled

    return unlabelled(folder, preprocess, squeezed=_is_detector(stored))[0]


def _is_detector(stored: Stored) -> bool:
    return stored.plan.get("head") is not None
