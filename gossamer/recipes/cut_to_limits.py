# SPDX-License-Identifier: Apache-2.0
"""Cut to limits: channels go until multiply-adds, milliseconds and working memory are within theirs, at most quality.

The worst of the costs, each as a share of its limit, is what the frontier brings down. What misses a limit although it
was aimed within is aimed lower by what it missed. What fits is tuned on, and gentler cuts are tried where what was
measured leaves room for them, until the time is over or nothing gets better.

Cost: a training for each cut, and one each time that a cut is tuned on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gossamer.measure.working_memory import working_memory
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.recipes import fewer_channels
from gossamer.recipes.fewer_channels import BY_CUTTING, Demand, missed_limits
from gossamer.runtime.export import export_onnx
from gossamer.search.candidate import Candidate
from gossamer.search.latency_table import blindly_cut
from gossamer.search.memory_model import MemoryModel
from gossamer.search.pace import Epochs
from gossamer.search.patience import Patience
from gossamer.search.proof import ToleranceNotMet
from gossamer.search.proposals import fitting_seconds
from gossamer.search.run import Run
from gossamer.search.widths import Widths
from gossamer.tuning import Diverged

ATTEMPTS = 3
AIMED_AT = {"latency": 0.95, "macs": 1.0, "ram": 1.0}  # of the limit: predicted milliseconds are a little off
NEAR = 0.99  # of the limit, what gentler cuts aim at: those before them were measured
ROOM = 1.02  # times the share, the least that is worth another training


@dataclass(frozen=True)
class Cut:
    """A cut network in the forms that were written, the better one last, and what was asked."""

    demand: Demand
    written: list[Candidate]

    @property
    def best(self) -> Candidate:
        """The better form."""
        return self.written[-1]


def narrowed(run: Run, uncut: Candidate, epochs_for: Callable[[float], Epochs]) -> list[Candidate]:
    """Cut to the limits of multiply-adds, milliseconds and working memory, tuned, and then bettered.

    `epochs_for`: seconds that go by before a training -> how long it may be. ToleranceNotMet where the working memory
    of no cut is within its limit.
    """
    aim = Aim.at(run, uncut, epochs_for)
    made: list[Cut] = []
    share = aim.lowered(aim.within)
    for _ in range(ATTEMPTS):
        cut = aim.cut(share, made)
        if cut is None:
            break
        made.append(cut)
        if not (missed := missed_limits(run, cut.best, BY_CUTTING)):
            break
        share /= 1.02 * missed
    if made and made[-1].best.verdict.accepted:
        made = bettered(aim, made)
    return [candidate for cut in made for candidate in cut.written]


def bettered(aim: Aim, made: Sequence[Cut]) -> list[Cut]:
    """What was made, of which the last one fits; then that tuned on, and gentler cuts as far as the limits allow them.

    The first training goes to what fits, the next to gentler ones, those that are left to the best of all.
    """
    made = list(made)
    latest = widest = made[-1]
    too_wide = min((cut.demand.share for cut in made[:-1]), default=None)
    patience, share = Patience(latest.best.quality), None
    while patience.left:
        new = aim.cut(share, made) if share else aim.once_more(latest, made)
        if new is None:
            break
        made.append(new)
        fits = new.best.verdict.accepted
        if share and not fits:
            too_wide = share
        else:
            better = patience.saw(new.best)
            latest = new if fits and (better or not share) else latest
            widest = new if share else widest
        share = aim.gentler(widest, too_wide)
    return made


@dataclass(frozen=True)
class Aim:
    """Cuts whose cost, the worst of several as shares of their limits, is at most a share of what the original's is.

    `within`: the share at which the limits should be kept; `of`: what it is a share of, in words; `int8`: the
    arithmetic that is to keep them; `memory`: what cuts need of it, where that is limited.
    """

    run: Run
    widths: Widths
    within: float
    of: str
    int8: bool
    memory: MemoryModel | None
    epochs_for: Callable[[float], Epochs]

    @classmethod
    def at(cls, run: Run, uncut: Candidate, epochs_for: Callable[[float], Epochs]) -> Aim:
        """At the run's limits, which `uncut` misses; ToleranceNotMet where no cut has so little working memory."""
        memory = _reachable_memory(run, uncut) if "ram" in run.goal.fit else None
        widths = Widths.of(run, int8=uncut.plan.int8)
        limits = {name: AIMED_AT[name] * limit for name, limit in run.goal.fit.items() if name in BY_CUTTING}
        network, found = run.network, widths.cost

        def cost(counts: Mapping[str, int]) -> float:
            measured: dict[str, float] = {"macs": network.macs_if(counts), run.goal.minimise: found(counts)}
            if memory is not None:
                measured["ram"] = memory.bytes(counts)
            return max(measured[name] / limit for name, limit in limits.items())

        of = "limits" if len(limits) > 1 else BY_CUTTING[next(iter(limits))]
        within = 1 / cost({})
        return cls(run, replace(widths, cost=cost), within, of, uncut.plan.int8, memory, epochs_for)

    def cut(self, share: float, made: Sequence[Cut]) -> Cut | None:
        """Cut to a share and tuned, from the narrowest of what was made that is wider; None without time or a cut."""
        demand = Demand(share, self.of)
        wider = [cut for cut in made if cut.demand.share > share]
        start = min(wider, key=lambda cut: cut.demand.share).best if wider else None
        return self._made(
            demand,
            made,
            fitting_seconds(self.run, self.widths),
            lambda number, epochs: fewer_channels.cut_and_tuned(self.run, self.widths, number, demand, start, epochs),
        )

    def once_more(self, cut: Cut, made: Sequence[Cut]) -> Cut | None:
        """The same cut, tuned on; None without time."""
        demand = cut.demand.once_more()
        return self._made(
            demand,
            made,
            0.0,
            lambda number, epochs: fewer_channels.tuned_on(self.run, number, demand, cut.written, epochs),
        )

    def _made(
        self,
        demand: Demand,
        made: Sequence[Cut],
        choosing_seconds: float,
        attempt: Callable[[int, int], list[Candidate]],
    ) -> Cut | None:
        number = 1 + len(made)
        if not (epochs := self.epochs_for(choosing_seconds)(number, demand.name)):
            return None
        try:
            written = attempt(number, epochs)
        except Diverged as error:
            self.run.note(f"'{demand.name}' was given up: {error}")
            return None
        self.run.forget_training(self.run.step_folder(number, demand.name))
        return Cut(demand, written) if written else None

    def gentler(self, cut: Cut, too_wide: float | None) -> float | None:
        """A larger share that the limits should still allow, below one that was `too_wide`; None without much room."""
        costs = cut.best.limited(self.run)
        used = max((costs[name] or 0.0) / limit for name, limit in self.run.goal.fit.items() if name in BY_CUTTING)
        share = cut.demand.share * NEAR / used
        if too_wide is not None:
            share = min(share, (cut.demand.share + too_wide) / 2)
        if share < ROOM * cut.demand.share:
            return None
        share = self.lowered(share)
        if share < ROOM * cut.demand.share or not self._keeps_macs(share):
            return None
        return share

    def _keeps_macs(self, share: float) -> bool:
        """Whether a cut to a share keeps the limit of multiply-adds, if there is one; it is known before."""
        if "macs" not in self.run.goal.fit:
            return True
        counts = self.widths.within(share, {})
        return counts is not None and self.run.network.macs_if(counts) <= self.run.goal.fit["macs"]

    def lowered(self, share: float) -> float:
        """The share, lowered until the working memory of a cut to it, measured on its own graph, is within."""
        if self.memory is None:
            return share
        for _ in range(ATTEMPTS):
            if (counts := self.widths.within(share, {})) is None:
                break
            cut = blindly_cut(self.run.network, counts)
            model = export_onnx(cut.module, cut.example)
            if self.int8:  # on whatever ranges: sizes do not depend on them
                model = quantize_int8(model, [self.run.task.example.numpy()])
            missed = working_memory(model).bytes / self.run.goal.fit["ram"]
            if missed <= 1:
                break
            share /= 1.02 * missed
        return share


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
