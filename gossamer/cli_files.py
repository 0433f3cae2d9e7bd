# SPDX-License-Identifier: Apache-2.0
"""Verbs that look at files: `inspect`, `decode`, `verify`, `bench`, `report`, `methods`, `doctor`.

`inspect`, `decode` and `verify` of a .gossamer file need numpy alone: they run where there is no torch.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import cli_values
from gossamer.zoo import ZOO

if TYPE_CHECKING:
    from gossamer.certify import Certificate
    from gossamer.container.file import File
    from gossamer.graph import Network


def add_verbs(verbs: Any) -> None:
    """Each verb with its options."""
    inspect = verbs.add_parser(
        "inspect", help="what is in a .gossamer file, per layer; or what can be cut of a network"
    )
    inspect.add_argument("what", help="a .gossamer file, or a network: a zoo name, torchvision:NAME, file.py:callable")
    inspect.add_argument("--size", type=cli_values.pixels, metavar="PIXELS", help="of a network's input")
    inspect.add_argument("--classes", type=cli_values.classes, help="of a network; default: those of its paper")
    inspect.set_defaults(run=run_inspect)

    decode = verbs.add_parser("decode", help=".gossamer to ONNX")
    decode.add_argument("file", type=Path)
    decode.add_argument("--out", type=Path, help="default: beside the file, with the ending .onnx")
    decode.set_defaults(run=run_decode)

    verify = verbs.add_parser("verify", help="check sums and certificate of a .gossamer file")
    verify.add_argument("file", type=Path)
    verify.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="a .gossamer file that this one may replace: no less is promised on the same images, in no more bytes",
    )
    verify.add_argument(
        "--data",
        metavar="DATA",
        help="what the run was given: both networks are run on its test split again, and must give the same counts",
    )
    verify.add_argument("--original", type=Path, metavar="FILE", help="the original of --data: .onnx or .gossamer")
    verify.add_argument("--overlap", type=cli_values.overlap, metavar="PIXELS", help="of tiles, as the run had it")
    verify.add_argument("--only", nargs="+", metavar="CLASS", help="of objects with boxes, as the run had it")
    verify.add_argument("--drop-empty", action="store_true", help="leave out pictures without objects, as the run did")
    verify.add_argument("--runtime", choices=("onnxruntime", "openvino"), help="default: the one that the run had")
    verify.set_defaults(run=run_verify)

    bench = verbs.add_parser("bench", help="latency of one file, or of two and their ratio, in every runtime here")
    bench.add_argument("files", type=Path, nargs="*", help=".onnx or .gossamer, one or two; for a bundle any number")
    bench.add_argument("--rounds", type=cli_values.rounds, default=200)
    bench.add_argument("--threads", type=cli_values.threads, nargs="+", default=[1])
    bench.add_argument("--batch-size", type=cli_values.examples, default=1)
    bench.add_argument("--size", type=cli_values.pixels, metavar="PIXELS", help="where the file does not say it")
    bench.add_argument("--bundle", type=cli_values.new_folder, metavar="DIR", help="pack the files for another machine")
    bench.add_argument(
        "--table-of",
        metavar="MODEL",
        help="pack cuts of this network instead of files: their times are the --latency-table of `compress`",
    )
    bench.add_argument("--classes", type=cli_values.classes, help="of --table-of; default: those of its paper")
    bench.add_argument("--data", type=Path, metavar="DIR", help="pictures whose answers are compared there")
    bench.add_argument("--board", type=Path, metavar="FILE", help="show the board.json that came back")
    bench.set_defaults(run=run_bench)

    report = verbs.add_parser("report", help="the page and the tables of a finished run or a report.json")
    report.add_argument("path", type=Path, help="a run's folder or a report.json")
    report.add_argument("--out", type=Path, help="where to write the page; default: beside report.json")
    report.set_defaults(run=run_report)

    methods = verbs.add_parser("methods", help="the catalogue, with papers")
    methods.set_defaults(run=run_methods)

    doctor = verbs.add_parser("doctor", help="what this machine has, and what is missing")
    doctor.set_defaults(run=run_doctor)


def run_inspect(options: argparse.Namespace) -> int:
    """`gossamer inspect`."""
    path = Path(options.what)
    if path.suffix == ".gossamer":
        from gossamer import container

        print(container.describe(container.read(path)))
        return 0
    if options.what.partition(":")[0] not in ZOO and (path.exists() or path.suffix == ".onnx"):
        raise ValueError(f"expected a .gossamer file or the name of a network, got {path}; {_instead_of(path)}")
    from gossamer.graph import explain

    network, classes = _network(options.what, options.size, options.classes)
    _, channels, height, width = network.example[0].shape
    print(f"{options.what}: {network.parameters:,} parameters, {network.macs:,} multiply-adds")
    print(f"{classes:,} classes, images of {height}x{width} pixels with {channels} channels\n")
    for row in explain(network):
        fate = "can be cut" if row.removable and not row.why else f"stays: {row.why}" if row.why else "stays"
        print(f"  {row.layer:<40} {row.channels:>5} channels  {fate:<10}  group {row.group or 'none'}")
    return 0


def _network(name: str, size: int | None, classes: int | None) -> tuple[Network, int]:
    """The untrained network of this name for images of this size, and its number of classes."""
    import torch

    from gossamer.graph import trace
    from gossamer.zoo.models import check_model, load_model, usual_classes, usual_preprocess

    check_model(name)
    classes = classes or usual_classes(name)
    model = load_model(name, classes)
    usual = usual_preprocess(name)
    shape = getattr(model, "input_shape", None) or (usual.shape if usual else (3, 224, 224))
    if size is not None:
        shape = (shape[0], size, size)
    return trace(model.eval(), torch.zeros(2, *shape)), classes


def _instead_of(path: Path) -> str:
    """What somebody who asks to inspect `path` can inspect."""
    if path.suffix == ".py":
        return f"name the function or class in it: {path}:build"
    inside = path / "model.gossamer" if path.is_dir() else path.with_name("model.gossamer")
    return f"try {inside}" if inside.exists() else "a run's model.gossamer can be inspected"


def run_decode(options: argparse.Namespace) -> int:
    """`gossamer decode`."""
    from gossamer import container

    out = options.out or options.file.with_suffix(".onnx")
    container.decode(options.file, out)
    print(out)
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """`gossamer verify`: exit status 1 if anything does not hold, so that it can be a gate in other people's CI."""
    from gossamer import container
    from gossamer.certify import ByArea, Certificate, not_recomputed, recheck, weaker

    if (options.data is None) != (options.original is None):
        raise ValueError("expected --data and --original, or neither, got one of them; both networks are tested")
    for line in container.verify(options.file):
        print(f"holds: {line}")
    file = container.read(options.file)
    claims = file.claims.get("certificate")
    if claims is None:
        print("the file has no certificate")
        return int(options.against is not None or options.data is not None)
    certificate = Certificate.from_json(claims)
    problems = recheck(certificate)
    if certificate.payload_sha256 != file.payload_sha256:
        problems.append("the certificate is of another payload")
    if options.against is not None:
        old = container.read(options.against).claims.get("certificate")
        if old is None:
            raise ValueError(f"expected a certificate in {options.against}, got a file without one")
        problems += weaker(certificate, Certificate.from_json(old))
        sizes = [path.stat().st_size for path in (options.file, options.against)]
        if sizes[0] > sizes[1]:
            problems.append(f"it has {sizes[0]:,} bytes, the other {sizes[1]:,}")
    if options.data is not None:
        problems += _tested_again(options, file, certificate)
    for part in not_recomputed(certificate):
        print(f"not recomputed: {part}")
    for problem in problems:
        print(f"does not hold: {problem}")
    if not problems:
        print(f"holds: {certificate}")
        if by_area := ByArea.in_claims(file.claims):
            print(by_area)
            if certificate.proven and by_area.reaches_beyond(certificate.tolerance):
                print(f"proven if images were independent; by areas the drop reaches {by_area.reach} points")
    return 1 if problems else 0


def _tested_again(options: argparse.Namespace, file: File, certificate: Certificate) -> list[str]:
    """What both networks say of the test split otherwise than the certificate; said too where it is the same."""
    from gossamer.measure.again import differs, split_to_test
    from gossamer.measure.bench import network_bytes
    from gossamer.report.live import TerminalWatch

    only = None if options.only is None else tuple(options.only)
    test, kind = split_to_test(options.data, file, certificate.measure, options.overlap, only, options.drop_empty)
    with TerminalWatch().bar("testing again") as step:

        def progress(done: int, total: int) -> None:
            step(done, total, "")

        original = network_bytes(options.original)
        runtime = options.runtime or str(file.claims.get("runtime", "onnxruntime"))
        problems = differs(file, certificate, original, test, kind, runtime, progress)
    if not problems:
        print(f"holds: both networks, run again on {len(test):,} test images in {runtime}, give its counts")
    return problems


def run_bench(options: argparse.Namespace) -> int:
    """`gossamer bench`."""
    from gossamer.measure.bench import bench_table
    from gossamer.report.terminal import console

    if options.board is not None:
        from gossamer.measure.bundle import board_table

        console().print(board_table(options.board))
        return 0
    if options.bundle is not None:
        return _bundle(options)
    if not 1 <= len(options.files) <= 2:
        raise ValueError(f"expected one or two files, got {len(options.files)}")
    console().print(bench_table(options.files, options.rounds, options.threads, options.batch_size, options.size))
    return 0


def _bundle(options: argparse.Namespace) -> int:
    from gossamer.measure.bundle import SCRIPT, pack, preprocess_of

    if options.table_of is not None:
        from gossamer.search.board import pack_table

        if options.files or options.data is not None:
            raise ValueError("expected --table-of alone, got files or --data with it; leave them out")
        packed = pack_table(options.bundle, _network(options.table_of, options.size, options.classes)[0])
        print(
            f"{packed} networks are in {options.bundle}: copy it to the machine, run python3 {SCRIPT.name} there, bring"
        )
        print(f"board.json back into it, and give --latency-table {options.bundle} to compress")
        return 0
    if not options.files:
        raise ValueError("expected the files to pack, got none")
    images = None
    if options.data is not None:
        from gossamer.data.loose import unlabelled

        images = unlabelled(options.data, preprocess_of(options.files))[0]
    pack(options.bundle, options.files, options.batch_size, options.size, images)
    print(f"{options.bundle}: copy it to the machine, run python3 {SCRIPT.name} there, and bring board.json back")
    return 0


def run_report(options: argparse.Namespace) -> int:
    """`gossamer report`."""
    from gossamer.report.page import write_page
    from gossamer.report.record import read_reports
    from gossamer.report.terminal import bytes_table, candidates_table, comparison_table, console

    path = options.path / "report.json" if options.path.is_dir() else options.path
    if not path.exists():
        raise ValueError(f"expected a finished run or a report.json, found no {path}")
    out = console()
    reports = read_reports(path)
    for index, report in enumerate(reports):
        if report.candidates:
            out.print(candidates_table(report.candidates, report.chosen))
        if layers := bytes_table(report):
            out.print(layers)
        out.print(comparison_table(report))
        page = options.out or path.with_suffix(".html")
        if len(reports) > 1:
            page = page.with_stem(f"{page.stem}-{index}")
        write_page(report, page, path.parent)
        print(page)
    return 0


def run_methods(options: argparse.Namespace) -> int:
    """`gossamer methods`: every method and recipe with the first lines of its own header, and what it costs."""
    import inspect as source
    import sys

    from gossamer import filters, rates, recipes, tuning, weights

    families: dict[str, Mapping[str, type]] = {
        "recipes": recipes.RECIPES,
        "filters": filters.METHODS,
        "rates": rates.METHODS,
        "weights": weights.METHODS,
        "tuning": tuning.METHODS,
    }
    for family, table in families.items():
        print(f"{family}\n")
        for name, method in table.items():
            header = (source.getdoc(sys.modules[method.__module__]) or "").split("\n\n")
            told = [_sentences(part) for part in header if part.startswith(("Paper:", "Papers:", "Source:", "Cost:"))]
            first, _, rest = header[0].partition(": ")
            same = first.lower().replace(" ", "-") == name
            print(f"  {name}: {rest if same else header[0]}")
            for line in "\n".join(told).splitlines():
                print(f"      {line}")
            print()
    return 0


def _sentences(part: str) -> str:
    """The part up to its last full stop: a formula that its last sentence leads to is the next part."""
    ends = [stop.end() for stop in re.finditer(r"\.(?=\s|$)", part)]
    return part[: ends[-1]] if ends else part


def run_doctor(options: argparse.Namespace) -> int:
    """`gossamer doctor`."""
    from gossamer.measure.environment import doctor
    from gossamer.report.terminal import console, doctor_table

    console().print(doctor_table(doctor()))
    return 0
