# SPDX-License-Identifier: Apache-2.0
"""Fewer channels: whole filters go, so that arithmetic gets less and the network faster.

A rung asks for a share of the original's multiply-adds, or of its milliseconds as a table of this runtime predicts
them. How many channels each group keeps, none at all included, and which ones: `gossamer.search.widths`. The cut
network is tuned from the last accepted one, distilled from the original. Where latency is the goal, each rung
is written twice, in float32 and in int8 arithmetic, and both are timed in the runtime: a rung that is not faster than
the original is refused. Where working memory is limited each is written twice too: int8 takes a quarter of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from gossamer.goal import Goal
from gossamer.graph import Network
from gossamer.plan import Plan
from gossamer.runtime.saturation import LARGEST, largest_weight
from gossamer.search.candidate import Candidate, finish, reopened
from gossamer.search.ladder import climb
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.search.widths import Widths, narrowed
from gossamer.tuning import Distillation
from gossamer.tuning.batch_norm import reestimate_batch_norms


@dataclass(frozen=True)
class Demand:
    """A rung: at most this share of what the original costs."""

    share: float
    of: str

    @property
    def name(self) -> str:
        """Percent of the multiply-adds, or of the time."""
        return f"{100 * self.share:.0f} % of the {self.of}"


def demand(run: Run, share: float) -> Demand:
    """So much of what the run's goal is about."""
    return Demand(share, "time" if run.goal.minimise == "latency" else "MACs")


SHARES = (0.92, 0.82, 0.7, 0.5, 0.36, 0.26, 0.19, 0.14)
FIRST = SHARES.index(0.7)  # where too much, the gentler ones are tried


def between(low: Demand, high: Demand) -> Demand:
    """The demand half-way."""
    return Demand(round((low.share + high.share) / 2, 3), low.of)


def climb_channels(run: Run) -> list[Candidate]:
    """The uncut network in int8 first, then the ladder."""
    pace = measure_pace(run)

    seconds = run.seconds_of("first candidate", lambda: uncut_written(run))
    safe = uncut_written(run)
    widths = Widths.of(run, int8=safe[-1].plan.int8)
    return safe + climb(
        run,
        [demand(run, share) for share in SHARES],
        lambda number, demand, previous, epochs: cut_and_tuned(run, widths, number, demand, previous, epochs),
        between=between,
        epochs_for=epochs_in_time(run, pace, seconds),
        first=FIRST,
    )


def uncut_written(run: Run) -> list[Candidate]:
    """The original in every arithmetic that the goal is about, the better one last."""
    return _written(run, run.step_folder(0, "uncut"), "uncut", run.network, Plan())


def cut_and_tuned(
    run: Run, widths: Widths, number: int, demand: Demand, previous: Candidate | None, epochs: int
) -> list[Candidate]:
    """One rung: cut from `previous` (or the original) to what `demand` asks, tuned and written."""
    folder = run.step_folder(number, demand.name)
    if finished := _load_written(run, folder, demand.name):
        return finished
    parent = reopened(run, previous) if previous else run.network
    before = previous.plan.keep() if previous else {}
    counts = widths.within(demand.share, {name: int(keep.sum()) for name, keep in before.items()})
    if counts is None:
        run.note(f"no choice of channels takes {demand.name}")
        return []
    keep, smaller = narrowed(run, parent, counts)
    run.tune(smaller.module, (Distillation(),), measure_pace(run).numerics, epochs, folder, demand.name)
    reestimate_batch_norms(smaller.module, run.calibration_batches())
    return _written(run, folder, demand.name, smaller, Plan().with_channels(keep))


def _written(run: Run, folder: Path, name: str, network: Network, plan: Plan) -> list[Candidate]:
    """The network as float32 and, where latency or working memory counts, as int8; the better one last."""
    if "int8" in _variants(run) and largest_weight() < LARGEST:
        run.note(
            f"this processor cuts off sums of two products of bytes, so int8 weights keep to {largest_weight()}; on "
            f"one with VNNI they could use {LARGEST}"
        )
    found = []
    for variant in _variants(run):
        inside = folder / variant
        done = Candidate.load(inside)
        int8 = variant == "int8"
        found.append(done or finish(run, inside, f"{name}, {variant}", network, replace(plan, int8=int8)))
    return sorted(found, key=lambda candidate: _worth(run.goal, candidate))


def _load_written(run: Run, folder: Path, name: str) -> list[Candidate]:
    """What `_written` returned, if all of it is there."""
    found = [Candidate.load(folder / variant) for variant in _variants(run)]
    complete = [candidate for candidate in found if candidate is not None]
    return sorted(complete, key=lambda candidate: _worth(run.goal, candidate)) if len(complete) == len(found) else []


def _variants(run: Run) -> tuple[str, ...]:
    # int8 arithmetic has grids of its own, which a file's bits cannot choose; and tables of boards are of float32
    only_float = "bytes" in run.goal.fit or run.settings.latency_table is not None
    wanted = run.goal.minimise == "latency" or "ram" in run.goal.fit
    return ("float32", "int8") if wanted and not only_float else ("float32",)


def _worth(goal: Goal, candidate: Candidate) -> tuple[bool, float, float]:
    """Accepted after refused, nearer its limits after farther from them, faster after slower."""
    excess = max(goal.exceeded(candidate.limited).values(), default=0.0)
    return candidate.verdict.accepted, -excess, candidate.speedup or 0.0
