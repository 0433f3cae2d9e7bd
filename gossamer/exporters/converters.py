# SPDX-License-Identifier: Apache-2.0
"""Converters of others: imported when they are needed, kept quiet, and their faults in a sentence."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from types import ModuleType

from gossamer.device.stored import one_line
from gossamer.measure import environment

LONGEST = 300  # letters of what a converter says; some print their whole graph


def imported(module: str, package: str, target: str) -> ModuleType:
    """A module of `package`; Refused, with what to install, where it is missing or does not load."""
    try:
        with quiet():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and module.split(".")[0] == error.name.split(".")[0]:
            raise Refused(
                f"expected the package {package} for --to {target}, it is not installed; pip install -e '.[{target}]' "
                "in the clone of Gossamer"
            ) from error
        raise Refused(_does_not_load(package, target, error)) from error
    except Exception as error:  # whatever a module does when it is imported
        raise Refused(_does_not_load(package, target, error)) from error


def version(package: str) -> str:
    """Of an installed package; '' where nobody knows."""
    return environment.version(package) or ""


@contextmanager
def translating(package: str, target: str) -> Iterator[None]:
    """Inside, what is raised becomes a ValueError that names the converter, and nothing is printed or warned."""
    try:
        with quiet():
            yield
    except Refused:
        raise
    except Exception as error:  # each converter has exceptions of its own
        raise ValueError(_cannot(package, target, error)) from error


class Refused(ValueError):
    """A sentence of ours, which goes on as it is: a network that a target cannot hold, a package that is not there."""


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is printed, not by C++ either, and nothing is warned."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(number) for number in (1, 2)]
    try:
        with open(os.devnull, "w") as nothing:
            for number in (1, 2):
                os.dup2(nothing.fileno(), number)
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def _does_not_load(package: str, target: str, error: Exception) -> str:
    return (
        f"expected the package {package} {version(package)} for --to {target} to load here, but: "
        f"{_shortened(error)}; install a version that goes with the others"
    )


def _cannot(package: str, target: str, error: Exception) -> str:
    return (
        f"expected a network that {package} {version(package)} translates, but: {_shortened(error)}; choose another "
        f"--to than {target}"
    )


def _shortened(error: Exception) -> str:
    text = one_line(error) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
