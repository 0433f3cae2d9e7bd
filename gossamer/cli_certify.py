# SPDX-License-Identifier: Apache-2.0
"""The verb `certify`: a certificate for any two networks, from images with labels, masks or boxes, or without any.

Where images have one class each, only those that the networks disagree on need labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import cli_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gossamer.certify import Certificate, Counts
    from gossamer.certify.sequence import Evidence
    from gossamer.container.file import File
    from gossamer.data.folder import Progress
    from gossamer.data.images import Split
    from gossamer.data.preprocess import Preprocess
    from gossamer.kinds import Kind, Quality
    from gossamer.measure.quality import Answered

SHEET, PICTURES = "labels.csv", "disagreements.html"


def add_verbs(verbs: Any) -> None:
    """`certify` with its options."""
    certify = verbs.add_parser("certify", help="prove on your images that one network loses little against another")
    certify.add_argument("original", type=Path, help=".onnx or .gossamer")
    certify.add_argument(
        "compressed", type=Path, help=".gossamer: it says how images are read and what classes are called"
    )
    images = certify.add_mutually_exclusive_group(required=True)
    images.add_argument(
        "--data", type=Path, metavar="DIR", help="pictures in class folders, images/ and masks/, with boxes, or .npz"
    )
    images.add_argument(
        "--unlabelled",
        type=Path,
        metavar="DIR",
        help=f"pictures without labels: those on which the networks disagree are listed in {SHEET}, for you to label",
    )
    certify.add_argument(
        "--measure",
        choices=("iou", "dice", "accuracy", "ap", "f1"),
        help="what counts, where pixels have classes (default iou) or objects have boxes (default ap)",
    )
    certify.add_argument(
        "--overlap", type=cli_values.overlap, metavar="PIXELS", help="of tiles, where pixels have classes"
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
    from gossamer.data.loose_masks import has_masks
    from gossamer.files import write_json

    file = container.read(options.compressed)
    if not file.payload.classes:
        raise ValueError(f"expected the names of the classes in {options.compressed}, it has none; compress it again")
    open_questions, boxes, masks = 0, "head" in file.payload.plan, options.data is not None and has_masks(options.data)
    _check_used(options, masks, boxes)
    if boxes:
        certificate = _by_quality(options, file, *_with_boxes(options, file))
    elif masks:
        certificate = _by_quality(options, file, *_with_masks(options, file))
    else:
        certificate, open_questions = _by_classes(options, file)
    write_json(options.out / "certificate.json", certificate.to_json())
    print(certificate)
    if open_questions and not certificate.proven:
        print(
            f"label the {open_questions:,} images in {options.out / SHEET} and run the same command again; "
            f"{options.out / PICTURES} shows them"
        )
    return 0 if certificate.proven else 1


def _by_classes(options: argparse.Namespace, file: File) -> tuple[Certificate, int]:
    """The certificate where images have one class each, and how many images still want a label."""
    from gossamer.certify import ACCURACY, Counts
    from gossamer.report.worst import agreement

    split, names = _images(options, file)
    original, compressed = (_answers(options, path, split, file) for path in (options.original, options.compressed))
    if split.labels is None:
        counts, open_questions = _counts_of_disagreements(options, original, compressed, names, file)
    else:
        right = original == split.labels, compressed == split.labels
        counts, open_questions = Counts.of(*right), 0
    certificate = _certified(options, split, file, ACCURACY, lambda alpha: counts, final=not open_questions)
    if split.labels is not None:
        print(f"{counts.n:,} images: {counts.b:,} turned wrong, {counts.c:,} right")
    print(f"both networks give {100 * (agreement(original, compressed) or 0.0):.2f} % of the images the same class")
    if split.labels is not None:
        _tell_parts(certificate, split, file.payload.classes, *right)
    return certificate, open_questions


def _check_used(options: argparse.Namespace, masks: bool, boxes: bool) -> None:
    """ValueError for an option that says nothing about this network and these images."""
    if boxes and options.data is None:
        raise ValueError(f"expected --data, images with boxes, for the detector {options.compressed}, got --unlabelled")
    for name, used in (("measure", masks or boxes), ("overlap", masks and not boxes)):
        if getattr(options, name) is not None and not used:
            where = "images with masks" if name == "overlap" else "images with masks or boxes"
            raise ValueError(f"expected --{name} for {where} alone, got it with others; leave it out")


def _with_masks(options: argparse.Namespace, file: File) -> tuple[Kind, Split, Split | None]:
    """What counts where pixels have classes; the test, and the selection where there is one."""
    from gossamer.data.loose_masks import masked
    from gossamer.kinds.segmentation import Segmentation

    images = masked(options.data, _preprocess(file), file.payload.classes, options.overlap or 0)
    return Segmentation(options.measure or "iou"), *images


def _with_boxes(options: argparse.Namespace, file: File) -> tuple[Kind, Split, Split | None]:
    """The same where objects have boxes."""
    from gossamer.data.boxed import compared
    from gossamer.measure.again import kind_of_detector

    with _reading(options) as read:
        images = compared(options.data, _preprocess(file), file.payload.classes, read)
    return kind_of_detector(options.measure or "ap", file.payload.plan), *images


def _by_quality(
    options: argparse.Namespace, file: File, kind: Kind, test: Split, selection: Split | None
) -> Certificate:
    """The certificate where an image is right in part: by bets, whose wager the selection settles, if there is one."""
    from gossamer.certify import Differences, usual_wager
    from gossamer.certify.betting import difference, wager

    for split in (test, selection):
        if split is not None:
            kind.check_split(split, len(file.payload.classes), str(options.data))
    original, compressed = _both(options, test, file, kind)
    n, decided = len(test), None
    if selection is not None:
        decided = difference(*(answered.quality for answered in _both(options, selection, file, kind)))

    def evidence(alpha: float) -> Differences:
        share = usual_wager(n, alpha) if decided is None else wager(decided, n, alpha)
        return Differences.of(original.quality, compressed.quality, share)

    certificate = _certified(options, test, file, kind.measured, evidence, final=True)
    print(f"{n:,} images: {certificate.b:,} worse, {certificate.c:,} better in {kind.measured}")
    for name, before in original.figures.items():
        print(f"{name}: {100 * before:.2f} % before, {100 * compressed.figures[name]:.2f} % after")
    _tell_parts(certificate, test, file.payload.classes, original.quality, compressed.quality)
    return certificate


def _tell_parts(
    certificate: Certificate, split: Split, classes: tuple[str, ...], original: Quality, compressed: Quality
) -> None:
    """What single classes and groups lost, and how far the drop varies where images of a group belong together."""
    from gossamer.certify import by_known_areas
    from gossamer.certify.betting import difference
    from gossamer.report.words import worst_sentence
    from gossamer.report.worst import by_class, by_group

    for what, rows in (
        ("class", by_class(split, classes, original, compressed)),
        ("group", by_group(split, original, compressed)),
    ):
        if sentence := worst_sentence(rows, what):
            print(sentence)
    if by_area := by_known_areas(difference(original, compressed), split.areas, certificate.alpha):
        print(by_area)
        if certificate.proven and by_area.reaches_beyond(certificate.tolerance):
            print(f"proven only if images were independent; by areas the drop reaches {by_area.reach} points")


def _preprocess(file: File) -> Preprocess:
    """How images are read, as the compressed network's file says."""
    from gossamer.data.preprocess import Preprocess

    return Preprocess.from_json(dict(file.payload.preprocess))


def _both(options: argparse.Namespace, split: Split, file: File, kind: Kind) -> tuple[Answered, Answered]:
    """What the original and the compressed network answer."""
    from gossamer.measure.bench import network_bytes
    from gossamer.measure.quality import answered
    from gossamer.report.live import TerminalWatch

    preprocess = _preprocess(file)

    def ask(path: Path) -> Answered:
        with TerminalWatch(quiet=options.quiet).bar(f"asking {path.name}") as step:

            def progress(done: int, total: int) -> None:
                step(done, total, split.name)

            return answered(kind, preprocess, split, network_bytes(path), options.runtime, progress)

    return ask(options.original), ask(options.compressed)


@contextmanager
def _reading(options: argparse.Namespace) -> Iterator[Progress]:
    """A bar while images are read."""
    from gossamer.report.live import TerminalWatch

    with TerminalWatch(quiet=options.quiet).bar("reading images") as step:
        yield lambda done, total: step(done, total, "")


def _images(options: argparse.Namespace, file: File) -> tuple[Split, tuple[str, ...]]:
    from gossamer.data.loose import labelled, unlabelled

    preprocess, classes = _preprocess(file), file.payload.classes
    with _reading(options) as read:
        if options.data is not None:
            split, names = labelled(options.data, preprocess, classes, read), tuple[str, ...]()
        else:
            split, names = unlabelled(options.unlabelled, preprocess, read)
        split.images.hashes()
    return split, names


def _answers(options: argparse.Namespace, path: Path, split: Split, file: File) -> NDArray[np.int64]:
    """The class that a network gives each image, (N,)."""
    import numpy as np

    from gossamer.measure.answers import answers
    from gossamer.measure.bench import gives_maps, network_bytes
    from gossamer.report.live import TerminalWatch

    model = network_bytes(path)
    if gives_maps(model):
        raise ValueError(
            f"expected networks that give an image one class, got one that gives each pixel a class in {path}: give "
            "--data with images and masks, labels of images say nothing about it"
        )
    preprocess = _preprocess(file)
    with TerminalWatch(quiet=options.quiet).bar(f"asking {path.name}") as step:
        found = answers(model, split, preprocess, options.runtime, lambda done, total: step(done, total, ""))
    return found.astype(np.int64)


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
    from gossamer.data.loose import label_word, read_sheet, write_sheet
    from gossamer.report.contact_sheet import Disagreement, write_contact_sheet

    sheet, classes = options.out / SHEET, file.payload.classes
    known = read_sheet(sheet, classes) if sheet.exists() else {}
    if strange := sorted(set(known) - set(names)):
        raise ValueError(
            f"expected images of {options.unlabelled} in {sheet}, got '{strange[0]}'; choose another --out"
        )
    differ = disagreements(original, compressed)
    words = {names[index]: (_answer(original[index], classes), _answer(compressed[index], classes)) for index in differ}
    write_sheet(sheet, words, known, classes)
    pictures = [Disagreement(name, said[0], said[1], label_word(name, known, classes)) for name, said in words.items()]
    write_contact_sheet(options.out / PICTURES, options.unlabelled, pictures)
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


def _answer(number: int, classes: tuple[str, ...]) -> str:
    """A network's answer by its class's name."""
    return classes[number] if 0 <= number < len(classes) else "no answer"


def _certified(
    options: argparse.Namespace,
    split: Split,
    file: File,
    measure: str,
    evidence: Callable[[float], Evidence],
    final: bool,
) -> Certificate:
    """The certificate of one network on these images; this look at them is written down first.

    `evidence`: what they say, at the level that this look has. A certificate that still waits for labels is not kept:
    it can only get better.
    """
    from gossamer.certify import Ledger, certificate_of, default_ledger, level, listed, order_hash

    tolerance, confidence, payload = options.tolerance / 100, options.confidence / 100, file.payload_sha256
    ledger = Ledger.open(options.ledger or default_ledger())
    order = order_hash([payload], split.sha256, tolerance, confidence, measure)
    look = ledger.record(split.sha256, order, [payload])
    found = evidence(level(confidence, look))
    certificate = certificate_of(found, tolerance, confidence, split.sha256, payload, look, measure)
    if final:
        ledger.add(certificate)
    return listed([certificate], 0, order)
