# SPDX-License-Identifier: Apache-2.0
"""Loops as machine code, where numba is installed; the same functions run as plain Python elsewhere."""

from __future__ import annotations

from collections.abc import Callable
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
        compiled: Callable[..., Any] = numba.njit(cache=True, nogil=True)(loop)
    except RuntimeError:  # no folder to keep it in can be written
        compiled = numba.njit(nogil=True)(loop)
    return compiled


def within_machine_code(*functions: Callable[..., Any]) -> None:
    """Let a loop call these functions when it becomes machine code; they stay plain Python for everyone else."""
    try:
        from numba.extending import register_jitable
    except ImportError:
        return
    for function in functions:
        register_jitable(function)
