# SPDX-License-Identifier: Apache-2.0
"""The command line within a bundle: `detect`, `predict` and `classify` pictures, `decode`, `check`, `latency`.

It needs numpy, Pillow and ONNX Runtime. `gossamer bundle` copies this module and what it imports, and nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import cli_detect, cli_device, cli_values
from gossamer.cli_parser import Parser

if TYPE_CHECKING:
    from gossamer.device.board_check import Difference
    from gossamer.device.board_latency import Turns
    from gossamer.device.deployed import Deployed

BEST, ROUNDS = 3, 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; bad input is one sentence on standard error and exit status 1."""
    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (OSError, ValueError, TypeError, ArithmeticError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    parser = Parser(prog="board.py", description="A network on this machine.")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB", parser_class=Parser)
    cli_detect.add_verbs(verbs)
    cli_device.add_verbs(verbs)

    classify = verbs.add_parser("classify", help="a classifier on images: the likeliest classes of each")
    classify.add_argument("network", type=Path, help="a .gossamer file")
    classify.add_argument("images", type=Path, help="an image or a folder of images: PNG, JPEG, TIFF or WebP")
    classify.add_argument("--best", type=cli_values.whole(1, "classes"), default=BEST, metavar="N", help="to be shown")
    cli_values.add_runtime(classify)
    classify.set_defaults(run=run_classify)

    decode = verbs.add_parser("decode", help=".gossamer to ONNX")
    decode.add_argument("network", type=Path, help="a .gossamer file")
    decode.add_argument("--out", type=Path, required=True, metavar="FILE")
    decode.set_defaults(run=run_decode)

    check = verbs.add_parser("check", help="does the network of a bundle answer here as where the bundle was made?")
    check.set_defaults(run=run_check)
    latency = verbs.add_parser("latency", help="what the network of a bundle takes here")
    latency.add_argument("--rounds", type=cli_values.rounds, default=ROUNDS)
    latency.add_argument("--threads", type=cli_values.threads, nargs="+", help="default: 1, 2, 4, ... that are here")
    latency.add_argument("--picture", type=Path, help="default: the first of the bundle's own, or its test picture")
    latency.set_defaults(run=run_latency)
    for verb in (check, latency):
        verb.add_argument("folder", type=Path, help="the bundle")
        cli_values.add_provider(verb)
    return parser


def run_classify(options: argparse.Namespace) -> int:
    """`classify`: exit status 1 if an image could not be read."""
    from gossamer.device.classifier import classify, open_classifier
    from gossamer.device.deployed import find_pictures, read_frame

    failed = 0
    classifier = open_classifier(options.network, cli_values.opener(options))
    for path in find_pictures(options.images):
        try:
            shares, _ = classify(classifier, read_frame(path))
        except ValueError as error:
            print(error, file=sys.stderr)
            failed += 1
            continue
        print(f"{path.name}: {', '.join(f'{name} {share:.3f}' for name, share in shares[: options.best])}")
    return int(failed > 0)


def run_decode(options: argparse.Namespace) -> int:
    """`decode`."""
    from gossamer import container

    container.decode(options.network, options.out)
    print(options.out)
    return 0


def run_check(options: argparse.Namespace) -> int:
    """`check`: exit status 1 if the decoded bytes are others, or an answer differs by more than rounding."""
    from gossamer.device.board_check import Tolerance, difference, read_expected
    from gossamer.device.deployed import read_frame
    from gossamer.files import sha256, write_json

    expected = read_expected(options.folder)
    tolerance = Tolerance(**expected["tolerance"])
    deployed, turns = _open_bundle(options, expected, (1,))
    same = sha256(turns.model) == expected["decoded_sha256"]
    print(f"decoded network: {len(turns.model):,} bytes, {'the same' if same else 'OTHERS'} as where it was packed")
    pictures = {}
    for name, wanted in expected["pictures"].items():
        found = difference(deployed, read_frame(options.folder / name), wanted, tolerance)
        within = found.within(tolerance)
        pictures[name] = asdict(found) | {"within": within}
        print(f"{name}: {_words(found, deployed.kind)}{'' if within else ': MORE THAN ROUNDING'}")
        same = same and within
    says = {"same": same, "decoded_sha256": sha256(turns.model), "tolerance": asdict(tolerance), "pictures": pictures}
    write_json(options.folder / "check.json", _about(options, deployed.kind) | says)
    print("the same, but for rounding" if same else "NOT the same; check.json has the numbers")
    return int(not same)


def run_latency(options: argparse.Namespace) -> int:
    """`latency`: prints medians, and writes them to latency.json."""
    from gossamer.device.board_check import read_expected
    from gossamer.device.board_latency import in_turns
    from gossamer.files import write_json
    from gossamer.measure.on_board import peak_memory
    from gossamer.runtime.latency import thread_counts

    expected = read_expected(options.folder)
    names = list(expected["pictures"])
    picture = options.picture or options.folder / names[min(1, len(names) - 1)]
    deployed, turns = _open_bundle(options, expected, tuple(dict.fromkeys(options.threads or thread_counts())))
    print(f"the file is decoded in {turns.decode_ms:,.0f} ms; {picture.name}, {options.rounds} rounds:", flush=True)
    rows = in_turns(deployed, turns, picture, options.rounds)
    for threads, steps in rows.items():
        each = [f"{_step(name, deployed.kind)} {spread.median_ms:.2f} ms" for name, spread in steps.items()]
        network = steps["network"]
        spread = f"(network p10 {network.p10_ms:.2f}, p90 {network.p90_ms:.2f})"
        print(f"{threads} thread{'s' if threads > 1 else ''}: {', '.join(each)} {spread}")
    says = {
        "picture": picture.name,
        "rounds": options.rounds,
        "file_decode_ms": turns.decode_ms,
        "peak_memory_bytes": peak_memory(),
        "threads": {
            str(threads): {_step(name, deployed.kind): asdict(spread) for name, spread in steps.items()}
            for threads, steps in rows.items()
        },
    }
    write_json(options.folder / "latency.json", _about(options, deployed.kind) | says)
    return 0


def _open_bundle(
    options: argparse.Namespace, expected: dict[str, Any], threads: tuple[int, ...]
) -> tuple[Deployed, Turns]:
    from gossamer.device.board_latency import Turns
    from gossamer.device.deployed import open_deployed
    from gossamer.runtime.providers import open_on

    turns = Turns(lambda model, count: open_on(options.provider, model, threads=count), threads)
    return open_deployed(options.folder / expected["network"], expected["kind"], turns.open), turns


def _about(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    from gossamer.measure.environment import environment

    return {"version": 1, "kind": kind, "provider": options.provider, "machine": environment()}


def _step(name: str, kind: str) -> str:
    return "answer" if name == "boxes" and kind != "detection" else name


def _words(found: Difference, kind: str) -> str:
    outputs = f"outputs differ by {found.outputs:.1e}"
    if kind != "detection":
        return f"{outputs}, shares by {found.score:.1e}"
    alone = f", {found.unmatched} on one side only" if found.unmatched else ""
    return f"{outputs}; {found.count} boxes{alone}, scores differ by {found.score:.1e}, corners by {found.side:.1e}"
