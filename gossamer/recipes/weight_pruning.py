# SPDX-License-Identifier: Apache-2.0
"""weight-pruning: any method of zeroing weights, before training or during it, for comparisons on equal terms.

    one-shot   zeroed at once by a method of `gossamer.weights`, then trained, zeros fixed; a ladder of these is the
               iterative pruning of Han et al. 2015
    gradual    zeros grow along a cubic schedule                (`gossamer.tuning.sparsify`)
    surgery    off and on again by thresholds set at the start  (`gossamer.tuning.dynamic_surgery`)
    untrained  zeroed at once; batch norms are re-estimated, nothing is trained

Cost: a training of `--epochs` for each rung; untrained, a pass over some hundred images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from gossamer import weights
from gossamer.graph import Layer, MatrixForm, Network, walk
from gossamer.near import meant
from gossamer.quantize.folding import fold_factors
from gossamer.quantize.post_training import MOST_COLUMNS
from gossamer.quantize.second_order import moments
from gossamer.recipes.post_training import calibration_batches
from gossamer.recipes.prune_weights import WEIGHT_DECAY, Pruning, Zeros, asked, climb_weights
from gossamer.search.candidate import Candidate
from gossamer.search.run import Run
from gossamer.tuning import DynamicSurgery, FixedZeros, Plug, Sparsify
from gossamer.tuning.plug import inputs_first, sides_exchanged
from gossamer.weights import pruned

WAYS = ("one-shot", "gradual", "surgery", "untrained")


@dataclass(frozen=True)
class WeightPruning:
    """`method`: of `gossamer.weights`; `scope`, where it has one, over what its threshold is shared;
    empty for the method's usual one. `way`: see above.

    `kept`: the share of weights that stays; 0 climbs a ladder. `pruning`: the share of epochs before zeros are fixed, a
    training of its own. `distil`: learn the original's outputs too. `images`: that methods see which ask what enters
    the layers.
    """

    method: str = "magnitude"
    scope: str = ""
    way: str = "one-shot"
    kept: float = 0.0
    pruning: float = 0.6
    distil: bool = False
    weight_decay: float = WEIGHT_DECAY
    images: int = 500

    def __post_init__(self) -> None:
        for what, known in (("method", tuple(weights.METHODS)), ("way", WAYS)):
            if (got := getattr(self, what)) not in known:
                raise ValueError(
                    f"{what} of weight-pruning must be one of {', '.join(known)}, got '{got}'{meant(got, known)}"
                )
        if self.images < 1:
            raise ValueError(f"images of weight-pruning must be at least 1, got {self.images}")
        if self.way in ("gradual", "surgery") and self.method != "magnitude":
            raise ValueError(f"way={self.way} of weight-pruning goes by magnitude, got method={self.method}")
        if self.scope and (self.way == "surgery" or not self._scoped):
            what = "way=surgery" if self.way == "surgery" else f"method={self.method}"
            raise ValueError(f"expected no scope of weight-pruning with {what}, got '{self.scope}'; leave it out")
        if self.distil and self.way == "untrained":
            raise ValueError("expected no distil of weight-pruning with way=untrained; leave one of the two out")
        self._method()
        self._pruning()

    @property
    def _scoped(self) -> bool:
        methods: Mapping[str, Any] = weights.METHODS
        return "scope" in {field.name for field in fields(methods[self.method])}

    def _method(self) -> Any:
        methods: Mapping[str, Any] = weights.METHODS
        return methods[self.method](**({"scope": self.scope} if self.scope else {}))

    def _pruning(self) -> Pruning:
        return Pruning(
            self._plug,
            only=asked(self.kept),
            share=self.pruning,
            distil=self.distil,
            weight_decay=self.weight_decay,
            trained=self.way != "untrained",
        )

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        return climb_weights(run, "weight-pruning", self._pruning())

    def _plug(self, run: Run, network: Network, layers: Sequence[Layer], zeros: Zeros) -> Plug:
        names, sides = [layer.name for layer in layers], inputs_first(layers)
        if self.way == "surgery":
            return DynamicSurgery(names, target=zeros.target, seed=run.settings.seed, inputs_first=sides)
        if self.way == "gradual":
            factors = fold_factors(layers, network.tensors)
            return Sparsify(
                factors,
                start=zeros.start,
                final=zeros.target,
                ramp=0.9,
                method=self._method(),
                inputs_first=sides,
            )
        method = self._method()
        if method.needs == "inputs":
            found = _with_inputs(run, network, layers, method, zeros.target, self.images)
        else:
            found = _by_weights(network, names, sides, method, zeros.target)
        with torch.no_grad():
            for name, value in found.items():
                network.tensors[name].copy_(value)
        return FixedZeros({name: value != 0 for name, value in found.items()})


def _by_weights(
    network: Network, names: Sequence[str], sides: Mapping[str, int], method: Any, sparsity: float
) -> dict[str, torch.Tensor]:
    """Pruned weights by name; the method sees them with their filters first, `sides` as in `plug.alive`."""
    tensors = {name: network.tensors[name].detach() for name in names}
    turned = {name: sides_exchanged(tensors[name], groups) for name, groups in sides.items()}
    after = pruned(method, {name: value.numpy() for name, value in (tensors | turned).items()}, sparsity)
    found = {name: torch.from_numpy(value) for name, value in after.items()}
    return found | {name: sides_exchanged(found[name], groups) for name, groups in sides.items()}


def _with_inputs(
    run: Run, network: Network, layers: Sequence[Layer], method: Any, sparsity: float, images: int
) -> dict[str, torch.Tensor]:
    """Pruned weights by name, by a method that sees what enters the layers.

    Where a batch norm follows, or is to be estimated anew, only the spread of what enters counts.
    """
    normed = {layer.name: layer.norm is not None for layer in layers}
    forms: dict[str, MatrixForm] = {}
    inputs = {}
    network.module.eval()
    for stop in walk(network, calibration_batches(network, run.task, images, run.note)):
        name = stop.use.layer
        if name in normed and name not in forms:
            form = stop.use.form
            forms[name] = form.in_pieces(form.matrices(network.tensors[name]).shape[2], MOST_COLUMNS)
            found = moments(forms[name], stop.inputs, stop.inputs)
            inputs[name] = (found if normed[name] else found.about_zero()).own.numpy()
    tensors = {name: network.tensors[name].detach() for name in forms}
    matrices = {name: forms[name].matrices(tensor).double().numpy() for name, tensor in tensors.items()}
    after = pruned(method, matrices, sparsity, inputs)
    return {
        name: forms[name].weight(torch.from_numpy(value), tensors[name].shape).float() for name, value in after.items()
    }
