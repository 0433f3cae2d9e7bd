# SPDX-License-Identifier: Apache-2.0
"""The verbs `compress`, the main job, and `estimate`, which looks at it from afar."""

from __future__ import annotations

import argparse
import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gossamer import cli_values
from gossamer.data.preprocess import INTERPOLATIONS

if TYPE_CHECKING:
    from gossamer.goal import Goal
    from gossamer.search.settings import Settings
    from gossamer.search.workers import Workers
    from gossamer.task import Task


NOT_PROVEN = 3  # exit status: files were delivered, and the certificate says "not proven"


def add_verbs(verbs: Any) -> None:
    """`compress` and `estimate` with their options."""
    compress = verbs.add_parser("compress", help="make a network smaller or faster within a tolerance")
    _goal_options(compress)
    _search_options(compress)
    compress.add_argument("--dry-run", action="store_true", help="only say what would be done, and what can be proven")
    compress.set_defaults(run=run_compress)

    estimate = verbs.add_parser(
        "estimate",
        help="in about a minute: what a network bears without training, and what its data can prove",
        description="Takes the words of `compress` but for those of a run (--out, --workers, --control), and writes "
        "nothing.",
    )
    _goal_options(estimate)
    add_run_options(estimate, out=False)
    estimate.set_defaults(run=run_estimate)


def _goal_options(parser: argparse.ArgumentParser) -> None:
    """What is wanted of a network."""
    add_task_options(parser)
    parser.add_argument(
        "--tolerance",
        type=cli_values.points,
        metavar="POINTS",
        help="drop of quality allowed, in points (percent); default 1",
    )
    parser.add_argument(
        "--fit",
        type=cli_values.limit,
        nargs="+",
        metavar="LIMIT",
        help="instead of a tolerance: the best quality within bytes=200k, macs=20M, latency=5ms, ram=512k (working "
        "memory of activations), any of them together",
    )
    parser.add_argument(
        "--observed",
        type=cli_values.drop,
        metavar="POINTS",
        help="also refuse what drops more than this on the selection split",
    )
    parser.add_argument(
        "--confidence",
        type=cli_values.confidence,
        default=95.0,
        metavar="PERCENT",
        help="of the certificate; default 95",
    )
    parser.add_argument("--minimise", choices=("bytes", "latency", "macs"), help="default bytes")
    parser.add_argument("--runtime", choices=("onnxruntime", "openvino"), default="onnxruntime")
    parser.add_argument("--threads", type=cli_values.threads, default=1, help="of the runtime when latency is measured")
    parser.add_argument(
        "--latency-table",
        metavar="PATH",
        help="milliseconds of another machine: a bundle of `bench --table-of` with the board.json that came back; or "
        "the folder of a run on this machine, whose table is used again",
    )
    parser.add_argument("--recipe", default="auto", help="NAME or NAME:OPTION=VALUE,...; see `gossamer methods`")
    parser.add_argument(
        "--coding",
        choices=("small", "fast"),
        default="small",
        help="of the file: small, or decoded several times as fast and some percent larger; default small",
    )
    parser.add_argument("--protect", nargs="+", default=[], metavar="LAYER", help="layers whose channels all stay")
    parser.add_argument("--hours", type=cli_values.hours, help="time budget")
    parser.add_argument("--epochs", type=cli_values.epochs, help="of tuning per rung; chosen from --hours if not given")
    parser.add_argument("--learning-rate", type=cli_values.learning_rate, default=0.04)
    parser.add_argument(
        "--epoch-quality",
        type=cli_values.images,
        default=0,
        metavar="IMAGES",
        help="ask so many images of the selection split after each epoch of tuning; the report shows it, nothing more",
    )
    parser.add_argument(
        "--ledger", type=Path, help="where looks at test splits are counted; default: one file per user"
    )


def _search_options(parser: argparse.ArgumentParser) -> None:
    """How the search goes about it."""
    parser.add_argument(
        "--workers",
        metavar="NUMBER|ADDRESS",
        help="trials that need not wait for each other are made by so many processes, or by the Ray cluster at ADDRESS",
    )
    parser.add_argument("--control", action="store_true", help="also tune the dense network as long, to compare with")
    add_run_options(parser)


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """Network, data and how images are read."""
    parser.add_argument("--settings", metavar="FILE.toml", help="a file with these options; the command line wins")
    parser.add_argument(
        "--model",
        help="zoo name (or NAME:OPTION=VALUE,...), torchvision:NAME, timm:NAME, smp:ARCHITECTURE/ENCODER, or "
        "file.py:callable",
    )
    parser.add_argument("--weights", type=Path, help="safetensors, .npz, or a state dict saved by torch")
    parser.add_argument(
        "--data",
        required=True,
        help="class-per-folder tree, images/ and masks/, PASCAL VOC or COCO, .npz, cifar10:FOLDER "
        "(cifar10-held-out:FOLDER for a network of `gossamer train`), mnist:FOLDER, emg:FOLDER, unlabelled:FOLDER of "
        "pictures, or file.py:callable giving a Task",
    )
    parser.add_argument(
        "--labelled",
        type=Path,
        metavar="DIR",
        help="beside unlabelled:FOLDER: pictures in val/<class>/ and test/<class>/, or .npz, that decide and prove",
    )
    parser.add_argument("--preset", help="mean, std and size by name: cifar10, imagenet, ...")
    parser.add_argument("--mean", type=cli_values.any_number, nargs="+", metavar="M")
    parser.add_argument("--std", type=cli_values.any_number, nargs="+", metavar="S")
    parser.add_argument("--size", type=cli_values.pixels, metavar="PIXELS")
    parser.add_argument(
        "--crop", type=cli_values.crop, metavar="SHARE", help="of a picture's shorter side that the network sees"
    )
    parser.add_argument("--interpolation", choices=INTERPOLATIONS, help="when pictures are resized")
    parser.add_argument(
        "--overlap", type=cli_values.overlap, metavar="PIXELS", help="of tiles, where pixels have classes"
    )
    parser.add_argument(
        "--measure",
        choices=("iou", "dice", "accuracy", "ap", "f1"),
        help="what counts of an image: the first three where pixels have classes, the others where objects have boxes",
    )
    parser.add_argument("--only", nargs="+", metavar="CLASS", help="of objects with boxes: those that count")
    parser.add_argument("--drop-empty", action="store_true", help="leave out pictures without any object that counts")
    parser.add_argument(
        "--seen", choices=("train", "all", "none"), default="train", help="the data that the original was trained on"
    )


def add_run_options(parser: argparse.ArgumentParser, out: bool = True) -> None:
    """How a long work is done, and where, unless it leaves nothing behind."""
    parser.add_argument("--batch-size", type=cli_values.training_examples, default=128)
    parser.add_argument("--no-augment", action="store_true", help="no random crops and mirroring (digits, text, maps)")
    parser.add_argument("--device", type=cli_values.device, default="cpu", help="for training: cpu, cuda, cuda:N, mps")
    parser.add_argument("--seed", type=cli_values.seed, default=0)
    parser.add_argument(
        "--numerics",
        choices=[
            " ".join(words).rstrip()
            for words in itertools.product(("plain", "channels_last"), ("float32", "bfloat16"), ("", "products"))
        ],
        metavar="WORDS",
        help="arithmetic of training: plain or channels_last, float32 or bfloat16, with products (of matrices, on "
        "small maps) or without; default: the fastest here, found by trial, so two runs may end with other digits",
    )
    if out:
        words = "folder of the run; the same command goes on there"
        parser.add_argument("--out", type=cli_values.new_folder, help=words)
    parser.add_argument("--quiet", action="store_true")


def task_of(options: argparse.Namespace) -> Task:
    """The task that the options describe; a bar shows how far the images are read."""
    from gossamer.described_task import task_from
    from gossamer.report.live import TerminalWatch

    with TerminalWatch(quiet=options.quiet).bar("reading images") as step:
        return task_from(**described(options), progress=lambda done, total: step(done, total, ""))


def described(options: argparse.Namespace) -> dict[str, Any]:
    """The words of the options that describe a task."""
    names = (
        "data",
        "labelled",
        "model",
        "weights",
        "preset",
        "size",
        "crop",
        "interpolation",
        "overlap",
        "only",
        "drop_empty",
        "measure",
        "seen",
    )
    words = {name: getattr(options, name) for name in names}
    return words | {name: tuple(given) if (given := getattr(options, name)) else None for name in ("mean", "std")}


def goal_of(options: argparse.Namespace) -> Goal:
    """What the options want, in fractions."""
    from gossamer.goal import Goal

    shared = {"confidence": options.confidence / 100, "runtime": options.runtime, "hours": options.hours}
    if options.fit:
        for name in ("tolerance", "observed", "minimise"):
            if getattr(options, name) is not None:
                raise ValueError(f"expected --fit or --{name}, got both; what fits is as good as it can be")
        if len({name for name, _ in options.fit}) < len(options.fit):
            raise ValueError("expected each limit of --fit once, got one of them twice; leave one out")
        return Goal(fit=dict(options.fit), **shared)
    tolerance = 1.0 if options.tolerance is None else options.tolerance
    if options.observed is not None and options.observed > tolerance:
        raise ValueError(
            f"expected --observed of at most the tolerance, {tolerance:g} points, got {options.observed:g}; "
            "a larger drop could not be proven within the tolerance"
        )
    return Goal(
        tolerance=tolerance / 100,
        minimise=options.minimise or "bytes",
        observed=None if options.observed is None else options.observed / 100,
        **shared,
    )


def settings_of(options: argparse.Namespace) -> Settings:
    """How the options want it done."""
    from gossamer.search.settings import Settings

    if options.model and ".py:" not in options.model and options.weights is None:
        raise ValueError(f"expected the trained weights of {options.model}, got none; give --weights FILE")
    return Settings(
        seed=options.seed,
        device=options.device,
        batch_size=options.batch_size,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        numerics=options.numerics,
        threads=options.threads,
        augment=not options.no_augment,
        control=getattr(options, "control", False),
        latency_table=options.latency_table,
        protect=tuple(options.protect),
        coding=options.coding,
        epoch_quality=options.epoch_quality,
    )


def run_estimate(options: argparse.Namespace) -> int:
    """`gossamer estimate`: what could be proven, a table of what needs no training, and how long training takes."""
    from gossamer.certify import Ledger, default_ledger
    from gossamer.estimate import IMAGES, MINUTE, estimate
    from gossamer.graph import trace
    from gossamer.report.live import TerminalWatch
    from gossamer.report.terminal import console, estimate_table
    from gossamer.search.outlook import about, training

    if options.recipe.partition(":")[0] != "auto":
        raise ValueError(f"expected the recipe auto, of which an estimate is, got '{options.recipe}'; leave it out")
    goal, settings = goal_of(options), settings_of(options)
    watch = TerminalWatch(quiet=options.quiet, minimise=goal.minimise)
    watch.say("reading the data ...")
    task = task_of(options)
    start = time.monotonic()
    watch.say("tracing the network ...")
    network = trace(task.model, task.example, freeze=settings.protect)
    look = Ledger.open(options.ledger or default_ledger()).next_look(task.test.sha256)
    for line in about(task, goal, network, look):
        print(line, flush=True)
    found = estimate(task, goal, settings, watch, network, look)
    console().print(estimate_table(found, min(IMAGES, len(task.selection)), limits=bool(goal.fit)))
    if time.monotonic() - start < MINUTE:
        watch.say("timing a few steps of training ...")
        print(training(task, goal, settings, network))
    else:
        print("training: not timed, the minute was over; `gossamer compress --dry-run` does")
    return 0


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, which batch systems send when time is up, is a Ctrl-C here: the best until then is delivered.

    Under torchrun, which kills its processes soon after either of them, both only stop.
    """
    from gossamer.tuning.processes import launched

    def stop(*_: object) -> NoReturn:
        raise SystemExit("stopped; the same command goes on from here")

    handlers = (
        {signal.SIGINT: stop, signal.SIGTERM: stop} if launched() else {signal.SIGTERM: signal.default_int_handler}
    )
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def run_compress(options: argparse.Namespace) -> int:
    """`gossamer compress`: search, prove, deliver; ends with a table."""
    from gossamer.tuning import data_parallel
    from gossamer.tuning.memory import keep_freed_memory
    from gossamer.tuning.processes import rank

    options.quiet |= rank() > 0
    goal = goal_of(options)
    if options.out is None and not options.dry_run:
        raise ValueError("expected a folder for the run, got none; give --out FOLDER")
    settings = settings_of(options)
    task = task_of(options)
    keep_freed_memory()
    with terminated_as_interrupted():
        status = data_parallel(lambda: _compressed(options, goal, settings, task), task, settings.device)
    return status or 0  # of other ranks than 0, None


@contextmanager
def _workers(options: argparse.Namespace) -> Iterator[Workers | None]:
    """Those that the options ask for."""
    if options.workers is None:
        yield None
        return
    from gossamer.described_task import task_from
    from gossamer.search.workers import Workers

    with Workers(options.workers, partial(task_from, **described(options))) as workers:
        yield workers


def _compressed(options: argparse.Namespace, goal: Goal, settings: Settings, task: Task) -> int:
    """What the options ask for, or with --dry-run what that would be; returns the exit status."""
    from gossamer.compress import compress
    from gossamer.report.live import TerminalWatch
    from gossamer.report.terminal import candidates_table, comparison_table, console

    if options.dry_run:
        from gossamer.search.outlook import outlook

        for line in outlook(task, goal, settings):
            print(line)
        return 0
    with _workers(options) as workers:
        result = compress(
            task,
            goal,
            options.recipe,
            out=options.out,
            settings=settings,
            name=options.model or task.name.rpartition(" on ")[0] or task.name,
            ledger=options.ledger,
            watch=TerminalWatch(quiet=options.quiet, minimise=goal.minimise),
            command=options.command_line,
            workers=workers,
        )
    if not options.quiet:
        console().print(candidates_table(result.report.candidates, result.report.chosen))
        console().print(comparison_table(result.report))
    for name in ("model.gossamer", "model.onnx", "plan.json", "report.json", "report.html"):
        print(result.folder / name)
    return 0 if result.certificate.proven else NOT_PROVEN
