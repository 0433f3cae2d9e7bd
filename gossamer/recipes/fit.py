# SPDX-License-Identifier: Apache-2.0
"""Fit: the best quality within limits of bytes, multiply-adds and milliseconds, any of them together.

    channels   where multiply-adds or milliseconds are above their limits: by the frontier to what fits, tuned
    bits       where the file is: integers by output error, ever more strongly, until it fits; then trained, from the
               last that did not, on the bits that do

What needs no training is written first, so that something fits early. A network that misses a limit although it was
aimed within is tried again, aimed lower by what it missed. Everything that fits is a candidate; the best on the
selection split is delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gossamer.plan import Plan
from gossamer.recipes import fewer_bytes, fewer_channels
from gossamer.recipes.post_training import FIRST, MOST, Rounding, calibration_batches, rounded
from gossamer.search.candidate import CLAIMS_BYTES, Candidate, coded_layers, limited, reopened
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.search.widths import Widths

ATTEMPTS = 3
AIMED_AT = {
    "bytes": 0.98,
    "latency": 0.95,
    "macs": 1.0,
}  # of the limit: predicted bytes and milliseconds are a little off

Epochs = Callable[[int, str], int]


def fitted(run: Run) -> list[Candidate]:
    """Every candidate in the order tried, those above the limits included."""
    pace = measure_pace(run)
    seconds = run.seconds_of("first candidate", lambda: fewer_channels.uncut_written(run))
    found = fewer_channels.uncut_written(run)
    epochs_for = epochs_in_time(run, pace, seconds)
    if _missed(run, found[-1], ("macs", "latency")):
        found += narrowed(run, found[-1], epochs_for)
    if _missed(run, found[-1], ("bytes",)) and not _missed(run, found[-1], ("macs", "latency")):
        found += packed(run, 1 + len(found), found[-1], epochs_for)
    return found


def narrowed(run: Run, uncut: Candidate, epochs_for: Epochs) -> list[Candidate]:
    """Cut to the limits of multiply-adds and milliseconds, and tuned."""
    widths = Widths.of(run, int8=uncut.plan.int8)
    limits = {name: AIMED_AT[name] * limit for name, limit in run.goal.fit.items() if name != "bytes"}
    network, found = run.network, widths.cost

    def cost(counts: Mapping[str, int]) -> float:
        """The larger of both costs, each as a share of its limit."""
        measured: dict[str, float] = {"macs": network.macs_if(counts), run.goal.minimise: found(counts)}
        return max(measured[name] / limit for name, limit in limits.items())

    widths = replace(widths, cost=cost)
    share = 1 / cost({})
    tried: list[Candidate] = []
    for attempt in range(1, ATTEMPTS + 1):
        demand = fewer_channels.demand(run, share)
        demand = replace(demand, of="limits") if len(limits) > 1 else demand
        if not (epochs := epochs_for(attempt, demand.name)):
            break
        written = fewer_channels.cut_and_tuned(run, widths, attempt, demand, tried[-1] if tried else None, epochs)
        tried += written
        if not written or not (missed := _missed(run, written[-1], tuple(limits))):
            break
        share /= 1.02 * missed
    return tried


def packed(run: Run, number: int, base: Candidate, epochs_for: Epochs) -> list[Candidate]:
    """The network of `base` in fewer and fewer bits until its file fits, and trained there; `number` of the first."""
    plan = Plan().with_channels(base.plan.keep())
    name = "fine grid, untrained"
    fine = run.step_folder(number, name)
    found = [Candidate.load(fine) or fewer_bytes.on_fine_grid(run, fine, name, reopened(run, base), plan)]
    network = reopened(run, base)
    batches = calibration_batches(network, run.task, fewer_bytes.ROUNDING.images, run.note)
    rounding = Rounding(network, coded_layers(run, network), batches)
    strength = FIRST
    while _missed(run, found[-1], ("bytes",)) and strength <= MOST:
        found.append(rounded(run, rounding, number + len(found), strength, base.plan.keep()))
        strength *= 2
    if len(found) == 1:  # as good as the original, and it fits
        return found
    start = found[-2] if len(found) > 2 else found[-1]
    weights = fewer_bytes.weights_of(run, run.network)
    beside = 8 * start.sizes.coded - fewer_bytes.bits_of(run, start) * weights
    bits = (8 * AIMED_AT["bytes"] * (run.goal.fit["bytes"] - CLAIMS_BYTES) - beside) / weights
    for attempt in range(1, ATTEMPTS + 1):
        if bits <= 0:
            run.note(f"no weights fit into the file: what is not weights takes {beside / 8:,.0f} bytes")
            break
        demand = fewer_bytes.Demand(bits)
        if not (epochs := epochs_for(attempt, demand.name)):
            break
        start = fewer_bytes.tuned_to(run, number + len(found), demand, start, epochs)
        run.forget_training(start.folder)
        found.append(start)
        if not (missed := _missed(run, start, ("bytes",))):
            break
        bits /= 1.01 * missed
    return found


def _missed(run: Run, candidate: Candidate, names: tuple[str, ...]) -> float:
    """How many times the worst of these limits a candidate is, or 0 where it keeps them all."""
    costs = limited(candidate.sizes.coded, candidate.macs, candidate.latency_ms)
    return max((times for name, times in run.goal.exceeded(costs).items() if name in names), default=0.0)
