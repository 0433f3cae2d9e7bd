# SPDX-License-Identifier: Apache-2.0
"""Proposals: several ways to spend one budget of cost on the groups' channels, and which of them is worth training.

What a group loses was measured with the others whole, and losses add up only while they are small. So the frontier is
asked several times, with losses that are bent or off, and what it answers is tried:

    loss_g(k)^p               p = 1, 3/2, 2        large losses count as measured, or more
    loss_g(k) e^(z_g / 2)     z_g ~ N(0, 1)        each group's is off by a factor of its own, `DRAWS` times

Successive halving (K. Jamieson, A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016, arXiv 1502.07943): all are cut, fitted and asked without training, as in EagleEye (B. Li et al., ECCV
2020, arXiv 2007.02491); the better `FINALISTS` are trained for a part of the epochs, and the best of them goes on.

Differs from the papers: two rounds, whatever the number of proposals; what counts is the distance of the outputs from
those of the original on calibration images, not an accuracy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gossamer.graph import Network
from gossamer.search.candidate import Candidate, reopened
from gossamer.search.pace import measure_pace
from gossamer.search.run import Run
from gossamer.search.sensitivity import mean_distance
from gossamer.search.widths import Keep, Widths, narrowed
from gossamer.tuning import Distillation, Diverged
from gossamer.tuning.batch_norm import reestimate_batch_norms

POWERS, DRAWS, SPREAD = (1.0, 1.5, 2.0), 5, 0.5
FINALISTS, SHARE = 2, 8  # each of them is trained for an eighth of the epochs
BATCHES = 4
TIMED_AT = 0.7  # of the cost

Counts = dict[str, int]


def proposals(widths: Widths, share: float, most: Mapping[str, int], seed: int = 0) -> list[Counts]:
    """Different channel counts, each within this share of the original's cost; that of the losses as measured first.

    No group is wider than `most` says. Empty where nothing is within the share.
    """
    found: list[Counts] = []
    generator = np.random.default_rng(seed)
    off = [dict.fromkeys(widths.options, 1.0) for _ in POWERS]
    off += [{name: math.exp(SPREAD * generator.standard_normal()) for name in widths.options} for _ in range(DRAWS)]
    for power, factors in zip([*POWERS, *[1.0] * DRAWS], off, strict=True):
        counts = widths.within(share, most, partial(_bent, power, factors))
        if counts is not None and counts not in found:
            found.append(counts)
    return found


def fitting_seconds(run: Run, widths: Widths) -> float:
    """Seconds that the proposals of one rung take before anything is trained; one is timed, once a run."""

    def compute() -> float:
        counts = widths.within(TIMED_AT, {})
        if counts is None:
            return 0.0
        distance, start = distances(run), time.monotonic()
        distance(narrowed(run, run.network, counts)[1])
        number = 1 if "ram" in run.goal.fit else len(POWERS) + DRAWS
        return (number + FINALISTS) * (time.monotonic() - start)  # those that are trained are cut anew

    return float(run.stage("seconds of proposals", compute))


def _bent(power: float, factors: Mapping[str, float], name: str, loss: float) -> float:
    return float(factors[name] * loss**power)


def cut_and_trained(
    run: Run,
    widths: Widths,
    share: float,
    previous: Candidate | None,
    folder: Path,
    name: str,
    epochs: int,
) -> tuple[Keep, Network] | None:
    """Cut to this share of the original's cost, as the best proposal says, and trained; None where none does.

    Cut from `previous`, whose groups grow no wider again, or from the original.
    """
    parent = reopened(run, previous) if previous else run.network
    most = {group: int(keep.sum()) for group, keep in previous.plan.keep().items()} if previous else {}
    found = proposals(widths, share, most, run.settings.seed)
    if not found:
        run.note(f"no choice of channels takes {name}")
        return None
    if "ram" in run.goal.fit:  # that of the first is measured before it is trained
        found = found[:1]
    keep, smaller, left = best_of(run, parent, found, folder, name, epochs)
    run.tune(smaller.module, (Distillation(),), measure_pace(run).numerics, left, folder, name)
    reestimate_batch_norms(smaller.module, run.calibration_batches())
    return keep, smaller


def best_of(
    run: Run, parent: Network, found: Sequence[Counts], folder: Path, name: str, epochs: int
) -> tuple[Keep, Network, int]:
    """Cut `parent` as the best of the proposals says; what is kept, the network, and the epochs that it has left.

    The network of a finalist comes with what it has learned already.
    """
    trial = epochs // SHARE

    @cache
    def trained(place: int) -> tuple[Keep, Network]:
        keep, network = narrowed(run, parent, found[place])
        words, phase = f"{name}, proposal {place + 1}", f"proposal-{place + 1}"
        numerics = measure_pace(run).numerics
        run.tune(network.module, (Distillation(),), numerics, trial, folder, words, phase, preparing=True)
        return keep, network

    def compute() -> dict[str, Any]:
        distance = distances(run)
        untrained = []
        with run.watch.bar("what each proposal loses") as step:
            for place, counts in enumerate(found):
                untrained.append(distance(narrowed(run, parent, counts)[1]))
                step(place + 1, len(found), f"{untrained[-1]:.3g}")
        order = [int(place) for place in np.argsort(untrained, kind="stable")]
        finalists = order[:FINALISTS] if trial and len(order) > 1 else []
        after: dict[int, float] = {}
        for place in finalists:
            try:
                after[place] = distance(trained(place)[1])
            except Diverged as error:
                run.note(f"proposal {place + 1} of '{name}' was given up: {error}")
        best = min(after, key=lambda place: after[place]) if after else order[0]
        return {"untrained": untrained, "trained": {str(place): loss for place, loss in after.items()}, "best": best}

    decided = run.stage(f"proposals for {name}", compute)
    best = int(decided["best"])
    if not decided["trained"]:
        return *narrowed(run, parent, found[best]), epochs
    return *trained(best), epochs - trial * len(decided["trained"])


def distances(run: Run) -> Callable[[Network], float]:
    """What tells the mean distance of a network's outputs from those of the run's original, on calibration images."""
    batches = list(islice(run.calibration_batches(), BATCHES))
    original = run.network.module.eval()
    with torch.no_grad():
        wanted = [original(batch) for batch in batches]

    def distance(network: Network) -> float:
        network.module.eval()
        with torch.no_grad():
            return mean_distance(run.task.imitation, network, batches, wanted)

    return distance
