# SPDX-License-Identifier: Apache-2.0
"""The verb `certify`: a certificate for any two networks, from labelled images, or from those that they disagree on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import cli_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gossamer.certify import Certificate, Counts
    from gossamer.container.file import File
    from gossamer.data.images import Split

SHEET = "labels.csv"


def add_verb(verbs: Any) -> None:
    """`certify` with its options."""
    certify = verbs.add_parser("certify", help="prove on your images that one network loses little against another")
    certify.add_argument("original", type=Path, help=".onnx or .gossamer")
    certify.add_argument(
        "compressed", type=Path, help=".gossamer: it says how images are read and what classes are called"
    )
    images = certify.add_mutually_exclusive_group(required=True)
    images.add_argument("--data", type=Path, metavar="DIR", help="pictures in class folders, or an .npz file")
    images.add_argument(
        "--unlabelled",
        type=Path,
        metavar="DIR",
        help=f"pictures without labels: those on which the networks disagree are listed in {SHEET}, for you to label",
    )
    certify.add_argument("--tolerance", type=cli_values.points, default=1.0, metavar="POINTS")
    certify.add_argument("--confidence", type=cli_values.confidence, default=95.0, metavar="PERCENT")
    certify.add_argument("--runtime", choices=("onnxruntime", "openvino"), default="onnxruntime")
    certify.add_argument("--out", type=Path, default=Path("certificate"), metavar="FOLDER", help="default: certificate")
    certify.add_argument(
        "--ledger", type=Path, help="where looks at test images are counted; default: one file per user"
    )
    certify.add_argument("--quiet", action="store_true")
    certify.set_defaults(run=run_certify)


def run_certify(options: argparse.Namespace) -> int:
    """`gossamer certify`: exit status 0 if it is proven, 1 if not."""
    from gossamer import container
    from gossamer.certify import Counts
    from gossamer.files import write_json

    file = container.read(options.compressed)
    split, names = _images(options, file)
    original, compressed = (_answers(options, path, split, file) for path in (options.original, options.compressed))
    if split.labels is not None:
        counts, open_questions = Counts.of(original == split.labels, compressed == split.labels), 0
        print(f"{counts.n:,} images: {counts.b:,} turned wrong, {counts.c:,} right")
    else:
        counts, open_questions = _counts_of_disagreements(options, original, compressed, names, file)
    certificate = _certified(options, counts, split, file, final=not open_questions)
    write_json(options.out / "certificate.json", certificate.to_json())
    print(certificate)
    if open_questions and not certificate.proven:
        print(f"label the {open_questions:,} images in {options.out / SHEET} and run the same command again")
    return 0 if certificate.proven else 1


def _images(options: argparse.Namespace, file: File) -> tuple[Split, tuple[str, ...]]:
    from gossamer.data.loose import labelled, unlabelled
    from gossamer.data.preprocess import Preprocess
    from gossamer.report.live import TerminalWatch

    preprocess, classes = Preprocess.from_json(dict(file.payload.preprocess)), file.payload.classes
    if not classes:
        raise ValueError(f"expected the names of the classes in {options.compressed}, it has none; compress it again")
    with TerminalWatch(quiet=options.quiet).bar("reading images") as step:

        def read(done: int, total: int) -> None:
            step(done, total, "")

        if options.data is not None:
            split, names = labelled(options.data, preprocess, classes, read), tuple[str, ...]()
        else:
            split, names = unlabelled(options.unlabelled, preprocess, read)
        split.images.hashes()
    return split, names


def _answers(options: argparse.Namespace, path: Path, split: Split, file: File) -> NDArray[np.int64]:
    """The class that a network gives each image, (N,)."""
    from gossamer.data.preprocess import Preprocess
    from gossamer.measure.answers import answers
    from gossamer.measure.bench import network_bytes
    from gossamer.report.live import TerminalWatch

    preprocess = Preprocess.from_json(dict(file.payload.preprocess))
    with TerminalWatch(quiet=options.quiet).bar(f"asking {path.name}") as step:
        return answers(
            network_bytes(path), split, preprocess, options.runtime, lambda done, total: step(done, total, "")
        )


def _counts_of_disagreements(
    options: argparse.Namespace,
    original: NDArray[np.int64],
    compressed: NDArray[np.int64],
    names: tuple[str, ...],
    file: File,
) -> tuple[Counts, int]:
    """Counts with the labels that are in the sheet so far, and how many images still want one."""
    import numpy as np

    from gossamer.certify.disagreement import NO_CLASS, UNKNOWN, disagreements, worst_counts
    from gossamer.data.loose import read_sheet, write_sheet

    sheet, classes = options.out / SHEET, file.payload.classes
    known = read_sheet(sheet, classes) if sheet.exists() else {}
    if strange := sorted(set(known) - set(names)):
        raise ValueError(
            f"expected images of {options.unlabelled} in {sheet}, got '{strange[0]}'; choose another --out"
        )
    differ = disagreements(original, compressed)
    write_sheet(sheet, [names[index] for index in differ], known, classes)
    labels = np.full(len(names), UNKNOWN, np.int64)
    for index, name in enumerate(names):
        if name in known:
            label = known[name]
            labels[index] = NO_CLASS if label is None else label
    missing = int(np.count_nonzero(labels[differ] == UNKNOWN))
    counts = worst_counts(original, compressed, labels)
    print(f"{counts.n:,} images: the networks disagree on {len(differ):,}, {len(differ) - missing:,} of them labelled")
    print(f"{counts.b:,} turned wrong{' or may have' if missing else ''}, {counts.c:,} turned right")
    return counts, missing


def _certified(options: argparse.Namespace, counts: Counts, split: Split, file: File, final: bool) -> Certificate:
    """The certificate of one network on these images; this look at them is written down first.

    One that still waits for labels is not kept: it can only get better.
    """
    from gossamer.certify import Ledger, certificate_of, default_ledger, order_hash

    tolerance, confidence = options.tolerance / 100, options.confidence / 100
    ledger = Ledger.open(options.ledger or default_ledger())
    order = order_hash([file.payload_sha256], split.sha256, tolerance, confidence)
    look = ledger.record(split.sha256, order, [file.payload_sha256])
    certificate = certificate_of(counts, tolerance, confidence, split.sha256, file.payload_sha256, look)
    if final:
        ledger.add(certificate)
    return certificate
