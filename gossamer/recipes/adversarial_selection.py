# SPDX-License-Identifier: Apache-2.0
"""adversarial-selection: channels get factors, trained against a discriminator; one of the epochs' networks is chosen.

Paper: Y. Wei, Y. Chen (AMAS), Circuits, Systems, and Signal Processing 40, 2021, 4127-4143,
doi 10.1007/s00034-021-01668-y, after S. Lin et al. (GAL), CVPR 2019, arXiv 1903.09291.

    align    the network, its channels times factors, learns the original's outputs, without labels
             (`gossamer.tuning.adversarial_alignment`); after each epoch: channels off, and quality
    choose   the epoch of the best harmonic mean of both            (`gossamer.rates.harmonic_mean`)
    tune     what is left, with labels; or aligned as before, with labels too; or by distillation

Cost: a training of `--epochs` for each rung, an evaluation for each of its aligning epochs.

Differs from the paper: reconstructed from its abstract; what is read into it is listed in these two files.
1. Rungs pull the factors harder and harder, each from the original; the selection split decides which is kept.
2. `tuning` "adversarial" is its adversarial fine-tuning in one reading: the alignment without factors, plus the task's
   loss; a dense control of it is distilled. In the other, "adversarial" means the two opposing indicators.
3. Only layers that no sum ties to others are cut. A branch whose channels are all off leaves the network, where it may
   end; elsewhere its last channel stays.
4. With `macs`, the channels of the smallest factors go, of all layers together, until that share of the multiply-adds
   is left, whether they are off or not; the epoch of the best quality is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from gossamer.files import write_atomically
from gossamer.graph import Group, Network
from gossamer.graph.aliases import distinct
from gossamer.plan import Plan
from gossamer.rates import Global, HarmonicMean, counts_within
from gossamer.recipes.cut_filters import TUNINGS, uncut_first, without
from gossamer.recipes.fine_grids import on_fine_grid
from gossamer.search.candidate import Candidate
from gossamer.search.evidence import untied
from gossamer.search.ladder import climb
from gossamer.search.pace import measure_pace
from gossamer.search.run import Run
from gossamer.search.widths import Keep
from gossamer.tuning import AdversarialAlignment, Distillation, Plug
from gossamer.tuning.adversarial_alignment import answer_width
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.checkpoint import put
from gossamer.tuning.gates import fold_in, reading

FLOOR = 0.05  # of a group's channels stays, where a share of the multiply-adds is asked for
OWN_PULL = 1.0  # there, where no other is given
HOW = (*TUNINGS[:2], "adversarial")
PULLS = (0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)


@dataclass(frozen=True)
class Pull:
    """A rung: how far factors that no loss holds are pulled down from 1."""

    pull: float

    @property
    def name(self) -> str:
        """The pull."""
        return f"pull {self.pull:.3g}"


@dataclass(frozen=True)
class AdversarialSelection:
    """`pull`: one alone, 0 for the ladder. `aligning`: share of the epochs; `mean`: how both indicators meet.

    `macs`: the share of multiply-adds that is left, at one pull; 0 leaves it to the factors.
    """

    pull: float = 0.0
    macs: float = 0.0
    aligning: float = 0.5
    fidelity: float = 1.0
    mean: str = "harmonic"
    tuning: str = "labels"

    def __post_init__(self) -> None:
        if not 0 < self.aligning < 1:
            raise ValueError(f"aligning of adversarial-selection must be in (0, 1), got {self.aligning}")
        if self.tuning not in HOW:
            raise ValueError(f"tuning must be one of {', '.join(HOW)}, got '{self.tuning}'")
        if not 0 <= self.macs < 1:
            raise ValueError(
                f"macs of adversarial-selection must be a share in (0, 1), or 0 for a ladder, got {self.macs}"
            )
        if self.pull < 0:
            raise ValueError(f"pull of adversarial-selection must be positive, or 0 for a ladder, got {self.pull}")
        HarmonicMean(self.mean)

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried, from conservative to aggressive."""
        run.goal.must_be_a_tolerance("adversarial-selection")
        uncut, epochs_for = uncut_first(run)
        return uncut + climb(
            run,
            [Pull(pull) for pull in self._pulls()],
            lambda number, rung, previous, epochs: self._rung(run, number, rung, epochs),
            between=lambda low, high: Pull((low.pull + high.pull) / 2),
            epochs_for=epochs_for,
        )

    def _pulls(self) -> tuple[float, ...]:
        if self.macs:
            return (self.pull or OWN_PULL,)
        return (self.pull,) if self.pull else PULLS

    def _tuning(self, run: Run, width: int) -> tuple[Plug, ...]:
        """What plugs into the training after the cut."""
        if self.tuning == "adversarial":
            seed = run.settings.seed
            return (AdversarialAlignment((), width, fidelity=self.fidelity, seed=seed, labelled=True),)
        return (Distillation(),) if self.tuning == "distillation" else ()

    def _rung(self, run: Run, number: int, rung: Pull, epochs: int) -> list[Candidate]:
        """Align, choose an epoch, cut, tune."""
        folder, numerics = run.step_folder(number, rung.name), measure_pace(run).numerics
        if done := Candidate.load(folder):
            _forget_epochs(folder)
            return [done]
        if epochs == 1:
            run.note(
                f"'{rung.name}' was left out: it needs an epoch before the cut and one after it, there was time for one"
            )
            return []
        network, groups = run.network.copy(), untied(run.network)
        aligning = min(epochs - 1, max(1, round(self.aligning * epochs)))

        def keep_epoch(epoch: int, weights: Mapping[str, Tensor], factors: Mapping[str, Tensor]) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            stored = {f"weights/{name}": value for name, value in distinct(network.module.state_dict()).items()}
            stored |= {f"factors/{name}": value for name, value in factors.items()}
            whole = save({name: value.detach().cpu().contiguous() for name, value in stored.items()})
            write_atomically(_epoch(folder, epoch), whole)

        with torch.no_grad():
            width = answer_width(network.module.eval()(run.task.example))
        plug = AdversarialAlignment(
            groups, width, rung.pull, self.fidelity, seed=run.settings.seed, after_epoch=keep_epoch
        )
        words = f"{rung.name}, aligned"
        run.tune(network.module, (plug,), numerics, aligning, folder, words, "aligning", preparing=True)
        network = self._chosen(run, rung, folder, network, groups, aligning)
        run.tune(network.module, self._tuning(run, width), numerics, epochs - aligning, folder, rung.name)
        reestimate_batch_norms(network.module, run.calibration_batches())
        candidate = on_fine_grid(run, folder, rung.name, network, Plan().with_channels(network.kept))
        _forget_epochs(folder)
        return [candidate]

    def _chosen(
        self, run: Run, rung: Pull, folder: Path, network: Network, groups: Sequence[Group], epochs: int
    ) -> Network:
        """The network of the epoch that is both much pruned and good, without the channels that are off."""

        def reached(epoch: int) -> tuple[Network, Keep]:
            """As it was after an epoch, factors folded into what reads the channels; and which channels are on."""
            stored = load_file(_epoch(folder, epoch))
            found = network.copy()
            state = {name.partition("/")[2]: value for name, value in stored.items() if name.startswith("weights/")}
            put(state, found.module, _epoch(folder, epoch))
            factors = {group.name: stored[f"factors/{group.name}"] for group in groups}
            numbers = {name: value.numpy() for name, value in factors.items()}
            keep = self._largest(run, groups, numbers) if self.macs else channels_on(run.network, groups, numbers)
            for group in groups:
                # one that is kept though it is off, so that the network stays whole, is kept as it was
                kept_off = torch.from_numpy(keep[group.name]) & (factors[group.name] <= 0) & (not self.macs)
                fold_in(found.tensors, reading(group), torch.where(kept_off, 1.0, factors[group.name]))
            reestimate_batch_norms(found.module, run.calibration_batches())
            return found, keep

        def measure() -> list[tuple[int, float]]:
            pairs = []
            for epoch in range(1, epochs + 1):
                found, keep = reached(epoch)
                quality = run.selection_quality(without(run, found, keep).module)
                pairs.append((sum(int((~row).sum()) for row in keep.values()), quality))
            return pairs

        pairs = run.stage(f"epochs of {folder.name}", measure)
        pruned, quality = zip(*pairs, strict=True)
        original = float(run.original_quality().mean())
        chosen = 1 + (
            int(np.argmax(quality)) if self.macs else HarmonicMean(self.mean).choose(pruned, quality, original)
        )
        run.note(
            f"{rung.name}: of {epochs} epochs number {chosen} is taken, {pruned[chosen - 1]} channels off at "
            f"{100 * quality[chosen - 1]:.2f} % before tuning"
        )
        return without(run, *reached(chosen))

    def _largest(self, run: Run, groups: Sequence[Group], factors: Mapping[str, NDArray[np.floating]]) -> Keep:
        """The channels of the largest factors, of all groups together, within the share of multiply-adds."""
        multiples = {group.name: group.multiple_of for group in groups}
        rule, budget = Global(floor=FLOOR), self.macs * run.network.macs
        counts = counts_within(rule, factors, run.network.macs_if, budget, multiples)
        return {group.name: group.best(factors[group.name], counts[group.name]) for group in groups}


def channels_on(network: Network, groups: Sequence[Group], factors: Mapping[str, NDArray[np.floating]]) -> Keep:
    """The channels whose factor is above zero, equally many of each part; none where the branch may end.

    Where a group that is off may not end, its largest stays.
    """
    ends = set(network.ending([group.name for group in groups if not (factors[group.name] > 0).any()]))
    keep = {}
    for group in groups:
        each = int(np.bincount(group.part, factors[group.name] > 0).max())
        each = each if group.name in ends else max(1, each)
        keep[group.name] = group.best(factors[group.name], each * group.multiple_of)
    return keep


def _forget_epochs(folder: Path) -> None:
    for path in folder.glob("epoch-*.safetensors"):
        path.unlink()


def _epoch(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:03d}.safetensors"
