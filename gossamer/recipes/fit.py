# SPDX-License-Identifier: Apache-2.0
"""Fit: the best quality within limits of bytes, multiply-adds, milliseconds and working memory, any of them together.

    channels   where multiply-adds, milliseconds or working memory are above their limits: by the frontier to what fits,
               tuned; int8 first, as it needs a quarter of the memory, trained where only it fits and rounding hurts
    bits       where the file is: integers by output error, ever more strongly, until it fits; then trained, from the
               last that did not, on the bits that do; where int8 fits so far, each is written in int8 on its grids too
    better     then what fits is tuned on, and cut less where the limits leave room, while time is left

What needs no training is written first, so that something fits early. The working memory of a cut is known before it is
trained; where no cut reaches its limit, nothing is trained. A network that misses a limit although it was aimed within
is tried again, aimed lower by what it missed. It ends with the time, or where two trainings in a row better nothing.
Everything that fits is a candidate; the best on the selection split is delivered.
"""

from __future__ import annotations

from collections.abc import Sequence

from gossamer.plan import Plan
from gossamer.recipes import fewer_bytes, fewer_channels
from gossamer.recipes.cut_to_limits import ATTEMPTS, narrowed
from gossamer.recipes.fewer_channels import BY_CUTTING, UNCUT, clearly_worse, missed_limits
from gossamer.recipes.fine_grids import as_it_is
from gossamer.recipes.post_training import FIRST, MOST, Rounding, rounded
from gossamer.recipes.same_speed import as_int8
from gossamer.search.candidate import Candidate, reopened
from gossamer.search.claims import most_claims_bytes
from gossamer.search.ladder import AGAIN
from gossamer.search.pace import Epochs, epochs_in_time, measure_pace
from gossamer.search.patience import Patience
from gossamer.search.run import Run
from gossamer.tuning import Diverged

AIMED_AT = 0.98  # of the bytes: those predicted are a little off
NEAR = 0.99  # of the bytes, what gentler ones aim at


def fitted(run: Run) -> list[Candidate]:
    """Every candidate in the order tried, those above the limits included."""
    pace = measure_pace(run)
    seconds = run.seconds_of("first candidate", lambda: fewer_channels.uncut_written(run))
    found = fewer_channels.uncut_written(run)
    epochs_for = epochs_in_time(run, pace, seconds)
    if missed_limits(run, found[-1], BY_CUTTING):
        found += narrowed(run, found[-1], lambda before: epochs_in_time(run, pace, seconds, choosing_seconds=before))
    else:
        found = fewer_channels.int8_trained(run, run.step_folder(0, UNCUT), UNCUT, found, pace.epochs)
        found += still_uncut(run, found, epochs_for)
    if missed_limits(run, found[-1], ("bytes",)) and not missed_limits(run, found[-1], BY_CUTTING):
        found += packed(run, 1 + len(found), found[-1], epochs_for)
    return found


def still_uncut(run: Run, written: Sequence[Candidate], epochs_for: Epochs) -> list[Candidate]:
    """The int8 form that was trained, trained on as long as float32 is clearly better; none where it was not."""
    floats, latest = next(candidate for candidate in written if not candidate.plan.int8), written[-1]
    trained = len(written) > len({candidate.plan.int8 for candidate in written})
    found: list[Candidate] = []
    patience = Patience(latest.quality)
    while trained and patience.left and clearly_worse(run, latest, floats):
        number = 1 + len(found)
        name = f"{UNCUT}{AGAIN * number}"
        if not (epochs := epochs_for(number, name)):
            break
        more = fewer_channels.trained_on_grids(run, run.step_folder(number, name), name, latest, epochs)
        if not more:
            break
        found += more
        latest = more[-1]
        patience.saw(latest)
    return found


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

    def used() -> float:
        """The share of the limit that the file takes."""
        return float(found[-1].limited(run)["bytes"] or 0.0) / run.goal.fit["bytes"]

    name = "fine grid, untrained"
    fine = run.step_folder(number, name)
    missed = add(Candidate.load(fine) or as_it_is(run, fine, name, reopened(run, base), plan))
    rounding = Rounding.of(run, reopened(run, base), fewer_bytes.ROUNDING.images)
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
    bits = (8 * AIMED_AT * (run.goal.fit["bytes"] - most_claims_bytes(run)) - beside) / weights
    fitting = [candidate.quality for candidate in found if candidate.verdict.accepted]
    patience, above, asked = Patience(max(fitting, default=0.0)), 0, list[fewer_bytes.Demand]()
    while patience.left and above < ATTEMPTS:
        if bits <= 0:
            run.note(f"no weights fit into the file: what is not weights takes {beside / 8:,.0f} bytes")
            break
        demand = fewer_bytes.Demand(bits)
        while demand.name in {earlier.name for earlier in asked}:
            demand = demand.once_more()
        asked.append(demand)
        if not (epochs := epochs_for(len(asked), demand.name)):
            break
        try:
            start = fewer_bytes.tuned_to(run, number + len(floats), demand, start, epochs)
        except Diverged as error:
            run.note(f"'{demand.name}' was given up: {error}")
            break
        run.forget_training(start.folder)
        if missed := add(start):
            above += 1
            bits /= 1.01 * missed
            continue
        above = 0
        patience.saw(found[-1])
        bits *= max(1.0, NEAR / used())
    return found
