# SPDX-License-Identifier: Apache-2.0
"""deep-compression: prune, share, code.

Paper: S. Han, H. Mao, W. J. Dally, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained
Quantization and Huffman Coding", ICLR 2016, arXiv 1510.00149.

    prune   zero the small weights of each layer, train the others further; again, more, from what was trained
    share   k-means per layer on what is left, 2^bits values; train the values
    code    non-zero weights as (gap, place in the codebook), a Huffman code for each of the two

Cost: a training of `--epochs` for each rung.

Differs from the paper:
1. Each iteration of pruning is a rung of our ladder: shared, coded and judged on the selection split, so that the climb
   goes on beyond the paper's rates where quality allows, and stops before them where it does not.
2. With `rates`, layer l keeps r_l^s of its weights at strength s, r_l from the paper's table; s = 1 is the paper.
   Without, one quality factor for all layers (half of it for the first), and 0.1^s of all weights are kept.
3. Biases and factors of folded batch norms are rounded to six bits, the values of codebooks to eleven.
4. Layers with a batch norm, which the paper has none of: weights are shared before it is folded in, and the file has
   one factor an output channel beside the codebook.
5. `coder` may be our adaptive coder, or the smallest for each tensor, instead of Huffman's.
6. Gaps have the bits of the paper's tables and the authors' decoder, 5 or 4, where the text has 8 and 5.
7. All layers are trained together, at the rate that is asked for; the paper retrains AlexNet at a hundredth of it, and
   layers in turn.
8. `distil`: the network learns the original's outputs as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer import container
from gossamer.coding import CODERS, Memory, relative_index, smallest
from gossamer.graph import Layer, Network
from gossamer.plan import LayerPlan, Plan
from gossamer.quantize.codebook import INITIAL, Codebook, share
from gossamer.quantize.folding import fold_factors
from gossamer.quantize.integers import Shared
from gossamer.search.candidate import Candidate, coded_layers, finish
from gossamer.search.ladder import climb
from gossamer.search.pace import epochs_in_time, measure_pace
from gossamer.search.run import Run
from gossamer.tuning import Distillation, FixedZeros, Plug, TrainedCodebook
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.checkpoint import load_weights, save_weights
from gossamer.weights import Magnitude, QualityFactor

#: Percent of the weights that the paper keeps, layer by layer in forward order (its tables 2 to 5).
RATES: dict[str, tuple[int, ...]] = {
    "lenet300100": (8, 9, 26),
    "lenet5": (66, 12, 8, 19),
    "alexnet": (84, 38, 35, 37, 37, 9, 9, 25),
    "vgg16": (58, 22, 34, 36, 53, 24, 42, 32, 27, 34, 35, 29, 36, 4, 4, 23),
}
KEPT = 0.1  # of all weights at strength 1, where no rates are given; the paper's four networks keep 8 to 11 %
STRENGTHS = (0.4, 0.7, 0.85, 1.0, 1.15, 1.3, 1.45, 1.6, 1.8, 2.0)
SHARE_OF_SHARING = 0.25  # of a rung's epochs for training the shared values
CHOICES = ("huffman", "adaptive", "smallest")


@dataclass(frozen=True)
class Demand:
    """A rung: pruning of this strength, which keeps this share of all weights."""

    strength: float
    kept: float

    @property
    def name(self) -> str:
        """Percent of the weights that are kept."""
        return f"{100 * self.kept:.1f} % kept"


@dataclass(frozen=True)
class DeepCompression:
    """The paper's pipeline with the paper's defaults.

    `rates`: a network of the paper whose pruning rates are taken. `conv_bits` and `fc_bits`: of a place in the
    codebook; LeNet-300-100 has 6 for its linear layers. `index_bits`: of a gap, 0 for the best of each tensor; AlexNet
    has 4. `initial`: where k-means starts. `weight_decay`: of pruned weights in training, the usual one of Caffe, where
    the paper worked. `distil`: learn the original's outputs too, which the paper does not.
    """

    rates: str = ""
    conv_bits: int = 8
    fc_bits: int = 5
    index_bits: int = 5
    initial: str = "linear"
    coder: str = "huffman"
    weight_decay: float = 5e-4
    distil: bool = False

    def __post_init__(self) -> None:
        for name, known in (("rates", ("", *RATES)), ("initial", tuple(INITIAL)), ("coder", CHOICES)):
            if getattr(self, name) not in known:
                among = ", ".join(filter(None, known))
                raise ValueError(f"{name} of deep-compression must be one of {among}, got '{getattr(self, name)}'")
        if not 0 <= self.weight_decay < 1:
            raise ValueError(f"weight_decay of deep-compression must be in [0, 1), got {self.weight_decay}")
        for name, least, most in (("conv_bits", 1, 12), ("fc_bits", 1, 12), ("index_bits", 0, relative_index.LONGEST)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} of deep-compression must be in {least}..{most}, got {getattr(self, name)}; the paper has "
                    "8, 5 and 5"
                )

    def search(self, run: Run) -> list[Candidate]:
        """Every candidate in the order tried: nothing pruned first, then more from rung to rung."""
        run.goal.must_be_bytes("deep-compression")
        demand = partial(self.demand, coded_layers(run, run.network))
        demand(1.0)  # rates that do not fit are refused before anything is trained
        pace = measure_pace(run)
        seconds = run.seconds_of("first candidate", lambda: self._unpruned(run))
        climbed = climb(
            run,
            [demand(strength) for strength in STRENGTHS],
            lambda number, rung, previous, epochs: [self._rung(run, number, rung, previous, epochs)],
            between=lambda low, high: demand((low.strength + high.strength) / 2),
            epochs_for=epochs_in_time(run, pace, seconds),
        )
        tried = [self._unpruned(run), *climbed]
        _compare_coders(run, tried)
        return tried

    # --- stage 1: prune

    def demand(self, layers: list[Layer], strength: float) -> Demand:
        """What pruning of this strength leaves of these layers."""
        if not self.rates:
            return Demand(strength, KEPT**strength)
        rates = _paper_rates(self.rates, layers)
        sizes = {layer.name: int(np.prod(layer.shape)) for layer in layers}
        return Demand(strength, sum(sizes[name] * rate**strength for name, rate in rates.items()) / sum(sizes.values()))

    def keep(
        self, weights: dict[str, NDArray[np.float32]], layers: list[Layer], demand: Demand
    ) -> dict[str, NDArray[np.bool_]]:
        """What stays of each weight; of weights that are zero already, as many as can be go."""
        if not self.rates:
            return QualityFactor().keep(weights, 1 - demand.kept)
        keep: dict[str, NDArray[np.bool_]] = {}
        for name, rate in _paper_rates(self.rates, layers).items():
            keep |= Magnitude("layer").keep({name: weights[name]}, 1 - rate**demand.strength)
        return keep

    def _rung(self, run: Run, number: int, demand: Demand, previous: Candidate | None, epochs: int) -> Candidate:
        """Prune and train, share and train, code: from `previous` as it was before its weights were shared."""
        folder = run.step_folder(number, demand.name)
        if done := Candidate.load(folder):
            return done
        network, layers, numerics = run.network.copy(), coded_layers(run, run.network), measure_pace(run).numerics
        if previous is not None:
            load_weights(previous.folder / "pruned.safetensors", network.module)
        teach: tuple[Plug, ...] = (Distillation(),) if self.distil else ()
        for_sharing = max(1, round(SHARE_OF_SHARING * epochs))

        fixed = FixedZeros(
            {
                name: torch.from_numpy(keep)
                for name, keep in self.keep(_weights(network, layers), layers, demand).items()
            }
        )
        train = partial(run.tune, network.module, numerics=numerics, folder=folder, weight_decay=self.weight_decay)
        pruned = train((fixed, *teach), epochs=max(1, epochs - for_sharing), name=demand.name, phase="pruning")
        network.module.load_state_dict(pruned, strict=False)
        save_weights(folder / "pruned.safetensors", network.module)

        codebooks = self._share(_weights(network, layers), layers)
        trained = TrainedCodebook(codebooks, pruned)
        shared = train((trained, *teach), epochs=for_sharing, name=f"{demand.name}, shared", phase="sharing")
        reestimate_batch_norms(network.module, run.calibration_batches(), shared)
        network.module.load_state_dict(shared, strict=False)
        return self._finish(run, folder, demand.name, network, layers, trained.codebooks())

    # --- stages 2 and 3: share, code

    def _unpruned(self, run: Run) -> Candidate:
        """Nothing pruned, nothing trained: the most careful candidate, there within seconds."""
        folder = run.step_folder(0, "shared, unpruned")
        if done := Candidate.load(folder):
            return done
        network, layers = run.network.copy(), coded_layers(run, run.network)
        weights = _weights(network, layers)
        codebooks = {name: share(value, max(self.conv_bits, 8), self.initial) for name, value in weights.items()}
        shared = {name: torch.from_numpy(book.shared(weights[name])) for name, book in codebooks.items()}
        network.module.load_state_dict(shared, strict=False)
        return self._finish(run, folder, "shared, unpruned", network, layers, codebooks)

    def _share(self, weights: dict[str, NDArray[np.float32]], layers: list[Layer]) -> dict[str, Codebook]:
        bits = {layer.name: self.fc_bits if layer.kind == "linear" else self.conv_bits for layer in layers}
        return {name: share(value, bits[name], self.initial) for name, value in weights.items()}

    def _finish(
        self, run: Run, folder: Path, name: str, network: Network, layers: list[Layer], codebooks: dict[str, Codebook]
    ) -> Candidate:
        """The candidate whose deployed weights are shared values, times the factors of folded batch norms."""
        factors = fold_factors(layers, network.module.state_dict())
        units = {layer.name: factors[layer.name].numpy() for layer in layers if layer.norm is not None}
        plan = {
            name: LayerPlan(sparsity=float(np.mean(value == 0)), codebook=len(codebooks[name].values))
            for name, value in _weights(network, layers).items()
        }
        shared = {name: Shared(book, units.get(name)) for name, book in codebooks.items()}
        return finish(run, folder, name, network, Plan().with_layers(plan), shared=shared, choice=self._choice)

    def _choice(self, integers: NDArray[np.int32], memory: Memory) -> tuple[str, bytes]:
        if self.coder == "huffman":
            if integers.ndim < 2:  # biases and codebooks: nothing in them is zero
                return "huffman", CODERS["huffman"].encode(integers)
            return "relative", relative_index.encode(integers, self.index_bits or None)
        if self.coder == "adaptive":
            return "adaptive", CODERS["adaptive"].encode(integers)
        return smallest(integers, memory)


def _weights(network: Network, layers: list[Layer]) -> dict[str, NDArray[np.float32]]:
    values = network.module.state_dict()
    return {layer.name: values[layer.name].numpy() for layer in layers}


def _paper_rates(network: str, layers: list[Layer]) -> dict[str, float]:
    """The share of its weights that each layer keeps in the paper."""
    if len(layers) != len(RATES[network]):
        raise ValueError(
            f"rates of {network} are for {len(RATES[network])} layers, got a network of {len(layers)}; leave rates out"
        )
    return {layer.name: percent / 100 for layer, percent in zip(layers, RATES[network], strict=True)}


def _compare_coders(run: Run, tried: list[Candidate]) -> None:
    """Say what the smallest accepted candidate's weights would take by each coder."""
    accepted = [candidate for candidate in tried if candidate.verdict.accepted]
    if not accepted:
        return
    best = min(accepted, key=lambda candidate: candidate.sizes.coded)
    integers = [t.integers for t in container.read(best.file).payload.tensors if t.integers is not None]
    huffman, adaptive = (sum(len(CODERS[name].encode(v)) for v in integers) for name in ("relative", "adaptive"))
    run.note(
        f"places in the codebooks of '{best.name}': {huffman:,} bytes as relative indices with Huffman codes, "
        f"{adaptive:,} by the adaptive coder"
    )
