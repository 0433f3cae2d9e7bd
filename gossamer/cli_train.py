# SPDX-License-Identifier: Apache-2.0
"""The verb `train`: a baseline to compress."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from gossamer import cli_values
from gossamer.cli_work import add_run_options, add_task_options, task_of

FEW_STEPS = 500  # of training in all; fewer rarely suffice
FEW_IMAGES = "--batch-size 16 --learning-rate 0.02, and --epochs for 1,000 steps or more"


def add_verbs(verbs: Any) -> None:
    """`train` with its options."""
    train = verbs.add_parser(
        "train",
        help="train a network from nothing, or from --weights",
        description=f"With few images take {FEW_IMAGES}.",
    )
    add_task_options(train)
    train.add_argument("--epochs", type=cli_values.epochs, default=30, help="passes over the training images")
    train.add_argument(
        "--learning-rate", type=cli_values.learning_rate, default=0.2, help="its peak, for batches of 128; default 0.2"
    )
    train.add_argument("--smoothing", type=cli_values.smoothing, metavar="SHARE", help="of labels; usually 0.1")
    train.add_argument(
        "--cutout", type=cli_values.pixels, default=0, metavar="PIXELS", help="side of a grey square in each image"
    )
    train.add_argument("--backbone", type=Path, metavar="FILE", help="a classifier's weights for a detector's backbone")
    train.add_argument("--backbone-turned", action="store_true", help="its kernels are turned by 180 degrees")
    train.add_argument("--teacher", metavar="MODEL", help="a trained network for the same images, to learn from")
    train.add_argument("--teacher-weights", type=Path, metavar="FILE", help="its weights")
    train.add_argument(
        "--plan",
        type=Path,
        metavar="FILE",
        help="plan.json of a run: train the channels that it keeps, from random weights, as a control",
    )
    add_run_options(train)
    train.set_defaults(run=run_train)


def _start_from_backbone(network: Any, options: argparse.Namespace) -> None:
    from gossamer.zoo.mobilenet_backbones import load_backbone

    backbone = getattr(network, "backbone", None)
    if backbone is None or options.weights is not None:
        got = f"--weights {options.weights} too" if options.weights else f"{options.model}, which has no `backbone`"
        raise ValueError(f"expected a network that is untrained but for its backbone, got {got}; leave out --backbone")
    load_backbone(backbone, options.backbone, turned=options.backbone_turned)


def run_train(options: argparse.Namespace) -> int:
    """`gossamer train`: weights.safetensors and history.json in --out."""
    import torch

    from gossamer.described_task import network_for
    from gossamer.files import read_json
    from gossamer.plan import Plan
    from gossamer.report.live import TerminalWatch
    from gossamer.train import train
    from gossamer.tuning import Settings, data_parallel
    from gossamer.tuning.memory import keep_freed_memory
    from gossamer.tuning.processes import rank

    if options.out is None:
        raise ValueError("expected a folder for the weights, got none; give --out FOLDER")
    if options.teacher is None and options.teacher_weights is not None:
        raise ValueError("expected the network that --teacher-weights belong to, got none; give --teacher MODEL")
    if options.teacher is not None and ".py:" not in options.teacher and options.teacher_weights is None:
        raise ValueError(
            f"expected the weights of the teacher {options.teacher}, got none; give --teacher-weights FILE"
        )
    if options.plan is not None and (options.weights is not None or options.backbone is not None):
        given = "weights" if options.weights is not None else "backbone"
        raise ValueError(f"expected --plan or --{given}, got both; what a plan keeps starts from random weights")
    plan = None if options.plan is None else Plan.from_json(read_json(options.plan))
    options.quiet |= rank() > 0
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
    if options.backbone is not None:
        _start_from_backbone(task.model, options)
    teacher = None
    if options.teacher is not None:
        sides = (task.preprocess.height, task.preprocess.width)
        teacher = network_for(task.kind, options.teacher, options.teacher_weights, len(task.classes), sides)
    steps = settings.epochs * math.ceil(len(task.train) / settings.batch_size)
    if steps < FEW_STEPS:
        watch.say(f"warning: {steps} steps of training in all are few; take {FEW_IMAGES}")
    keep_freed_memory()

    def work() -> float:
        return train(
            task,
            settings,
            out=options.out,
            device=options.device,
            smoothing=options.smoothing,
            numerics=options.numerics,
            teacher=teacher,
            plan=plan,
            watch=watch,
        )

    quality = data_parallel(work, task, options.device)
    if quality is not None:  # otherwise rank 0 tells
        print(f"quality on the selection split {100 * quality:.2f} %")
        print(options.out / "weights.safetensors")
    return 0
