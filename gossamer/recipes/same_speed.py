# SPDX-License-Identifier: Apache-2.0
"""Same speed, fewer bytes: what a network with few channels leaves of the tolerance goes into its file.

The time of a network does not depend on the values of its weights. So the best network of a search for less time or
arithmetic is rounded by output error and bits (`gossamer.quantize.post_training`), ever more strongly until the
selection split refuses; its operators stay, and with them its time. In int8 arithmetic the grid of a weight may be
coarser than 8 bits need: its scale is the step then, its integers are small, and the file codes them in few bits.

    W ~ D q    |q| <= 127    float32: the file keeps q, the runtime reads D q    int8: both keep q, D is the scale

Cost: no training; a pass over a few hundred images and a candidate for each strength.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gossamer import container
from gossamer.graph import Network
from gossamer.plan import Plan
from gossamer.recipes.post_training import FIRST, MOST, Rounding, plan_of
from gossamer.runtime.export import export_onnx
from gossamer.search.candidate import Candidate, Units, finish, in_int8, reopened, step_of
from gossamer.search.pace import measure_pace, seconds_at_the_end, tuned_epochs
from gossamer.search.run import Run

IMAGES = 500  # that calibrate


def in_fewer_bits(run: Run, found: Sequence[Candidate]) -> list[Candidate]:
    """The best of what was found, rounded; every strength that was tried, in this order. None where nothing was good.

    It ends where the selection split refuses, where rounding gains nothing any more, and with the time.
    """
    accepted = [candidate for candidate in found if candidate.verdict.accepted]
    if not accepted:
        return []
    best = min(accepted, key=lambda candidate: candidate.rank(run.goal.minimise))
    number = 1 + max(step_of(run, candidate.folder) for candidate in found)
    rounded: list[Candidate] = []
    rounding: Rounding | None = None
    strength, smallest = FIRST, best.sizes.coded
    while strength <= MOST:
        name = f"{best.name}, strength {strength:.3g}"
        folder = run.step_folder(number + len(rounded), name)
        candidate = Candidate.load(folder)
        if candidate is None:
            if not run.has_time_for(_seconds_of_one_more(run, len(accepted) + len(rounded))):
                run.note(f"no time was left to make the file of '{best.name}' {'still ' * bool(rounded)}smaller")
                break
            if rounding is None:
                rounding = Rounding.of(run, reopened(run, best), IMAGES)
            candidate = written(run, folder, name, *rounding.at(strength), best)
        rounded.append(candidate)
        if not candidate.verdict.accepted or candidate.sizes.coded >= smallest < best.sizes.coded:
            break
        smallest = min(smallest, candidate.sizes.coded)
        strength *= 2
    return rounded


def _seconds_of_one_more(run: Run, accepted: int) -> float:
    """Of a rounded candidate after so many, and of what must still come: the test split, and the dense control."""
    candidate = 2 * float(run.stages()["seconds of first candidate"]["value"])  # statistics, and a file
    control = tuned_epochs(run) * measure_pace(run).epoch_seconds if run.settings.control else 0.0
    return seconds_at_the_end(run, accepted, candidate) + control


def as_int8(run: Run, candidate: Candidate) -> Candidate:
    """A candidate whose weights lie on grids, in int8 arithmetic on the same grids."""
    folder, name = candidate.folder / "int8", f"{candidate.name}, int8"
    if done := Candidate.load(folder):
        return done
    stored = container.read(candidate.file).payload.tensors
    units = {tensor.name: tensor.unit_along() for tensor in stored if tensor.integers is not None}
    return _in_int8(run, folder, name, reopened(run, candidate), units, candidate.plan)


def written(run: Run, folder: Path, name: str, network: Network, units: Units, like: Candidate) -> Candidate:
    """A rounded network in the arithmetic of the one that it was rounded from, whose times are its own."""
    plan = plan_of(units).with_channels(like.plan.keep())
    if like.plan.int8:
        return _in_int8(run, folder, name, network, units, plan, timed_as=like)
    return finish(run, folder, name, network, plan, units, timed_as=like)


def _in_int8(
    run: Run, folder: Path, name: str, network: Network, units: Units, plan: Plan, timed_as: Candidate | None = None
) -> Candidate:
    """A network whose weights lie on grids of these units; they become the scales of its integers."""
    scales = {weight: unit.reshape(-1) for weight, unit in units.items()}
    model = in_int8(export_onnx(network.module, network.example), run.task, scales)
    return finish(run, folder, name, network, replace(plan, int8=True), model=model, timed_as=timed_as)
