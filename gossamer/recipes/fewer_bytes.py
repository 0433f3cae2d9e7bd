# SPDX-License-Identifier: Apache-2.0
"""Fewer bytes: a ladder of bits per weight, trained on the bits that the file will need.

A rung asks for so many coded bits a weight. Its network is tuned from the last accepted one (from the original first)
under a rate penalty, with the grids learned beside the weights, distilled from the original; batch norms are
re-estimated with the weights that the file will hold, and it is written. Zeros, coarse grids and dead filters are not
asked for: they come out of the bits.

Integers are of the original's folded weights in every rung; its fold factors stay the frame of all grids, so a rung
starts from the very integers that the last one ended with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gossamer.coding.costs import coded_bits, costs
from gossamer.data.splits import hold_out
from gossamer.graph import Layer
from gossamer.plan import LayerPlan, Plan
from gossamer.quantize.folding import fold_factors
from gossamer.quantize.integers import fine_units
from gossamer.runtime.weights import split_weights
from gossamer.search.candidate import Candidate, finish
from gossamer.search.ladder import climb
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.tuning import Distillation, RatePenalty
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.checkpoint import load_weights

UNTRAINED_COARSENESS = 0.08
PROBED = tuple(0.125 * 2 ** (n / 4) for n in range(24))  # coarseness of the grids that the probe tries
PROBE_IMAGES, PROBE_DROP = 1000, 0.05
GAINED_BY_TRAINING = 0.8  # of the bits that an untrained grid needs at PROBE_DROP, what a first rung may ask for


@dataclass(frozen=True)
class Demand:
    """A rung: so many coded bits per weight."""

    bits: float

    @property
    def name(self) -> str:
        """As it is printed and as its folder is called."""
        return f"{self.bits:.3g} bits a weight"


LADDER = tuple(Demand(float(f"{3 * 0.84**rung:.2g}")) for rung in range(30))  # 3 down to 0.02: 10x to 1,600x


def between(low: Demand, high: Demand) -> Demand:
    """The demand half-way, in proportion."""
    return Demand(float(f"{np.sqrt(low.bits * high.bits):.3g}"))


def climb_bytes(run: Run) -> list[Candidate]:
    """The untrained fine-grid file first, then the ladder from the first rung that training can be trusted with."""
    pace = measure_pace(run)
    seconds = run.seconds_of("first candidate", lambda: _fine_grid(run))
    safe = _fine_grid(run)
    first = run.stage("first-rung", lambda: _first_rung(run))
    tuned = climb(
        run,
        LADDER,
        lambda number, demand, previous, epochs: [_tuned(run, number, demand, previous, epochs)],
        between=between,
        epochs_for=epochs_in_time(run, pace, seconds),
        first=first,
    )
    return [safe, *tuned]


def _fine_grid(run: Run) -> Candidate:
    """Nothing trained, nothing zeroed: grids so fine that hardly an answer changes. There within seconds."""
    folder = run.step_folder(0, "fine-grid")
    if done := Candidate.load(folder):
        return done
    weights, coded = split_weights(run.original_onnx())[1], coded_layers(run)
    units = fine_units({layer.name: weights[layer.name] for layer in coded}, UNTRAINED_COARSENESS)
    steps = {name: LayerPlan(step=float(unit[0])) for name, unit in units.items()}
    network = run.network.copy()  # its weights on their grids, so that what is stored is what the file computes
    values = network.module.state_dict()
    for name, factor in fold_factors(coded, values).items():
        unit = torch.from_numpy(units[name]) / factor
        values[name].copy_(torch.round(values[name] / unit) * unit)
    return finish(run, folder, "fine grid, untrained", network, Plan().with_layers(steps), units)


def coded_layers(run: Run) -> list[Layer]:
    """The layers whose weights stand in the exported graph under their own names; the others stay float32."""
    exported = split_weights(run.original_onnx())[1]
    found = [layer for layer in run.network.layers if layer.name in exported]
    if others := sorted({layer.name for layer in run.network.layers} - {layer.name for layer in found}):
        run.note(f"weights that the network computes from its parameters stay float32: {', '.join(others)}")
    return found


def _tuned(run: Run, number: int, demand: Demand, previous: Candidate | None, epochs: int) -> Candidate:
    """One rung: tuned from `previous` (or the original) to the bits that `demand` asks for."""
    folder = run.step_folder(number, demand.name)
    if done := Candidate.load(folder):
        return done
    network, coded = run.network.copy(), coded_layers(run)
    factors = fold_factors(coded, network.module.state_dict())
    start: dict[str, float] = {}
    if previous is not None:
        load_weights(previous.folder / "weights.safetensors", network.module)
        start = {name: layer.step for name, layer in previous.plan.layers.items() if layer.step is not None}
    penalty = RatePenalty(factors, costs, target=demand.bits, start=start)
    plugs = (penalty, Distillation())
    effective = run.tune(network.module, plugs, measure_pace(run).numerics, epochs, folder, demand.name)
    reestimate_batch_norms(network.module, run.calibration_batches(), effective)
    network.module.load_state_dict(effective, strict=False)
    now = fold_factors(coded, network.module.state_dict())
    steps = {name: float(penalty.unit(name)) for name in factors}
    units = {name: (steps[name] / factors[name] * now[name]).abs().numpy() for name in factors}
    layers = {
        name: LayerPlan(sparsity=float((effective[name] == 0).float().mean()), step=step)
        for name, step in steps.items()
    }
    return finish(run, folder, demand.name, network, Plan().with_layers(layers), units)


def _first_rung(run: Run) -> int:
    """The first rung that asks for GAINED_BY_TRAINING of the bits at which plain rounding costs PROBE_DROP.

    Weights are rounded to grids without training; the coarsest that a probe of the selection split bears is found by
    halving, as if every coarser one were worse.
    """
    task, module = run.task, run.network.copy().module
    probe = hold_out(task.selection, min(PROBE_IMAGES, len(task.selection)))[1]  # of all classes, unlike the first
    original = run.network.module.state_dict()
    factors = fold_factors(coded_layers(run), original)

    def quality(weights: Mapping[str, Tensor]) -> float:
        module.load_state_dict({**original, **weights})
        reestimate_batch_norms(module, run.calibration_batches())
        module.eval()
        with torch.no_grad():
            right = [
                task.right(module(images).numpy(), targets.numpy()).sum()
                for images, targets in task.batches(probe, 100)
            ]
        return float(sum(right)) / len(probe)

    def rounded(coarseness: float) -> tuple[dict[str, Tensor], float]:
        changed, bits, count = {}, 0.0, 0
        for name, factor in factors.items():
            folded = original[name] * factor
            step = coarseness * (float(folded.square().mean().sqrt()) or 1.0)
            integers = torch.round(folded / step)
            changed[name] = integers * step / factor
            bits += coded_bits(integers.to(torch.int32).numpy())
            count += integers.numel()
        return changed, bits / count

    whole = quality({})
    borne, refused = -1, len(PROBED)
    while refused - borne > 1:
        middle = (borne + refused) // 2
        if whole - quality(rounded(PROBED[middle])[0]) <= PROBE_DROP:
            borne = middle
        else:
            refused = middle
    bits = GAINED_BY_TRAINING * rounded(PROBED[max(borne, 0)])[1]
    return next((number for number, rung in enumerate(LADDER) if rung.bits <= bits), len(LADDER) - 1)
