# SPDX-License-Identifier: Apache-2.0
"""Cutting filters as most papers do: score them, set rates within a budget of multiply-adds, cut, tune.

What differs between the papers' systems is a `Cut`. Its rungs ask for ever fewer multiply-adds, and the tolerance
decides how far the ladder is climbed; or `macs` asks for one share of them, in one or several steps. What is left of
the weights is stored on a fine grid, which hardly changes an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.filters import Car, Criterion
from gossamer.graph import Group, Network
from gossamer.plan import Plan
from gossamer.rates import Rule, Uniform, counts_at, counts_within, share_of
from gossamer.recipes.fewer_channels import SHARES, Demand, between, uncut_written
from gossamer.recipes.fine_grids import on_fine_grid
from gossamer.search.candidate import Candidate, reopened
from gossamer.search.evidence import OutOfTime, Scores, facts_for, scores_by
from gossamer.search.idle import in_original
from gossamer.search.ladder import climb
from gossamer.search.latency_table import step_of
from gossamer.search.pace import Epochs, epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.tuning import Distillation, Grafting, Plug
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.scratch import forget

TUNINGS = ("labels", "distillation", "grafting")
IMAGES = 2000  # that criteria ask about, at most


class Power(Demand):
    """A rung that tells the rule its exponent, `share` of it, and leaves the cost to what comes of it."""

    @property
    def name(self) -> str:
        """The exponent."""
        return f"exponent {self.share:.3g}"


@dataclass(frozen=True)
class Cut:
    """How filters are chosen and what becomes of the network after a cut.

    `groups`: those that are cut. `prepare`, where filters are scored after a training of their own, trains a network in
    place, for some of the epochs, and says for how many.
    `channels`, a share of the groups' channels that is left, in place of `macs`; or `exponent`, which a rule that
    raises rates to a power is told in place of a budget. `tuning`: of `TUNINGS`; how to graft is `grafting`.
    `scratch`: what was learned is forgotten after the cut. `multiple`: wide groups keep a multiple of so many channels,
    since runtimes compute them in blocks: at odd counts half of the arithmetic can take longer than all of it did.
    """

    criterion: Criterion
    rule: Rule
    groups: Callable[[Network], Sequence[Group]]
    _: KW_ONLY
    tuning: str = "labels"
    macs: float = 0.0
    channels: float = 0.0
    exponent: float = 0.0
    steps: int = 1
    scratch: bool = False
    grafting: Grafting | None = None
    images: int = IMAGES
    multiple: int = 1
    prepare: Callable[[Run, Network, int, Path, str], int] | None = None

    def __post_init__(self) -> None:
        if self.tuning not in TUNINGS:
            raise ValueError(f"tuning must be one of {', '.join(TUNINGS)}, got '{self.tuning}'")
        for name, share in (("macs", self.macs), ("channels", self.channels)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} must be a share of the original's in (0, 1), or 0 for a ladder, got {share}")
        if self.exponent < 0:
            raise ValueError(f"exponent must be positive, or 0 to be set by a budget, got {self.exponent}")
        if self.exponent and self.macs:
            raise ValueError("expected macs or exponent, got both; leave one out")
        for name, number in (("steps", self.steps), ("multiple", self.multiple)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")

    @property
    def plugs(self) -> tuple[Plug, ...]:
        """What plugs into tuning."""
        return (Distillation(),) if self.tuning == "distillation" else ()

    @property
    def copies(self) -> int:
        """Networks trained beside each other."""
        return self._grafting.copies if self._grafting else 1

    @property
    def _grafting(self) -> Grafting | None:
        return (self.grafting or Grafting()) if self.tuning == "grafting" else None

    def tune(self, run: Run, network: Network, epochs: int, folder: Path, name: str, phase: str = "") -> None:
        """Train a network that was cut, in place."""
        numerics = measure_pace(run).numerics
        run.tune(network.module, self.plugs, numerics, epochs, folder, name, phase, grafting=self._grafting)
        reestimate_batch_norms(network.module, run.calibration_batches())


def climb_cuts(run: Run, recipe: str, cut: Cut) -> list[Candidate]:
    """The uncut network, then each rung; every candidate in the order tried. `recipe`: its name, for errors."""
    run.goal.must_be_a_tolerance(recipe)
    uncut, epochs_for = uncut_first(run, cut.copies)
    demands = [Demand(share, "MACs") for share in ((cut.macs,) if cut.macs else SHARES)]
    if cut.channels:
        demands = [Demand(cut.channels, "channels")]
    if cut.exponent:
        demands = [Power(cut.exponent, "rates")]
    return uncut + climb(
        run,
        demands,
        lambda number, demand, previous, epochs: _rung(run, cut, number, demand, previous, epochs),
        between=between,
        epochs_for=epochs_for,
    )


def uncut_first(run: Run, copies: int = 1) -> tuple[list[Candidate], Epochs]:
    """The uncut network's candidates, and how many epochs each rung after them may train."""
    pace = measure_pace(run)
    seconds = run.seconds_of("first candidate", lambda: uncut_written(run))
    return uncut_written(run), epochs_in_time(run, pace, seconds, copies)


def _rung(run: Run, cut: Cut, number: int, demand: Demand, previous: Candidate | None, epochs: int) -> list[Candidate]:
    """Cut from `previous`, or the original, and tuned, in as many steps as the cut has."""
    folder = run.step_folder(number, demand.name)
    if done := Candidate.load(folder):
        return [done]
    network = reopened(run, previous) if previous else run.network.copy()
    whole, waiting = network.macs, 0
    left = 1.0 if demand.of != "MACs" else network.macs / run.network.macs
    for step in range(cut.steps):
        part = epochs * (step + 1) // cut.steps - epochs * step // cut.steps
        phase = f"step {step + 1}" if cut.steps > 1 else ""
        if cut.prepare:
            part -= cut.prepare(run, network, part, folder, f"{phase} prepared".strip())
        share = left + (demand.share - left) * (step + 1) / cut.steps
        try:
            network = cut_to(run, cut, network, replace(demand, share=share), f"{folder.name} {phase}".strip())
        except OutOfTime:
            run.note(f"'{demand.name}' was left out: there was no time to score its filters")
            return []
        if network.macs == whole:  # of whole blocks of channels a later step may take the first
            waiting += part
            continue
        if cut.scratch:
            forget(network, run.settings.seed)
        else:
            reestimate_batch_norms(network.module, run.calibration_batches())
        if part + waiting:
            cut.tune(run, network, part + waiting, folder, demand.name, phase)
            waiting = 0
    if network.macs == whole:
        run.note(f"'{demand.name}' was left out: no fewer filters may stay than the network has")
        return []
    if demand.of == "MACs" and network.macs > demand.share * run.network.macs:
        run.note(f"'{demand.name}' keeps {100 * network.macs / run.network.macs:.1f} %: no fewer filters may stay")
    return [on_fine_grid(run, folder, demand.name, network, Plan().with_channels(network.kept))]


def cut_to(run: Run, cut: Cut, network: Network, demand: Demand, stage: str) -> Network:
    """A cut of the run's network: `network`, itself one, without the filters worth least, to what is demanded.

    `stage`: under which the run remembers scores that take long.
    """
    groups, wide = list(cut.groups(network)), {group.name: group for group in run.network.groups}
    if demand.of == "channels":
        cost, budget = _total, demand.share * _total({group.name: group.size for group in cut.groups(run.network)})
    else:
        cost, budget = network.macs_if, demand.share * run.network.macs

    def counted(scores: Scores) -> dict[str, int]:
        facts = facts_for(cut.rule, scores, network, groups)
        # by the original's widths: what a cut of several steps has left is a multiple already
        multiples = {group.name: step_of(wide.get(group.name, group), cut.multiple) for group in groups}
        if isinstance(demand, Power):
            return counts_at(cut.rule, facts, share_of(demand.share), multiples)
        return counts_within(cut.rule, facts, cost, budget, multiples)

    criterion = cut.criterion
    if isinstance(criterion, Car) and isinstance(cut.rule, Uniform):  # ranks one by one: no more than must go
        blind = counted({group.name: np.ones(group.size) for group in groups})
        most = max((1 - blind[group.name] / group.size for group in groups), default=0.0)
        criterion = replace(criterion, share=min(1.0, max(most, 1e-6)))
    scores = scores_by(run, criterion, network, groups, cut.images, stage)
    counts = counted(scores)
    return without(run, network, {group.name: group.best(scores[group.name], counts[group.name]) for group in groups})


def without(run: Run, network: Network, inside: Mapping[str, NDArray[np.bool_]]) -> Network:
    """A cut of the run's network: `network`, itself one, cut to what `inside` keeps of its own groups."""
    keep = in_original(run.network, network, dict(network.kept), dict(inside))
    smaller = run.network.cut(keep) if keep else run.network.copy()
    cut = network.cut({name: row for name, row in inside.items() if not row.all()})
    smaller.module.load_state_dict(cut.module.state_dict())
    return smaller


def _total(counts: Mapping[str, int]) -> float:
    return sum(counts.values())
