# SPDX-License-Identifier: Apache-2.0
"""Verbs that work for minutes or hours: `compress` and `train`."""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import cli_values
from gossamer.data.preprocess import INTERPOLATIONS

if TYPE_CHECKING:
    from gossamer.task import Task


FEW_STEPS = 500  # of training in all; fewer rarely suffice
FEW_IMAGES = "--batch-size 16 --learning-rate 0.02, and --epochs for 1,000 steps or more"
NOT_PROVEN = 3  # exit status: files were delivered, and the certificate says "not proven"


def add_verbs(verbs: Any) -> None:
    """`compress` and `train` with their options."""
    compress = verbs.add_parser("compress", help="make a network smaller or faster within a tolerance")
    _task_options(compress)
    compress.add_argument(
        "--tolerance",
        type=cli_values.points,
        default=1.0,
        metavar="POINTS",
        help="drop of quality allowed, in points (percent); default 1",
    )
    compress.add_argument(
        "--observed",
        type=cli_values.drop,
        metavar="POINTS",
        help="also refuse what drops more than this on the selection split",
    )
    compress.add_argument(
        "--confidence",
        type=cli_values.confidence,
        default=95.0,
        metavar="PERCENT",
        help="of the certificate; default 95",
    )
    compress.add_argument("--minimise", choices=("bytes", "latency", "macs"), default="bytes")
    compress.add_argument("--runtime", choices=("onnxruntime", "openvino"), default="onnxruntime")
    compress.add_argument(
        "--threads", type=cli_values.threads, default=1, help="of the runtime when latency is measured"
    )
    compress.add_argument("--recipe", default="auto", help="NAME or NAME:OPTION=VALUE,...; see `gossamer methods`")
    compress.add_argument("--protect", nargs="+", default=[], metavar="LAYER", help="layers whose channels all stay")
    compress.add_argument("--hours", type=cli_values.hours, help="time budget")
    compress.add_argument(
        "--epochs", type=cli_values.epochs, help="of tuning per rung; chosen from --hours if not given"
    )
    compress.add_argument("--learning-rate", type=cli_values.learning_rate, default=0.04)
    compress.add_argument(
        "--ledger", type=Path, help="where looks at test splits are counted; default: one file per user"
    )
    compress.add_argument("--dry-run", action="store_true", help="only say what would be done, and what can be proven")
    compress.add_argument("--control", action="store_true", help="also tune the dense network as long, to compare with")
    _run_options(compress)
    compress.set_defaults(run=run_compress)

    train = verbs.add_parser(
        "train",
        help="train a network from nothing, or from --weights",
        description=f"With few images take {FEW_IMAGES}.",
    )
    _task_options(train)
    train.add_argument("--epochs", type=cli_values.epochs, default=30, help="passes over the training images")
    train.add_argument(
        "--learning-rate", type=cli_values.learning_rate, default=0.2, help="its peak, for batches of 128; default 0.2"
    )
    train.add_argument("--smoothing", type=cli_values.smoothing, default=0.1, help="of labels")
    train.add_argument(
        "--cutout", type=cli_values.pixels, default=0, metavar="PIXELS", help="side of a grey square in each image"
    )
    train.add_argument("--teacher", metavar="MODEL", help="a trained network for the same images, to learn from")
    train.add_argument("--teacher-weights", type=Path, metavar="FILE", help="its weights")
    _run_options(train)
    train.set_defaults(run=run_train)


def _task_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", metavar="FILE.toml", help="a file with these options; the command line wins")
    parser.add_argument("--model", help="zoo name, torchvision:NAME, timm:NAME or file.py:callable")
    parser.add_argument("--weights", type=Path, help="safetensors, .npz, or a state dict saved by torch")
    parser.add_argument(
        "--data",
        required=True,
        help="class-per-folder tree, .npz, cifar10:FOLDER (cifar10-held-out:FOLDER for a network of `gossamer train`), "
        "mnist:FOLDER, or file.py:callable giving a Task",
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
        "--seen", choices=("train", "all", "none"), default="train", help="the data that the original was trained on"
    )


def _run_options(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--out", type=cli_values.new_folder, help="folder of the run; the same command goes on there")
    parser.add_argument("--quiet", action="store_true")


def task_of(options: argparse.Namespace) -> Task:
    """The task that the options describe; a bar shows how far the images are read."""
    from gossamer.report.live import TerminalWatch
    from gossamer.task import task_from

    with TerminalWatch(quiet=options.quiet).bar("reading images") as step:
        return task_from(
            data=options.data,
            model=options.model,
            weights=options.weights,
            preset=options.preset,
            mean=tuple(options.mean) if options.mean else None,
            std=tuple(options.std) if options.std else None,
            size=options.size,
            crop=options.crop,
            interpolation=options.interpolation,
            seen=options.seen,
            progress=lambda done, total: step(done, total, ""),
        )


def run_compress(options: argparse.Namespace) -> int:
    """`gossamer compress`: search, prove, deliver; ends with a table."""
    from gossamer.compress import compress
    from gossamer.goal import Goal
    from gossamer.report.live import TerminalWatch
    from gossamer.report.terminal import candidates_table, comparison_table, console
    from gossamer.search.run import Settings
    from gossamer.tuning.memory import keep_freed_memory

    if options.observed is not None and options.observed > options.tolerance:
        raise ValueError(
            f"expected --observed of at most the tolerance, {options.tolerance:g} points, got {options.observed:g}; "
            "a larger drop could not be proven within the tolerance"
        )
    if options.out is None and not options.dry_run:
        raise ValueError("expected a folder for the run, got none; give --out FOLDER")
    goal = Goal(
        tolerance=options.tolerance / 100,
        confidence=options.confidence / 100,
        minimise=options.minimise,
        runtime=options.runtime,
        hours=options.hours,
        observed=None if options.observed is None else options.observed / 100,
    )
    settings = Settings(
        seed=options.seed,
        device=options.device,
        batch_size=options.batch_size,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        numerics=options.numerics,
        threads=options.threads,
        augment=not options.no_augment,
        control=options.control,
        protect=tuple(options.protect),
    )
    if options.model and ".py:" not in options.model and options.weights is None:
        raise ValueError(f"expected the trained weights of {options.model}, got none; give --weights FILE")
    task = task_of(options)
    watch = TerminalWatch(quiet=options.quiet)
    if options.dry_run:
        from gossamer.search.outlook import outlook

        for line in outlook(task, goal, settings):
            print(line)
        return 0
    keep_freed_memory()
    result = compress(
        task,
        goal,
        options.recipe,
        out=options.out,
        settings=settings,
        name=options.model or task.name,
        ledger=options.ledger,
        watch=watch,
        command=options.command_line,
    )
    if not options.quiet:
        console().print(candidates_table(result.report.candidates, result.report.chosen))
        console().print(comparison_table(result.report))
    for name in ("model.gossamer", "model.onnx", "plan.json", "report.json", "report.html"):
        print(result.folder / name)
    return 0 if result.certificate.proven else NOT_PROVEN


def run_train(options: argparse.Namespace) -> int:
    """`gossamer train`: weights.safetensors and history.json in --out."""
    import torch

    from gossamer.report.live import TerminalWatch
    from gossamer.task import trained_model
    from gossamer.train import train
    from gossamer.tuning import Settings
    from gossamer.tuning.memory import keep_freed_memory

    if options.out is None:
        raise ValueError("expected a folder for the weights, got none; give --out FOLDER")
    if options.teacher is None and options.teacher_weights is not None:
        raise ValueError("expected the network that --teacher-weights belong to, got none; give --teacher MODEL")
    if options.teacher is not None and ".py:" not in options.teacher and options.teacher_weights is None:
        raise ValueError(
            f"expected the weights of the teacher {options.teacher}, got none; give --teacher-weights FILE"
        )
    torch.manual_seed(options.seed)  # of the initial weights
    settings = Settings(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=5e-4,
        warmup=0.2,
        augment=not options.no_augment,
        cutout=options.cutout,
        seed=options.seed,
    )
    task, watch = task_of(options), TerminalWatch(quiet=options.quiet)
    teacher = None
    if options.teacher is not None:
        teacher = trained_model(options.teacher, options.teacher_weights, len(task.classes))
    steps = settings.epochs * math.ceil(len(task.train) / settings.batch_size)
    if steps < FEW_STEPS:
        watch.say(f"warning: {steps} steps of training in all are few; take {FEW_IMAGES}")
    keep_freed_memory()
    quality = train(
        task,
        settings,
        out=options.out,
        device=options.device,
        smoothing=options.smoothing,
        numerics=options.numerics,
        teacher=teacher,
        watch=watch,
    )
    print(f"quality on the selection split {100 * quality:.2f} %")
    print(options.out / "weights.safetensors")
    return 0
