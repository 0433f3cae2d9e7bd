# SPDX-License-Identifier: Apache-2.0
"""Values of options: checked as they are read, in the units of the command line, so that an error names its option."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.runtime.providers import PROVIDERS

if TYPE_CHECKING:
    from gossamer.runtime.session import Session

SEEDS = 2**32


def whole(least: int, what: str, below: int | None = None) -> Callable[[str], int]:
    """Reads a whole number of at least `least`.

    >>> whole(1, "pixels")("32")
    32
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (below is not None and value >= below):
            limit = "" if below is None else f" and below {below}"
            raise argparse.ArgumentTypeError(f"expected {what}, a whole number of at least {least}{limit}, got {text}")
        return value

    return read


def number(what: str, allowed: Callable[[float], bool]) -> Callable[[str], float]:
    """Reads a finite number that `allowed` accepts; `what` says in words which these are."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and allowed(value)):
            raise argparse.ArgumentTypeError(f"expected {what}, got {text}")
        return value

    return read


pixels = whole(1, "pixels")
overlap = whole(0, "pixels")
classes = whole(1, "classes")
epochs = whole(1, "epochs")
rounds = whole(1, "rounds")
threads = whole(1, "threads")
examples = whole(1, "images a batch")
training_examples = whole(2, "images a batch (batch norm cannot train on one)")
images = whole(1, "images")
seed = whole(0, "a seed", below=SEEDS)
any_number = number("a number", lambda value: True)
points = number("points (percent) above 0 and below 100, such as 1", lambda value: 0 < value < 100)
drop = number("points (percent) from 0 to below 100, such as 0.3", lambda value: 0 <= value < 100)
confidence = number("percent from 50 to below 100, such as 95", lambda value: 50 <= value < 100)
hours = number("hours above 0, such as 0.5", lambda value: value > 0)
learning_rate = number("a learning rate above 0, such as 0.05", lambda value: value > 0)
error = number("a bound from 0 to below 1, such as 0.001", lambda value: 0 <= value < 1)
smoothing = number("a share from 0 to below 1, such as 0.1", lambda value: 0 <= value < 1)
crop = number("a share of the shorter side above 0, at most 1, such as 0.875", lambda value: 0 < value <= 1)


def limit(text: str) -> tuple[str, float]:
    """Reads a limit that a network is to fit into, NAME=NUMBER, with k, M or G and a unit where that helps.

    >>> limit("bytes=200k"), limit("macs=20M"), limit("latency=5ms"), limit("ram=512kB")
    (('bytes', 200000.0), ('macs', 20000000.0), ('latency', 5.0), ('ram', 512000.0))
    """
    found = re.fullmatch(r"(bytes|macs|latency|ram)=([0-9]+[.]?[0-9]*|[.][0-9]+)([kMG]?)(B|ms)?", text)
    value = float(found[2]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[3]] if found else 0
    units = {"bytes": (None, "B"), "macs": (None,), "latency": (None, "ms"), "ram": (None, "B")}
    if found is None or not 0 < value < math.inf or found[4] not in units[found[1]]:
        raise argparse.ArgumentTypeError(
            f"expected limits such as bytes=200k, macs=20M, latency=5ms or ram=512k, got {text}; k is 1,000"
        )
    return found[1], value


def device(text: str) -> str:
    """Reads the name of a device that torch finds on this machine."""
    if text == "cpu":
        return text
    kind, _, index = text.partition(":")
    if kind not in ("cuda", "mps") or not (index.isdecimal() or text == kind):
        raise argparse.ArgumentTypeError(f"expected cpu, cuda, cuda:N or mps, got {text}")
    import torch

    count = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if int(index or 0) >= count:
        raise argparse.ArgumentTypeError(
            f"expected a device of this machine, got {text}, but torch finds {count}; use cpu"
        )
    return text


def new_folder(text: str) -> Path:
    """Reads the path of a folder that is there, or that can be made."""
    path = Path(text)
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder, got {text}, but {there} is a file; choose another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"expected a folder to write into, got {text}, but {there} is read-only")
    return path


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Where a network runs that is used: runtime, provider and threads."""
    parser.add_argument("--runtime", choices=("onnxruntime", "openvino"), default="onnxruntime")
    add_provider(parser)
    parser.add_argument("--threads", type=threads, help="default: all of this machine")


def add_provider(parser: argparse.ArgumentParser) -> None:
    """The provider of ONNX Runtime."""
    parser.add_argument("--provider", choices=PROVIDERS, default="cpu", help="of ONNX Runtime, where it was built so")


def opener(options: argparse.Namespace) -> Callable[[bytes], Session]:
    """Opens a network where the options of `add_runtime` say."""
    from gossamer.runtime.providers import open_on

    count = options.threads or os.cpu_count() or 1
    return lambda model: open_on(options.provider, model, options.runtime, count)
