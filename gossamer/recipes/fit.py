# SPDX-License-Identifier: Apache-2.0
"""Fit: the best quality within limits of bytes, multiply-adds, milliseconds and working memory, any of them together.

    channels   where multiply-adds, milliseconds or working memory are above their limits: by the frontier to what fits,
               tuned; int8 first, as it needs a quarter of the memory
    bits       where the file is: integers by output error, ever more strongly, until it fits; then trained, from the
               last that did not, on the bits that do; where int8 fits so far, each is written in int8 on its grids too

What needs no training is written first, so that something fits early. The working memory of a cut is known before it is
trained; where no cut reaches its limit, nothing is trained. A network that misses a limit although it was aimed within
is tried again, aimed lower by what it missed. Everything that fits is a candidate; the best on the selection split is
delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gossamer.measure.working_memory import working_memory
from gossamer.plan import Plan
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.recipes import fewer_bytes, fewer_channels
from gossamer.recipes.fewer_channels import BY_CUTTING, missed_limits
from gossamer.recipes.post_training import FIRST, MOST, Rounding, calibration_batches, rounded
from gossamer.recipes.same_speed import as_int8
from gossamer.runtime.export import export_onnx
from gossamer.search.candidate import Candidate, coded_layers, reopened
from gossamer.search.claims import most_claims_bytes
from gossamer.search.latency_table import blindly_cut
from gossamer.search.memory_model import MemoryModel
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.proof import ToleranceNotMet
from gossamer.search.run import Run
from gossamer.search.widths import Widths

ATTEMPTS = 3
AIMED_AT = {
    "bytes": 0.98,
    "latency": 0.95,
    "macs": 1.0,
    "ram": 1.0,
}  # of the limit: predicted bytes and milliseconds are a little off

Epochs = Callable[[int, str], int]


def fitted(run: Run) -> list[Candidate]:
    """Every candidate in the order tried, those above the limits included."""
    pace = measure_pace(run)
    seconds = run.seconds_of("first candidate", lambda: fewer_channels.uncut_written(run))
    found = fewer_channels.uncut_written(run)
    epochs_for = epochs_in_time(run, pace, seconds)
    if missed_limits(run, found[-1], BY_CUTTING):
        found += narrowed(run, found[-1], epochs_for)
    if missed_limits(run, found[-1], ("bytes",)) and not missed_limits(run, found[-1], BY_CUTTING):
        found += packed(run, 1 + len(found), found[-1], epochs_for)
    return found


def narrowed(run: Run, uncut: Candidate, epochs_for: Epochs) -> list[Candidate]:
    """Cut to the limits of multiply-adds, milliseconds and working memory, and tuned.

    ToleranceNotMet where the working memory of no cut is within its limit.
    """
    memory = _reachable_memory(run, uncut) if "ram" in run.goal.fit else None
    widths = Widths.of(run, int8=uncut.plan.int8)
    limits = {name: AIMED_AT[name] * limit for name, limit in run.goal.fit.items() if name in BY_CUTTING}
    network, found = run.network, widths.cost

    def cost(counts: Mapping[str, int]) -> float:
        """The largest of the costs, each as a share of its limit."""
        measured: dict[str, float] = {"macs": network.macs_if(counts), run.goal.minimise: found(counts)}
        if memory is not None:
            measured["ram"] = memory.bytes(counts)
        return max(measured[name] / limit for name, limit in limits.items())

    widths = replace(widths, cost=cost)
    share = 1 / cost({})
    if memory is not None:
        share = _lowered(run, widths, share, int8=uncut.plan.int8)
    tried: list[Candidate] = []
    for attempt in range(1, ATTEMPTS + 1):
        demand = fewer_channels.Demand(share, "limits" if len(limits) > 1 else BY_CUTTING[next(iter(limits))])
        if not (epochs := epochs_for(attempt, demand.name)):
            break
        written = fewer_channels.cut_and_tuned(run, widths, attempt, demand, tried[-1] if tried else None, epochs)
        run.forget_training(run.step_folder(attempt, demand.name))
        tried += written
        if not written or not (missed := missed_limits(run, written[-1], limits)):
            break
        share /= 1.02 * missed
    return tried


def _reachable_memory(run: Run, uncut: Candidate) -> MemoryModel:
    """What cuts need of working memory, or the error that says that even the smallest needs too much."""
    assert uncut.ram_bytes is not None, "a goal that limits it has it measured"
    memory = MemoryModel.of(run.network, uncut.ram_bytes)
    least, limit = memory.bytes(memory.narrowest()), run.goal.fit["ram"]
    if least > limit:
        raise ToleranceNotMet(
            f"no cut of channels brings the working memory to {limit:,.0f} bytes: with the fewest channels it is "
            f"{least:,.0f}, and the input alone is {memory.input_bytes:,.0f}; raise the limit of ram"
        )
    return memory


def _lowered(run: Run, widths: Widths, share: float, *, int8: bool) -> float:
    """The share, lowered until the working memory of a cut to it, measured on its own graph, is within its limit."""
    for _ in range(ATTEMPTS):
        if (counts := widths.within(share, {})) is None:
            break
        cut = blindly_cut(run.network, counts)
        model = export_onnx(cut.module, cut.example)
        if int8:  # on whatever ranges: sizes do not depend on them
            model = quantize_int8(model, [run.task.example.numpy()])
        missed = working_memory(model).bytes / run.goal.fit["ram"]
        if missed <= 1:
            break
        share /= 1.02 * missed
    return share


def packed(run: Run, number: int, base: Candidate, epochs_for: Epochs) -> list[Candidate]:
    """The network of `base` in fewer and fewer bits until its file fits, and trained there; `number` of the first."""
    plan = Plan().with_channels(base.plan.keep())
    floats: list[Candidate] = []
    found: list[Candidate] = []

    def add(candidate: Candidate) -> float:
        """How many times too large the file is, in the arithmetic of `base`."""
        floats.append(candidate)
        found.extend([candidate, as_int8(run, candidate)] if base.plan.int8 else [candidate])
        return missed_limits(run, found[-1], ("bytes",))

    name = "fine grid, untrained"
    fine = run.step_folder(number, name)
    missed = add(Candidate.load(fine) or fewer_bytes.on_fine_grid(run, fine, name, reopened(run, base), plan))
    network = reopened(run, base)
    batches = calibration_batches(network, run.task, fewer_bytes.ROUNDING.images, run.note)
    rounding = Rounding(network, coded_layers(run, network), batches)
    strength = FIRST
    while missed and strength <= MOST:
        missed = add(rounded(run, rounding, number + len(floats), strength, base.plan.keep()))
        strength *= 2
    if len(floats) == 1:  # as good as the original, and it fits
        return found
    place = -2 if len(floats) > 2 else -1
    start, file = floats[place], found[2 * place + 1 if base.plan.int8 else place]
    weights = fewer_bytes.weights_of(run, run.network)
    beside = 8 * file.sizes.coded - fewer_bytes.bits_of(run, start) * weights
    bits = (8 * AIMED_AT["bytes"] * (run.goal.fit["bytes"] - most_claims_bytes(run)) - beside) / weights
    for attempt in range(1, ATTEMPTS + 1):
        if bits <= 0:
            run.note(f"no weights fit into the file: what is not weights takes {beside / 8:,.0f} bytes")
            break
        demand = fewer_bytes.Demand(bits)
        if not (epochs := epochs_for(attempt, demand.name)):
            break
        start = fewer_bytes.tuned_to(run, number + len(floats), demand, start, epochs)
        run.forget_training(start.folder)
        if not (missed := add(start)):
            break
        bits /= 1.01 * missed
    return found
