# SPDX-License-Identifier: Apache-2.0
"""Latency table: what a layer of so many multiply-adds takes in one runtime, from whole networks that were timed there.

    milliseconds = rest + sum over uses of layers (fixed[operator, kernel] + slope[operator, kernel, map] * MACs)

Runtimes fuse operators and skip memory that a layer timed alone would touch, so the table is not made of single layers:
some cuts of the network, narrow and shallow at random, run in turns, and non-negative least squares tells what each
kind of layer took. All keep channels in multiples that the runtime likes, which are found first: one cut whose widths
are odd, multiples of 2, of 4, ..., and the smallest multiple that takes hardly more than the best for the same work.
(With other widths ONNX Runtime leaves its blocked layout: a ResNet-20 with 0.7 of its MACs was slower than whole.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from gossamer.graph import Group, Network
from gossamer.runtime.latency import interleaved
from gossamer.runtime.session import open_session

MULTIPLES = (1, 2, 4, 8, 16)
HARDLY_MORE = 1.05  # times the least for the same work
PROBED = 0.6  # of the channels of each group
FEWEST_SAMPLES = 8
ROUNDS = 60
NARROWEST = 1 / 8  # of a group's channels, on average, in the last sample
JITTER = 2.0  # groups of one sample are so much wider or narrower
FAINT = 0.01  # of the multiply-adds: kinds of layers with less are part of the rest
ENDED = (0.0, 0.25, 0.5, 0.75)  # of the branches that may end, sample by sample
MILLION = 1e6

Counts = Mapping[str, int]


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds a layer, `fixed`, and a million multiply-adds, `slope`, by kind; `rest` is all that is no layer.

    `multiple`: the table holds for counts that are multiples of it in all but narrow groups. `error`: the
    median of the relative errors on networks that the table was made of, each left out in its turn.
    """

    rest: float
    fixed: Mapping[str, float]
    slope: Mapping[str, float]
    multiple: int
    error: float

    def milliseconds(self, network: Network, counts: Counts) -> float:
        """What the network would take if each named group kept so many channels."""
        macs = network.macs_of_uses_if(counts) / MILLION
        layers = zip(network.kinds, macs.tolist(), strict=True)
        work = (
            self.fixed[_kernel(kind)] + self.slope[kind] * layer
            for kind, layer in layers
            if layer and kind in self.slope
        )
        return float(self.rest + sum(work))

    def to_json(self) -> dict[str, Any]:
        """A JSON value; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LatencyTable:
        """The table written by `to_json`."""
        return cls(**value)


def probes(network: Network) -> list[dict[str, int]]:
    """Counts of the networks that tell which multiple a runtime likes: the whole one, and one for each multiple."""
    groups = network.prunable
    whole = {group.name: group.size for group in groups}
    return [whole] + [
        {group.name: nearest(group, PROBED * group.size, multiple, odd=multiple == 1) for group in groups}
        for multiple in MULTIPLES
    ]


def liked_multiple(network: Network, counted: Sequence[Counts], milliseconds: Sequence[float]) -> int:
    """The smallest of `MULTIPLES` that is hardly slower for the same work than the best, from the timed `probes`."""
    pace = [ms / network.macs_if(counts) for counts, ms in zip(counted[1:], milliseconds[1:], strict=True)]
    return next(multiple for multiple, each in zip(MULTIPLES, pace, strict=True) if each <= HARDLY_MORE * min(pace))


def samples(network: Network, may_end: set[str], multiple: int, seed: int = 0) -> Iterator[dict[str, int]]:
    """Counts of the networks to be timed: the whole one first, then random widths, more or fewer branches ended."""
    rng = np.random.default_rng(seed)
    kinds = _kinds(network)
    number = max(FEWEST_SAMPLES, 4 + len(kinds) + len({_kernel(kind) for kind in kinds}))
    yield {group.name: group.size for group in network.prunable}
    for sample in range(number):
        counts: dict[str, int] = {}
        ended: list[str] = []
        for group in network.prunable:
            share = NARROWEST ** (sample / (number - 1)) * JITTER ** rng.uniform(-1, 1)
            ends = group.name in may_end and rng.random() < ENDED[sample % len(ENDED)]
            counts[group.name] = nearest(group, share * group.size, multiple)
            ended += [group.name] * ends
        yield counts | dict.fromkeys(network.ending(ended), 0)


def step_of(group: Group, multiple: int) -> int:
    """Whole parts, and multiples that the runtime likes where the group is wide enough to lose anything."""
    return int(np.lcm(group.multiple_of, multiple)) if group.size >= 2 * multiple else group.multiple_of


def nearest(group: Group, count: float, multiple: int, *, odd: bool = False) -> int:
    """The count nearest to the one wanted that the group may keep, at least one step of it; `odd`: of odd parts."""
    step = step_of(group, multiple)
    steps = max(1, round(count / step))
    if odd and steps % 2 == 0:
        steps -= 1
    return min(group.size, steps * step)


def blindly_cut(network: Network, counts: Counts) -> Network:
    """The network with so many channels in each named group, the first ones, whatever they are worth."""
    keep = {g.name: g.best(-np.arange(float(g.size)), counts[g.name]) for g in network.groups if g.name in counts}
    return network.cut({name: row for name, row in keep.items() if not row.all()})


def time_samples(
    network: Network,
    counted: Sequence[Counts],
    model_of: Callable[[Network], bytes],
    *,
    runtime: str,
    threads: int,
    inputs: NDArray[np.float32],
    progress: Callable[[int, int, str], None],
) -> list[float]:
    """Milliseconds of each sample; `model_of` exports one.

    All run in turns with the first; what a sample took is that one's median times the median of the ratios.
    """
    sessions = {}
    for number, counts in enumerate(counted):
        sessions[str(number)] = open_session(model_of(blindly_cut(network, counts)), runtime, threads)
        progress(number + 1, len(counted), "networks for the latency table")
    turns = interleaved(sessions, inputs, ROUNDS)
    return [turns["0"].median * turns.ratio(name, "0").median for name in sessions]


def fit_table(
    network: Network, counted: Sequence[Counts], milliseconds: Sequence[float], multiple: int
) -> LatencyTable:
    """The table that explains the times best, relative errors weighing alike."""
    times = np.array(milliseconds)
    kinds = _kinds(network)
    kernels = sorted({_kernel(kind) for kind in kinds})
    rows = np.zeros((len(counted), 1 + len(kernels) + len(kinds)))
    rows[:, 0] = 1
    for row, counts in zip(rows, counted, strict=True):
        for kind, work in zip(network.kinds, network.macs_of_uses_if(counts) / MILLION, strict=True):
            if work and kind in kinds:
                row[1 + kernels.index(_kernel(kind))] += 1
                row[1 + len(kernels) + kinds.index(kind)] += work
    rows /= times[:, None]
    others = [np.delete(np.arange(len(rows)), out) for out in range(len(rows))]
    errors = [abs(rows[out] @ _solved(rows[kept]) - 1) for out, kept in enumerate(others)]
    found = _solved(rows).tolist()
    return LatencyTable(
        rest=found[0],
        fixed=dict(zip(kernels, found[1:], strict=False)),
        slope=dict(zip(kinds, found[1 + len(kernels) :], strict=True)),
        multiple=multiple,
        error=float(np.median(errors)),
    )


def _solved(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    solution: NDArray[np.float64] = nnls(rows, np.ones(len(rows)))[0]
    return solution


def _kinds(network: Network) -> list[str]:
    """The kinds of layers that a good part of the work is done in."""
    macs = network.macs_of_uses_if({})
    work = {kind: sum(int(m) for k, m in zip(network.kinds, macs, strict=True) if k == kind) for kind in network.kinds}
    return sorted(kind for kind, amount in work.items() if amount >= FAINT * macs.sum())


def _kernel(kind: str) -> str:
    """Operator and kernel of a kind, without the size of the map."""
    return kind.partition(" at ")[0]
