# SPDX-License-Identifier: Apache-2.0
"""Fewer channels: whole filters go, so that arithmetic gets less and the network faster.

A rung asks for a share of the original's multiply-adds, or of its milliseconds as a table of this runtime predicts
them. How many channels each group keeps, none at all included, and which ones: `gossamer.search.widths`; of several
proposals the best by successive halving: `gossamer.search.proposals`. The cut network is tuned from the last accepted
one, distilled from the original. Where latency is the goal, each rung is written twice, in float32 and in int8
arithmetic, and both are timed in the runtime: a rung that is not faster than the original is refused. Where int8 is the
faster one, and only its answers are not good enough, it is trained on its own grids and written once more. Where
working memory is limited each is written twice too: int8 takes a quarter of it. Limits instead of a tolerance
(`fit`): int8 is trained where it keeps them, float32 does not, and its answers are clearly worse.
The file of the best one is made small at last (`same_speed`).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer import container
from gossamer.graph import Network
from gossamer.kinds import Quality
from gossamer.plan import Plan
from gossamer.quantize.folding import settle, settled_names
from gossamer.recipes.same_speed import in_fewer_bits
from gossamer.runtime.as_torch import OnnxModule
from gossamer.runtime.export import export_onnx
from gossamer.runtime.saturation import LARGEST, largest_weight
from gossamer.runtime.torch_operators import NotTrainable
from gossamer.runtime.weights import split_weights
from gossamer.search.candidate import Candidate, finish, in_int8, reopened
from gossamer.search.ladder import AGAIN, climb
from gossamer.search.pace import epochs_in_time, measure_pace, step_seconds, trial_size
from gossamer.search.proposals import cut_and_trained, fitting_seconds
from gossamer.search.run import Run
from gossamer.search.widths import Widths
from gossamer.tuning import Distillation, Diverged, Numerics
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.quantization_aware import on_int8_grids, trained_int8


@dataclass(frozen=True)
class Demand:
    """A rung: at most this share of what the original costs."""

    share: float
    of: str
    again: int = 0

    @property
    def name(self) -> str:
        """Percent of the multiply-adds, or of the time."""
        return f"{100 * self.share:.3g} % of the {self.of}{AGAIN * self.again}"

    def once_more(self) -> Demand:
        """The same under another name."""
        return replace(self, again=self.again + 1)


def demand(run: Run, share: float) -> Demand:
    """So much of what the run's goal is about."""
    return Demand(share, "time" if run.goal.minimise == "latency" else "MACs")


SHARES = (0.92, 0.82, 0.7, 0.5, 0.36, 0.26, 0.19, 0.14)
FIRST = SHARES.index(0.7)  # where too much, the gentler ones are tried
UNCUT = "uncut"
BY_CUTTING = {"macs": "MACs", "latency": "time", "ram": "working memory"}  # limits that fewer channels keep
INT8_SHARE = 0.25  # of a rung's epochs
INT8_GENTLY = 0.01  # of the learning rate: no batch norm holds what is trained, ResNet-20 diverged at 0.1
SETTLED = 1e-3  # relative error of weights that were put back into a network


def between(low: Demand, high: Demand) -> Demand:
    """The demand half-way."""
    return Demand(round((low.share + high.share) / 2, 3), low.of)


def climb_channels(run: Run) -> list[Candidate]:
    """The uncut network in int8 first, then the ladder, then the file of the best."""
    pace = measure_pace(run)

    seconds = run.seconds_of("first candidate", lambda: uncut_written(run))
    safe = int8_trained(run, run.step_folder(0, UNCUT), UNCUT, uncut_written(run), pace.epochs)
    widths = Widths.of(run, int8=safe[-1].plan.int8)
    found = safe + climb(
        run,
        [demand(run, share) for share in SHARES],
        lambda number, demand, previous, epochs: cut_and_tuned(run, widths, number, demand, previous, epochs),
        between=between,
        once_more=Demand.once_more,
        epochs_for=epochs_in_time(run, pace, seconds, choosing_seconds=fitting_seconds(run, widths)),
        first=FIRST,
    )
    return found + in_fewer_bits(run, found)


def uncut_written(run: Run) -> list[Candidate]:
    """The original in every arithmetic that the goal is about, the better one last."""
    return written_forms(run, run.step_folder(0, UNCUT), UNCUT, run.network, Plan())


def cut_and_tuned(
    run: Run, widths: Widths, number: int, demand: Demand, previous: Candidate | None, epochs: int
) -> list[Candidate]:
    """One rung: cut from `previous` (or the original) to what `demand` asks, tuned and written."""
    folder = run.step_folder(number, demand.name)
    if finished := _load_written(run, folder):
        return int8_trained(run, folder, demand.name, finished, epochs)
    trained = cut_and_trained(run, widths, demand.share, previous, folder, demand.name, epochs)
    if trained is None:
        return []
    keep, smaller = trained
    written = written_forms(run, folder, demand.name, smaller, Plan().with_channels(keep))
    return int8_trained(run, folder, demand.name, written, epochs)


def tuned_on(run: Run, number: int, demand: Demand, written: list[Candidate], epochs: int) -> list[Candidate]:
    """The network of a rung, with all that it has learned, tuned for so many epochs more and written as it was.

    Its operators stay, and with them its times: they are taken over from what was `written`.
    """
    folder = run.step_folder(number, demand.name)
    if not (again := _load_written(run, folder)):
        forms = {candidate.plan.int8: candidate for candidate in written}
        network = reopened(run, forms[False])
        run.tune(network.module, (Distillation(),), measure_pace(run).numerics, epochs, folder, demand.name)
        reestimate_batch_norms(network.module, run.calibration_batches())
        again = written_forms(run, folder, demand.name, network, forms[False].plan, forms)
    return int8_trained(run, folder, demand.name, again, epochs)


def int8_trained(run: Run, folder: Path, name: str, written: list[Candidate], epochs: int) -> list[Candidate]:
    """What was written, and the int8 form trained on its grids where that is all it lacks; the better one last.

    It trains for a share of the `epochs` that its rung had.
    """
    forms = {candidate.plan.int8: candidate for candidate in written}
    if not (True in forms and _only_its_answers(run, forms[False], forms[True])):
        return written
    epochs = max(1, round(INT8_SHARE * epochs))
    return _best_last(run, [*written, *trained_on_grids(run, folder, name, forms[False], epochs)])


def trained_on_grids(run: Run, folder: Path, name: str, start: Candidate, epochs: int) -> list[Candidate]:
    """The network of `start` trained on its int8 grids; none, and a note, where time or its operators forbid it."""
    inside = folder / "int8-trained"
    if done := Candidate.load(inside):
        return [done]
    network = reopened(run, start)
    model = export_onnx(network.module, network.example)
    int8 = in_int8(model, run.task)
    numerics = replace(measure_pace(run).numerics, bfloat16=False)  # whose own rounding is as coarse as that of 8 bits
    try:
        module = on_int8_grids(model, int8, settled_names(network), largest_weight(), network.example[0])
        if not run.stage(f"time for {folder.name} in int8", lambda: _has_time(run, module, numerics, epochs)):
            run.note(f"'{name}' was not trained in int8: its {epochs} epochs did not fit into the time")
            return []
        run.tune(module, (Distillation(),), numerics, epochs, folder, f"{name}, int8", "int8", gently=INT8_GENTLY)
        int8, values = trained_int8(int8, module)
        settle(network, split_weights(model)[1], values)
        _check_settled(network, values)
    except (NotTrainable, Diverged) as error:
        run.note(f"'{name}' was not trained in int8: {error}")
        run.forget_training(folder)
        return []
    plan = replace(start.plan, int8=True)
    trained = finish(run, inside, f"{name}, int8 trained", network, plan, model=int8)
    run.forget_training(folder)
    return [trained]


def _has_time(run: Run, module: OnnxModule, numerics: Numerics, epochs: int) -> bool:
    """Whether so many epochs, the candidate after them and as many epochs of the dense control fit into the time."""
    if run.goal.hours is None:
        return True
    size = trial_size(run.task, run.settings)
    step = step_seconds(run.task, copy.deepcopy(module), run.network, run.settings, numerics, (Distillation(),), size)
    epoch = len(run.task.train) / size * step
    written = float(run.stages()["seconds of first candidate"]["value"])
    return run.has_time_for(epochs * epoch * (2 if run.settings.control else 1) + 2 * written)


def _check_settled(network: Network, values: Mapping[str, NDArray[np.float32]]) -> None:
    """What was trained must be what the network exports now, or what is cut from it next would be another network."""
    again = split_weights(export_onnx(network.module, network.example))[1]
    for name, value in values.items():
        if np.abs(np.asarray(again[name], np.float32) - value).max() > SETTLED * max(float(np.abs(value).max()), 1e-30):
            raise NotTrainable(f"expected weights that can be put back into the network, '{name}' cannot")


def _only_its_answers(run: Run, floats: Candidate, int8: Candidate) -> bool:
    """Whether the int8 form would be the better one, were its answers as good as those in float32."""
    if run.goal.fit:
        fits_alone = int8.verdict.accepted and not floats.verdict.accepted
        return fits_alone and clearly_worse(run, int8, floats)
    faster = (int8.speedup or 0.0) > max(1.0, floats.speedup or 0.0)
    return faster and floats.verdict.accepted and not int8.verdict.accepted


def clearly_worse(run: Run, one: Candidate, other: Candidate) -> bool:
    """Whether one is worse than the other on the selection split by more than a standard error of their difference."""
    if one.quality >= other.quality:
        return False
    mine, theirs = (_on_selection(run, candidate).astype(np.float64) for candidate in (one, other))
    differences = theirs - mine
    return bool(differences.mean() > differences.std() / np.sqrt(len(differences)))


def _on_selection(run: Run, candidate: Candidate) -> Quality:
    digest = container.read(candidate.file).payload_sha256
    return run.quality_on(f"selection of {digest[:16]}", run.task.selection, candidate.onnx)


def written_forms(
    run: Run,
    folder: Path,
    name: str,
    network: Network,
    plan: Plan,
    timed: Mapping[bool, Candidate] | None = None,
) -> list[Candidate]:
    """The network as float32 and, where latency or working memory counts, as int8; the better one last.

    `timed`: candidates of the same operators, by whether they are int8, whose times are taken over.
    """
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
        like = timed.get(int8) if timed else None
        form = replace(plan, int8=int8)
        found.append(done or finish(run, inside, f"{name}, {variant}", network, form, timed_as=like))
    return _best_last(run, found)


def _load_written(run: Run, folder: Path) -> list[Candidate]:
    """What `written_forms` returned, if all of it is there."""
    found = [Candidate.load(folder / variant) for variant in _variants(run)]
    complete = [candidate for candidate in found if candidate is not None]
    return _best_last(run, complete) if len(complete) == len(found) else []


def _variants(run: Run) -> tuple[str, ...]:
    wanted = run.goal.minimise == "latency" or "ram" in run.goal.fit
    return ("float32", "int8") if wanted else ("float32",)


def _best_last(run: Run, found: list[Candidate]) -> list[Candidate]:
    """Accepted after refused, nearer its limits after farther from them, faster after slower.

    Limits that only fewer channels can keep come before that of bytes. Where there are limits, better after worse
    comes before faster after slower: what keeps them need not be faster.
    """

    def worth(candidate: Candidate) -> tuple[bool, float, float, float, float]:
        by_cutting, by_any = (missed_limits(run, candidate, names) for names in (BY_CUTTING, run.goal.fit))
        quality = candidate.quality if run.goal.fit and candidate.verdict.accepted else 0.0
        return candidate.verdict.accepted, -by_cutting, -by_any, quality, candidate.speedup or 0.0

    return sorted(found, key=worth)


def missed_limits(run: Run, candidate: Candidate, names: Collection[str]) -> float:
    """How many times the worst of these limits a candidate is, or 0 where it keeps them all."""
    exceeded = run.goal.exceeded(candidate.limited(run))
    return max((times for name, times in exceeded.items() if name in names), default=0.0)
