# SPDX-License-Identifier: Apache-2.0
"""Active stepwise pruning: prune along a logarithm, train, take back what was pruned wrongly; again.

Paper: Wang, Xing, Liu, "Active stepwise pruning", International Journal of Computational Science and Engineering 22(4),
2020, 420-430; its masks with gradients come from Y. Guo, A. Yao, Y. Chen, "Dynamic Network Surgery for Efficient DNNs",
NeurIPS 2016, arXiv 1608.04493. With P the target, k the curvature and T epochs, in epoch e:

    P_e = P ln(1 + k e) / ln(1 + k T)
    prune    the smallest weights of each layer go until P_e of them are off; the largest that goes is its threshold
    train    forward with the mask, gradients to all weights, decay only of those that are on
    repair   what is off and has grown beyond 1.1 thresholds is on again

Cost: a sort of the weights an epoch, a product a weight and step.

Differs from the paper: reconstructed from its abstract.
1. The reading above: the intensity is the share of zeros. In the other one, `reading="threshold"`, the thresholds grow
   along the logarithm, up to those that would bring P at the start, and the zeros are what comes of it. In units of its
   spread a layer's last threshold is therefore its own quantile, not one factor for all layers.
2. What is repaired makes as many of the smallest go, at the very end too, so that P_e and P hold. Pruning itself never
   switches anything on: a weight between its threshold and the margin stays off.
3. A filter that is off as a whole gets no gradient, as `plug.StraightThrough` says why.
4. From `start` zeros on, a network that was pruned before goes the rest of the way along the same curve.
5. `schedule`, `recovery` and `scope` are for comparisons: linear, cubic (M. Zhu, S. Gupta, 2017, arXiv 1710.01878) or
   all at once; nothing comes back; one threshold for all layers, in units of their root mean squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from gossamer.near import meant
from gossamer.tuning.plug import Clock, Plug, Weights, zeroed

#: (epochs begun, of how many, curvature) -> share of the target, 1 in the last epoch.
SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "logarithmic": lambda e, of, curvature: math.log1p(curvature * e) / math.log1p(curvature * of),
    "linear": lambda e, of, curvature: e / of,
    "cubic": lambda e, of, curvature: 1 - (1 - e / of) ** 3,
    "at-once": lambda e, of, curvature: 1.0,
}
READINGS, SCOPES = ("share", "threshold"), ("layer", "scaled")
EVERYWHERE = "everywhere"  # the pool of all layers, where they share one threshold


class ActiveStepwise(Plug):
    """Bring the named weights from `start` to `target` zeros, a step at the beginning of each epoch.

    `gentle`: shares of the target for some layers. `weight_decay`: the loop's, taken back from what is off, which could
    never return otherwise. `inputs_first` as in `plug.alive`.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        target: float,
        start: float = 0.0,
        curvature: float = 9.0,
        schedule: str = "logarithmic",
        reading: str = "share",
        scope: str = "layer",
        recovery: bool = True,
        margin: float = 1.1,
        gentle: Mapping[str, float] | None = None,
        weight_decay: float = 0.0,
        inputs_first: Mapping[str, int] | None = None,
    ) -> None:
        if not 0 <= start <= target < 1:
            raise ValueError(f"expected 0 <= start <= target < 1 of the weights, got {start} and {target}")
        if curvature <= 0 or margin < 1:
            raise ValueError(f"curvature must be positive and margin at least 1, got {curvature} and {margin}")
        for what, got, known in (
            ("schedule", schedule, SCHEDULES),
            ("reading", reading, READINGS),
            ("scope", scope, SCOPES),
        ):
            if got not in known:
                raise ValueError(f"{what} must be one of {', '.join(known)}, got '{got}'{meant(got, known)}")
        self.names = list(names)
        self.target, self.start, self.curvature, self.schedule = target, start, curvature, schedule
        self.reading, self.recovery, self.margin = reading, recovery, margin
        self.gentle, self.weight_decay = dict(gentle or {}), weight_decay
        one = {EVERYWHERE: self.names} if scope == "scaled" else {name: [name] for name in self.names}
        self.pools = {pool: names for pool, names in one.items() if names}
        self.inputs_first = dict(inputs_first or {})
        self.keep: dict[str, Tensor] = {}
        self.thresholds: dict[str, float] = {}
        self.full: dict[str, float] = {}  # thresholds that would bring the target at the start
        self.pruned_in, self.recovered = -1, 0  # the epoch, from 0 on; how many weights came back, and stayed
        self._words = ""

    def intensity(self, epoch: int, epochs: int) -> float:
        """The share of zeros wanted in an epoch, from 0 on."""
        done = SCHEDULES[self.schedule](epoch + 1, epochs, self.curvature)
        return self.start + (self.target - self.start) * done

    def before_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Repair and prune where an epoch begins."""
        epoch, epochs = clock.step // clock.steps_per_epoch, max(1, clock.steps // clock.steps_per_epoch)
        if epoch == self.pruned_in or not all(bool(weights[name].isfinite().all()) for name in self.names):
            return  # training has diverged: the loss of this very step will say so
        self.pruned_in = epoch
        self._cycle(weights, self.intensity(epoch, epochs))

    def after_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """The last repair, and what it makes go."""
        if clock.step + 1 == clock.steps:
            self._cycle(weights, self.target)

    def _cycle(self, weights: Mapping[str, Tensor], intensity: float) -> None:
        """Repair, then prune to `intensity`."""
        self.full = self.full or self._full(weights)
        count = 0
        for pool, names in self.pools.items():
            scores = self._scores(pool, names, weights)
            off = ~torch.cat([self._keep(name, weights).flatten() for name in names])
            back = off & (scores > self.margin * self.thresholds.get(pool, math.inf))
            if self.recovery:
                off &= ~back
            goes = self._goes(pool, scores, off, intensity)
            if goes.any():
                self.thresholds[pool] = float(scores[goes].max())
            off |= goes
            self.recovered += int((back & ~off).sum())
            count += int(off.sum())
            for name, keep in zip(names, torch.split(~off, [weights[name].numel() for name in names]), strict=True):
                self.keep[name] = keep.reshape(weights[name].shape)
        self._words = f"{100 * count / max(1, sum(weights[name].numel() for name in self.names)):.1f} % zero"

    def _goes(self, pool: str, scores: Tensor, off: Tensor, intensity: float) -> Tensor:
        """Which weights of a pool that are on go, bool (weights,)."""
        goes = torch.zeros_like(off)
        if self.reading == "threshold":
            return ~off & (scores < self.full[pool] * intensity / self.target) if self.target else goes
        more = round(intensity * self.gentle.get(pool, 1.0) * len(scores)) - int(off.sum())
        if more > 0:
            goes[torch.where(off, math.inf, scores).argsort(stable=True)[:more]] = True
        return goes

    def _full(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        found = {}
        for pool, names in self.pools.items():
            scores = self._scores(pool, names, weights)
            place = round(self.target * self.gentle.get(pool, 1.0) * len(scores))
            found[pool] = float(scores.sort().values[place - 1]) if place else 0.0
        return found

    def _scores(self, pool: str, names: list[str], weights: Mapping[str, Tensor]) -> Tensor:
        """Magnitudes, (weights of the pool,); of several layers in units of their root mean squares."""
        parts = [weights[name].detach().abs().flatten() for name in names]
        if pool == EVERYWHERE:
            parts = [part / part.square().mean().sqrt().clamp(min=1e-30) for part in parts]
        return torch.cat(parts)

    def _keep(self, name: str, weights: Mapping[str, Tensor]) -> Tensor:
        weight = weights[name]
        if name not in self.keep:
            self.keep[name] = torch.ones_like(weight, dtype=torch.bool)
        return self.keep[name].to(weight.device)

    def transform(self, weights: Weights) -> Weights:
        """Zeros where a weight is off, gradients everywhere."""
        return weights | zeroed(weights, self.keep, self.inputs_first)

    def after_backward(self, weights: Mapping[str, Tensor]) -> None:
        """No decay of what is off."""
        if not self.weight_decay:
            return
        for name, keep in self.keep.items():
            weight = weights[name]
            if weight.grad is not None:
                weight.grad -= self.weight_decay * weight.detach() * ~keep.to(weight.device)

    def words(self) -> str:
        """How many are zero."""
        return self._words

    def state(self) -> Weights:
        """Masks by weight name, thresholds by pool, the epoch and the count."""
        state = {f"keep/{name}": keep.to(torch.uint8) for name, keep in self.keep.items()}
        state["counts"] = torch.tensor([self.pruned_in, self.recovered])
        for what, values in (("threshold", self.thresholds), ("full", self.full)):
            state |= {f"{what}/{pool}": torch.tensor(value, dtype=torch.float64) for pool, value in values.items()}
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        parts: dict[str, dict[str, Tensor]] = {"keep": {}, "threshold": {}, "full": {}}
        for key, value in state.items():
            what, _, name = key.partition("/")
            if name:
                parts[what][name] = value
        self.keep = {name: keep.bool() for name, keep in parts["keep"].items()}
        self.thresholds = {pool: float(value) for pool, value in parts["threshold"].items()}
        self.full = {pool: float(value) for pool, value in parts["full"].items()}
        self.pruned_in, self.recovered = (int(count) for count in state["counts"])
