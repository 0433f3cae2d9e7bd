# SPDX-License-Identifier: Apache-2.0
"""importance-weights: each filter gets a weight that learns how much it counts; an error tolerance says how many go.

Paper: S. S. Sawant et al., Applied Sciences 12(21), 2022, 11184.

    learn   one more weight a filter, the network ten times slower      (`gossamer.tuning.importance_weights`)
    rate    per layer what the tolerated error allows, before tuning    (`gossamer.rates.error_tolerance`)
    cut     the filters of the smallest weights; the weights of the others are folded in
    tune    with labels; again, from learning on, until the tolerance is used up or hardly anything goes

After a round that is refused, the same round is made again with half the error tolerated before tuning. Told a share of
the multiply-adds, there is one round, and as much error is tolerated as that takes.

Cost: a training of `--epochs` for each round, the weights' part within it; log2 K evaluations a layer,
ten times as many with `macs`.

Differs from the paper: reconstructed from its abstract; what is read into it is listed in these files.
1. Layers are asked in forward order; the error is that on images of the selection split.
2. A round is accepted by what it loses against the original, not against the round before.
3. Error tolerance before tuning: `tolerance`, or as much as the goal allows. Each round has it anew, counted from the
   error at its own start; only what is accepted is held against the original.
4. Filters start and are scored with their batch norms folded in: beside a batch norm the norm of the bare filter says
   nothing. What a start divided by is taken out of the score again, as ||W / start|| does it where W itself is divided.
5. Only layers that no sum ties to others are cut.
6. A refused round is repeated more carefully, up to `retries` times in all: slack that is left is not thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.filters import GroupMatrices, L1Norm
from gossamer.filters import ImportanceWeights as Criterion
from gossamer.filters.importance_weights import FROM_DATA, STARTS, start
from gossamer.graph import Group, Network
from gossamer.plan import Plan
from gossamer.rates import Energy, ErrorTolerance, Uniform, counts_within
from gossamer.rates.error_tolerance import STEPS, Error
from gossamer.recipes.cut_filters import IMAGES, uncut_first, without
from gossamer.recipes.fewer_channels import Demand
from gossamer.recipes.fine_grids import on_fine_grid
from gossamer.search.candidate import Candidate, finish, reopened
from gossamer.search.evidence import Scores, activity, error_without, untied
from gossamer.search.pace import Epochs, measure_pace
from gossamer.search.run import Run
from gossamer.search.widths import folded_weights, matrices_of
from gossamer.tuning import Diverged
from gossamer.tuning import ImportanceWeights as Plug
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.gates import fold_in, reading

ROUNDS = 12
LEAST = 0.01  # of the multiply-adds must go in a round, or there is no other
SHARES: dict[str, Energy | Uniform] = {"energy": Energy(), "uniform": Uniform()}  # for comparisons
MODES = ("error", *SHARES)


@dataclass(frozen=True)
class ImportanceWeights:
    """`start`: where the weights start; `compensated`: a start from data changes nothing at first.

    `learning`: the share of a round's epochs in which the weights are learned, `strength` of the penalty on them; 0
    learns none, and filters go by their norm alone. `tolerance`: points of error before tuning, 0 for the goal's;
    `mode` "energy" or "uniform" drops a share instead, `dropped`, of each layer's importance or filters. `macs`: the
    share of multiply-adds that is left after one round, whatever `tolerance` or `dropped` that takes; 0 goes round
    after round. `images`: that the error is asked on. `retries`: how often a refused round is made again, each time
    with half of what the last was allowed. `multiple`: a layer that loses channels keeps a multiple of so many, since
    runtimes compute them in blocks. `int8`: the best network is also tried in int8 arithmetic.
    """

    start: str = "l1"
    compensated: bool = True
    learning: float = 0.4
    strength: float = 1e-4
    tolerance: float = 0.0
    mode: str = "error"
    macs: float = 0.0
    dropped: float = 0.05
    images: int = IMAGES
    retries: int = 2
    multiple: int = 1
    int8: bool = False

    def __post_init__(self) -> None:
        for name, known in (("start", tuple(STARTS)), ("mode", MODES)):
            if getattr(self, name) not in known:
                got = getattr(self, name)
                raise ValueError(f"{name} of importance-weights must be one of {', '.join(known)}, got '{got}'")
        if not 0 <= self.learning < 1:
            raise ValueError(f"learning of importance-weights must be in [0, 1), got {self.learning}")
        if not 0 < self.dropped < 1:
            raise ValueError(f"dropped of importance-weights must be in (0, 1), got {self.dropped}")
        if not 0 <= self.macs < 1:
            raise ValueError(f"macs of importance-weights must be a share in (0, 1), or 0 for rounds, got {self.macs}")
        if self.macs and self.tolerance:
            raise ValueError("expected macs or tolerance of importance-weights, got both; leave one out")
        if not 0 <= self.tolerance < 100:
            raise ValueError(f"tolerance of importance-weights must be in [0, 100) points, got {self.tolerance}")
        if self.multiple < 1 or (self.multiple > 1 and self.mode != "error"):
            raise ValueError(
                f"multiple of importance-weights must be at least 1, and 1 with mode {' or '.join(SHARES)}, got "
                f"{self.multiple} with mode {self.mode}"
            )
        if not 0 <= self.retries <= ROUNDS:
            raise ValueError(f"retries of importance-weights must be in 0..{ROUNDS}, got {self.retries}")

    def search(self, run: Run) -> list[Candidate]:
        """The uncut network, then one round after the other, and the best of them in int8 where that is asked for."""
        run.goal.must_be_a_tolerance("importance-weights")
        tried, epochs_for = uncut_first(run)
        if self.macs:
            told = self._told(run, epochs_for)
            return [*tried, *told, *self._in_int8(run, [*tried, *told])]
        good, macs = None, run.network.macs
        number, share, least = 1, 1.0, 0.5**self.retries
        for step in range(1, ROUNDS + self.retries + 1):
            if number > ROUNDS:
                break
            name = f"round {number}" if share == 1 else f"round {number}, {share:g} of the tolerance"
            epochs = epochs_for(step, name)
            if epochs == 0:
                break
            if epochs == 1 and self.learning:
                run.note(f"'{name}' was left out: it needs an epoch before the cut and one after it, and has one")
                break
            try:
                candidate = self._round(run, step, name, good, epochs, share)
            except Diverged as error:
                run.note(f"'{name}' was given up: {error}")
                break
            tried.append(candidate)
            if not candidate.verdict.accepted:
                run.abandon(candidate.folder)
                if share == least:
                    break
                share /= 2
                continue
            if macs - candidate.macs < LEAST * run.network.macs:
                run.note(f"'{name}' was the last: hardly any filter went")
                break
            good, macs, number = candidate, candidate.macs, number + 1
        return [*tried, *self._in_int8(run, tried)]

    def _told(self, run: Run, epochs_for: Epochs) -> list[Candidate]:
        """One round, down to the share of multiply-adds that was asked for."""
        name = Demand(self.macs, "MACs").name
        epochs = epochs_for(1, name)
        if epochs <= bool(self.learning):
            run.note(f"'{name}' was left out: there was time for {epochs} epochs, and cutting takes one before it")
            return []
        try:
            candidate = self._round(run, 1, name, None, epochs, 1.0)
        except Diverged as error:
            run.note(f"'{name}' was given up: {error}")
            return []
        if candidate.macs > self.macs * run.network.macs:
            run.note(f"'{name}' keeps {100 * candidate.macs / run.network.macs:.1f} %: no fewer filters may stay")
        return [candidate]

    def _in_int8(self, run: Run, tried: Sequence[Candidate]) -> list[Candidate]:
        """The best of what was accepted with its channels as they are, in int8 arithmetic; none if nobody asked."""
        accepted = [candidate for candidate in tried if candidate.verdict.accepted]
        if not self.int8 or not accepted:
            return []
        best = min(accepted, key=lambda candidate: candidate.macs)
        folder, plan = best.folder / "int8", Plan(int8=True).with_channels(best.plan.keep())
        done = Candidate.load(folder)
        return [done or finish(run, folder, f"{best.name}, int8", reopened(run, best), plan)]

    def _round(
        self, run: Run, step: int, name: str, previous: Candidate | None, epochs: int, share: float
    ) -> Candidate:
        """Learn weights, cut by them as far as a share of the tolerance allows, tune."""
        folder, numerics = run.step_folder(step, name), measure_pace(run).numerics
        if done := Candidate.load(folder):
            run.forget_training(folder)
            return done
        network = reopened(run, previous) if previous else run.network.copy()
        groups = untied(network)
        learning = min(epochs - 1, max(1, round(self.learning * epochs))) if self.learning else 0
        learned: Scores = {}
        if learning:
            plug, divided = self._weights(run, network, groups)
            words = f"{name}, weights"
            run.tune(network.module, (plug,), numerics, learning, folder, words, "weights", gently=0.1, preparing=True)
            for group in groups:
                value = plug.values[group.name].detach().cpu()
                learned[group.name] = (value / divided[group.name]).numpy()
                fold_in(network.tensors, reading(group), value)
            reestimate_batch_norms(network.module, run.calibration_batches())
        scores = self._scores(network, groups, learned)
        network = without(run, network, self._keep(run, network, groups, scores, share))
        reestimate_batch_norms(network.module, run.calibration_batches())
        run.tune(network.module, (), numerics, epochs - learning, folder, name)
        reestimate_batch_norms(network.module, run.calibration_batches())
        candidate = on_fine_grid(run, folder, name, network, Plan().with_channels(network.kept))
        run.forget_training(folder)
        return candidate

    def _weights(self, run: Run, network: Network, groups: Sequence[Group]) -> tuple[Plug, dict[str, Tensor]]:
        """The plug with its first values, and what the network is divided by: those that come from data, or 1.

        The readers of a channel are divided, since its factor acts there; its filter stays as it was.
        """
        rng = np.random.default_rng(run.settings.seed)
        active: Scores = {}
        if self.start == "activation":
            active = activity(network, groups, next(run.calibration_batches()))
        matrices = _as_deployed(network, groups)
        values, divided = {}, {}
        for group in groups:
            of = replace(matrices[group.name], activity=active.get(group.name))
            values[group.name] = divided[group.name] = torch.from_numpy(start(self.start, of, rng))
            if self.compensated and self.start in FROM_DATA:
                fold_in(network.tensors, reading(group), 1 / divided[group.name])
            else:
                divided[group.name] = torch.ones(group.size)
        return Plug(groups, values, strength=self.strength), divided

    def _scores(self, network: Network, groups: Sequence[Group], learned: Scores) -> Scores:
        """By what was learned, in units of what the network was divided by, times the norm of the filter as deployed.

        Before anything is learned that is the norm alone, wherever the weights start.
        """
        matrices = _as_deployed(network, groups)
        if not learned:
            return {name: L1Norm().score(of) for name, of in matrices.items()}
        return {name: Criterion().score(replace(of, learned=learned[name])) for name, of in matrices.items()}

    def _keep(
        self, run: Run, network: Network, groups: Sequence[Group], scores: Scores, share: float
    ) -> dict[str, NDArray[np.bool_]]:
        if self.macs:
            return self._keep_within(run, network, groups, scores, self.macs * run.network.macs)
        if self.mode in SHARES:
            counts = SHARES[self.mode].counts(scores, 1 - share * self.dropped)
            return {group.name: group.best(scores[group.name], group.whole(counts[group.name])) for group in groups}
        allowed = share * (self.tolerance / 100 or run.goal.wanted)
        rule = ErrorTolerance(max(allowed, 1 / self.images), multiple=self.multiple)
        parts = {group.name: group.part for group in groups}
        with self._asking(run, network, groups, scores) as error:
            return rule.keep(scores, error, parts)

    def _keep_within(
        self, run: Run, network: Network, groups: Sequence[Group], scores: Scores, budget: float
    ) -> dict[str, NDArray[np.bool_]]:
        """What stays where the network may cost so many multiply-adds."""
        if self.mode in SHARES:
            multiples = {group.name: group.multiple_of for group in groups}
            counts = counts_within(SHARES[self.mode], scores, network.macs_if, budget, multiples)
            return {group.name: group.best(scores[group.name], counts[group.name]) for group in groups}
        parts = {group.name: group.part for group in groups}
        with self._asking(run, network, groups, scores, times=STEPS + 2) as error:
            rule = ErrorTolerance(1 / self.images, multiple=self.multiple)
            return rule.keep_within(scores, error, network.macs_if, budget, parts)

    @contextmanager
    def _asking(
        self, run: Run, network: Network, groups: Sequence[Group], scores: Scores, times: int = 1
    ) -> Iterator[Error]:
        """What the error is without some filters, with a bar that ends where a rule asks each layer so many times."""
        error = error_without(run, network, groups, self.images)
        most = times * (1 + sum(len(values).bit_length() for values in scores.values()))
        with run.watch.bar("what the tolerance lets go") as step:
            asked = count(1)

            def shown(keep: Mapping[str, NDArray[np.bool_]]) -> float:
                found = error(keep)
                step(min(next(asked), most), most, f"error {100 * found:.2f} %")
                return found

            yield shown


def _as_deployed(network: Network, groups: Sequence[Group]) -> dict[str, GroupMatrices]:
    """The filters of each group with their batch norms folded in."""
    folded = folded_weights(network)
    return {group.name: matrices_of(group, folded) for group in groups}
