# SPDX-License-Identifier: Apache-2.0
"""A plan of memory for operators that run one after the other: which tensors share a buffer, and which are alive when.

A buffer is alive from the operator that makes it to the last that reads it, both included; the network's inputs from
the start, its outputs to the end.

    view      another name for the memory that it reads, however often that is read
    in place  written over what it reads, where nothing else reads that
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Sharing = Literal["none", "view", "in place"]


@dataclass(frozen=True)
class Operator:
    """One operator: the activations that it reads and makes, by name; `what` it is, for people."""

    what: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    sharing: Sharing = "none"


@dataclass(frozen=True)
class MemoryPlan:
    """`buffers`: the names of the tensors that share each; `alive`: (steps, buffers); `steps`: what runs, for people.

    The first step is the network's input, which has to be there before anything runs.
    """

    buffers: tuple[tuple[str, ...], ...]
    steps: tuple[str, ...]
    alive: NDArray[np.bool_]


def memory_plan(operators: Sequence[Operator], inputs: Sequence[str], outputs: Sequence[str]) -> MemoryPlan:
    """The plan of operators in the order they run; every name read is an input, or made by an operator before."""
    readers = _Readers(operators, outputs)
    buffers: list[list[str]] = [[name] for name in inputs]
    home = {name: number for number, name in enumerate(inputs)}
    steps, first, last = ["input"], [0] * len(inputs), [0] * len(inputs)
    for operator in operators:
        shares = operator.sharing == "view" or (operator.sharing == "in place" and readers.one(operator.reads[0]))
        if shares:
            home[operator.makes[0]] = home[operator.reads[0]]
            buffers[home[operator.reads[0]]].append(operator.makes[0])
            continue
        for name in operator.reads:
            last[home[name]] = len(steps)
        for name in operator.makes:
            home[name] = len(buffers)
            buffers.append([name])
            first.append(len(steps))
            last.append(len(steps))
        steps.append(operator.what)
    for name in outputs:
        last[home[name]] = len(steps) - 1
    times = np.arange(len(steps))[:, None]  # (steps, 1)
    alive = (np.array(first) <= times) & (times <= np.array(last))
    return MemoryPlan(tuple(map(tuple, buffers)), tuple(steps), alive)


class _Readers:
    """How often memory is read: a tensor and its views together."""

    def __init__(self, operators: Sequence[Operator], outputs: Sequence[str]) -> None:
        self._viewed: dict[str, str] = {}
        for operator in operators:
            if operator.sharing == "view":
                self._viewed[operator.makes[0]] = self._root(operator.reads[0])
        read = [name for operator in operators if operator.sharing != "view" for name in operator.reads]
        self._counts = Counter(map(self._root, [*read, *outputs]))

    def _root(self, name: str) -> str:
        return self._viewed.get(name, name)

    def one(self, name: str) -> bool:
        """Whether the memory behind a name is read once, an output of the network being read too."""
        return self._counts[self._root(name)] == 1
