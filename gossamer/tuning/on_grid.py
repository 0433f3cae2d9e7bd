# SPDX-License-Identifier: Apache-2.0
"""A weight rounded to its grid, and the bits of its integers, with the gradients that the rate penalty trains on.

    u = w f / D    q = round(u)    w' = q D / f          f: factors of the filters, D: the step, by its logarithm
    b = sum bits(|u|)              bits(m) from the table of bits that an integer of each bit length costs in its place

    dw' / dw = 1 (0 in a filter of zeros)     dw' / d log D = w' - w (0 there)     straight-through
    db / dw = bits'(|u|) sign(u) f / D        db / d log D = -sum bits'(|u|) |u|

Each bit length stands at the middle of its magnitudes: 0, 1, 2.5 (for 2 and 3), 5.5 (for 4 to 7), ...; between them
bits are interpolated. On a CPU with numba one loop does all of that; elsewhere PyTorch's operators do, in some forty
passes over the weights, which for the 15 million of a VGG-16 took half of a training step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gossamer.coding.machine_code import machine_code
from gossamer.tuning.plug import alive, straight_through

WORTH_THREADS = 2**17  # weights


class OnGrid(NamedTuple):
    """A weight (*shape) on its grid; `bits` and `coded`, (), are None without a table."""

    scaled: Tensor  #: u, without gradients
    rounded: Tensor  #: w'
    bits: Tensor | None  #: b
    coded: Tensor | None  #: what the integers q cost, without gradients


def on_grid(weight: Tensor, log_step: Tensor, factor: Tensor, table: Tensor | None, inputs_first: int = 0) -> OnGrid:
    """Round `weight` (*shape); `factor` broadcasts to it, `table` is (classes, *shape), `log_step` ().

    `inputs_first` as in `plug.alive`.
    """
    loop = _compiled()
    of_filters = factor.numel() == 1 or (factor.numel() == len(weight) == factor.shape[0])
    if loop is None or table is None or inputs_first or not of_filters or not _plain(weight):
        return _by_operators(weight, log_step, factor, table, inputs_first)
    scaled, rounded, bits, coded = _InOneLoop.apply(weight, log_step, factor, table)
    return OnGrid(scaled, rounded, bits, coded)


def laid_out_as(table: Tensor, weight: Tensor) -> Tensor:
    """A table of bits, (classes, *shape), whose places lie in memory as those of the weight (*shape) do."""
    order = _of_table(_order(weight))
    back = sorted(range(len(order)), key=order.__getitem__)
    return table.permute(order).contiguous().permute(back)


def _by_operators(weight: Tensor, log_step: Tensor, factor: Tensor, table: Tensor | None, inputs_first: int) -> OnGrid:
    step = log_step.exp()
    scaled = weight * factor / step
    before = scaled.detach()
    integers = torch.round(before)
    back = step.detach() / factor
    # d(q D) / dD = q - u where the slope of rounding counts as 1; u D is the weight itself
    moved = (integers - before) * back * (log_step - log_step.detach())
    rounded = straight_through(weight, integers * back, inputs_first) + moved * alive(integers, inputs_first)
    if table is None:
        return OnGrid(before, rounded, None, None)
    return OnGrid(before, rounded, _bits(table, scaled.abs()).sum(), _bits(table, integers.abs()).sum())


def _bits(table: Tensor, magnitude: Tensor) -> Tensor:
    """Bits of fractional magnitudes, (*shape), from a table, (classes, *shape)."""
    below = torch.log2((magnitude.detach() + 0.5) / 0.75).floor().clamp(0, len(table) - 2)
    low = torch.where(below > 0, 0.75 * 2**below - 0.5, 0.0)
    high = 1.5 * 2**below - 0.5
    index = below.long().unsqueeze(0)
    at_low, at_high = table.gather(0, index).squeeze(0), table.gather(0, index + 1).squeeze(0)
    return at_low + (at_high - at_low) / (high - low) * (magnitude - low)


class _InOneLoop(torch.autograd.Function):
    """The same, in one pass forward and three backward."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, log_step: Tensor, factor: Tensor, table: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scaled, rounded, moved, slope = made = [torch.empty_like(weight) for _ in range(4)]
        filters, order = len(weight), _order(weight)
        factors = factor.reshape(-1).expand(filters).contiguous().numpy()
        sums, living = np.zeros((3, filters)), np.zeros(filters, np.float32)
        _in_threads(
            _flat(weight, order),
            factors,
            log_step.detach().exp().numpy()[()],
            table.permute(_of_table(order)).contiguous().flatten(1).numpy(),
            *(_flat(one, order) for one in made),
            living,
            sums,
        )
        bits, coded, by_step = sums.sum(1)
        ctx.save_for_backward(moved, slope, torch.from_numpy(living).reshape(-1, *[1] * (weight.ndim - 1)))
        ctx.by_step = float(by_step)
        of_integers = weight.new_tensor(coded)
        ctx.mark_non_differentiable(scaled, of_integers)
        return scaled, rounded, weight.new_tensor(bits), of_integers

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        _, of_rounded, of_bits, _ = gradients
        moved, slope, living = ctx.saved_tensors
        to_weight = torch.addcmul(of_bits * slope, of_rounded, living)
        return to_weight, (of_rounded * moved).sum() - of_bits * ctx.by_step, None, None


def _in_threads(weight: Any, factors: Any, *rest: Any) -> None:
    """The loop over all filters, a share of them in each thread; each filter has sums of its own."""
    loop = _compiled()
    assert loop is not None
    threads = torch.get_num_threads() if len(weight) > WORTH_THREADS else 1
    ends = [len(factors) * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first, last: loop(first, last, weight, factors, *rest), ends[:-1], ends[1:]))


def _loop(
    first_filter: int,
    last_filter: int,
    weight: Any,
    factors: Any,
    step: Any,
    table: Any,
    scaled: Any,
    rounded: Any,
    moved: Any,
    slope: Any,
    living: Any,
    sums: Any,
) -> None:
    """Filters one after the other; all arrays are flat, but `table` (classes, n) and `sums` (3, filters).

    The sums are bits, coded bits, and bits' |u|. Written for numba and plain Python alike.
    """
    last = len(table) - 2
    size = len(weight) // len(factors)
    for f in range(first_filter, last_filter):
        factor, back, first, end = factors[f], step / factors[f], f * size, f * size + size
        bits, coded, by_step, lives = 0.0, 0.0, 0.0, False
        for i in range(first, end):
            u = weight[i] * factor / step
            q = np.rint(u)
            scaled[i] = u
            rounded[i] = q * back
            lives |= q != 0
            magnitude, whole = abs(u), abs(q)
            low, high, below = 0.0, 1.0, 0
            while magnitude >= high and below < last:
                low, high, below = high, 2 * high + 0.5, below + 1
            per_unit = (table[below + 1, i] - table[below, i]) / (high - low)
            bits += table[below, i] + per_unit * (magnitude - low)
            by_step += per_unit * magnitude
            slope[i] = np.sign(u) * per_unit * factor / step
            if whole < low:  # rounded down, into the class before
                high, below = low, below - 1
                low = 0.0 if below == 0 else (low - 0.5) / 2
            elif whole >= high and below < last:  # or up
                low, high, below = high, 2 * high + 0.5, below + 1
            coded += table[below, i] + (table[below + 1, i] - table[below, i]) / (high - low) * (whole - low)
        sums[0, f], sums[1, f], sums[2, f] = bits, coded, by_step
        living[f] = lives
        for i in range(first, end):
            moved[i] = living[f] * (rounded[i] - weight[i])


@functools.cache
def _compiled() -> Callable[..., None] | None:
    return machine_code(_loop)


def _order(weight: Tensor) -> list[int]:
    """Axes from the widest step in memory to the narrowest; axes of one element as they come."""
    strides = weight.stride()
    return sorted(range(weight.ndim), key=lambda axis: (-strides[axis] * (weight.shape[axis] > 1), axis))


def _plain(weight: Tensor) -> bool:
    """Whether filters lie one after the other, whole, in the memory of a CPU, as float32."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.ndim < 2 or not weight.numel():
        return False
    order = _order(weight)
    return weight.permute(order).is_contiguous() and (order[0] == 0 or len(weight) == 1)


def _of_table(order: list[int]) -> list[int]:
    """An order of a weight's axes for its table, which has one more in front."""
    return [0, *(1 + axis for axis in order)]


def _flat(tensor: Tensor, order: list[int]) -> Any:
    """The numbers of a dense tensor in the order of its memory; the memory is shared."""
    return tensor.detach().permute(order).view(-1).numpy()
