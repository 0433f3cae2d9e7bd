# SPDX-License-Identifier: Apache-2.0
"""Loops as machine code, where numba is installed; the same functions run as plain Python elsewhere."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any


def machine_code(loop: Callable[..., Any]) -> Callable[..., Any] | None:
    """A loop over arrays as machine code, kept on disk between runs where that is possible; None without numba.

    Compiled without leave to reorder sums, so that it gives the bits that plain Python gives; other threads run beside.
    """
    try:
        import numba
    except ImportError:
        return None
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, nogil=True)(_named_by_sources(loop))
    except RuntimeError:  # no folder to keep it in can be written
        compiled = numba.njit(nogil=True)(loop)
    return compiled


def within_machine_code(*functions: Callable[..., Any]) -> None:
    """Let a loop call these functions when it becomes machine code; they stay plain Python for everyone else.

    They become part of the loop: where they are called as functions, each array that they are given is counted in and
    out, which took half of the mixing coder's time.
    """
    try:
        from numba.extending import register_jitable
    except ImportError:
        return
    for function in functions:
        register_jitable(forceinline=True)(function)


def _named_by_sources(loop: Callable[..., Any]) -> Callable[..., Any]:
    """The same loop under a name that machine code of other sources is not kept under.

    numba itself notices changes of the loop's own file only. Functions and constants from other files are part of the
    machine code too, and a stale one would decode other weights, without a word.
    """
    assert isinstance(loop, FunctionType)
    named = FunctionType(loop.__code__, loop.__globals__, loop.__name__, loop.__defaults__, loop.__closure__)
    named.__qualname__ = f"{loop.__qualname__}-{_digest(Path(loop.__code__.co_filename).parent)}"
    return named


@functools.cache
def _digest(folder: Path) -> str:
    """Of all sources in a folder; of none where they are not at hand."""
    sources = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        sources.update(path.read_bytes())
    return sources.hexdigest()[:16]
