# SPDX-License-Identifier: Apache-2.0
"""Who is timed when: each takes its turn in every round, in an order that rotates, and no garbage is collected."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Name = TypeVar("Name")


def in_rotation(names: Sequence[Name], rounds: int, warm_up: int) -> Iterator[tuple[int, Name]]:
    """The number of the round, below 0 while it is warming up, and whose turn it is; at least one name.

    >>> list(in_rotation("ab", rounds=2, warm_up=0))
    [(0, 'a'), (0, 'b'), (1, 'b'), (1, 'a')]
    """
    for round_ in range(-warm_up, rounds):
        first = round_ % len(names)
        for name in (*names[first:], *names[:first]):
            yield round_, name


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """As it was before, it is afterwards."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
