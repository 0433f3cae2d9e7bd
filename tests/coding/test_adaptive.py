# SPDX-License-Identifier: Apache-2.0
"""The adaptive coder: near or below the entropy, its neighbours used, its arithmetic exact at the edges."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gossamer.coding import adaptive, huffman
from gossamer.coding.range_coder import VALUES_PER_BYTE


def entropy_bytes(values) -> float:
    """Zeroth-order empirical entropy: what a coder that knows the histogram beforehand needs at least."""
    _, counts = np.unique(values, return_counts=True)
    return float(-(counts * np.log2(counts / values.size)).sum() / 8)


def sparse_layer(seed: int) -> np.ndarray:
    """36,864 weights of a layer, 80 % zeros, the others Laplace rounded to at most 15."""
    rng = np.random.default_rng(seed)
    laplace = np.clip(np.rint(rng.laplace(0, 4, (64, 64, 3, 3))), -15, 15)
    return np.where(rng.random((64, 64, 3, 3)) < 0.8, 0, laplace).astype(np.int32)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_at_most_one_percent_over_the_entropy_everything_included(seed):
    values = sparse_layer(seed)
    assert len(adaptive.encode(values)) < 1.01 * entropy_bytes(values)


def test_dense_eight_bit_weights_stay_near_the_entropy():
    values = np.clip(np.rint(np.random.default_rng(5).normal(0, 30, (128, 128, 3, 3))), -127, 127).astype(np.int32)
    assert len(adaptive.encode(values)) < 1.01 * entropy_bytes(values)


@pytest.mark.parametrize("axis", [0, 1])
def test_filters_and_channels_of_unlike_size_go_below_the_entropy(axis):
    """The contexts' whole point: one histogram does not know which filter or input channel it is in."""
    rng = np.random.default_rng(6)
    spread = np.exp(rng.normal(0, 1.5, 48)).reshape([-1 if d == axis else 1 for d in range(4)])
    values = np.rint(rng.laplace(0, 2 * spread, (48, 48, 3, 3))).astype(np.int32)
    assert len(adaptive.encode(values)) < 0.93 * entropy_bytes(values)
    assert len(adaptive.encode(values)) < 0.93 * len(huffman.encode(values))


def test_signs_that_repeat_are_learned():
    values = np.sign(np.random.default_rng(7).normal(size=(64, 16, 1, 1))).astype(np.int32) * np.ones(
        (1, 1, 3, 3), np.int32
    )
    assert len(adaptive.encode(values)) < 0.5 * entropy_bytes(values)


def test_an_empty_layer_costs_a_few_bytes():
    assert len(adaptive.encode(np.zeros((512, 512, 3, 3), np.int32))) < 30


def test_the_tables_are_each_others_inverse_and_monotone():
    squash, stretch, step = adaptive.tables()
    assert squash[0] == 3
    assert squash[2560] == 32768
    assert squash == sorted(squash)
    assert stretch == sorted(stretch)
    assert all(abs(squash[stretch[p] + 2560] - (16 * p + 8)) <= 140 for p in range(4096))
    assert step[0] == 1
    assert step[126:] == [7, 8]
    expected = [round(65536 / (1 + np.exp(-x / 2))) for x in range(-20, 21)]
    assert list(adaptive.LOGISTIC) == expected


def test_a_carry_runs_through_many_bytes():
    """Streams with 0xff bytes followed by a carry: found by search, all must come back."""
    carried = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        values = rng.integers(-2, 3, 400).astype(np.int32)
        data = adaptive.encode(values)
        carried += b"\x00\x00" in data or b"\xff\xff" in data
        assert (adaptive.decode(data, (400,)) == values).all()
    assert carried, "no stream came near a carry: widen the search"


@pytest.mark.parametrize("edge", [2**31 - 1, -(2**31) + 1, 2**30, 2**16, -65535])
def test_the_largest_magnitudes_come_back(edge):
    values = np.array([0, edge, 1, edge, -edge, 0], np.int32)
    assert (adaptive.decode(adaptive.encode(values), (6,)) == values).all()


def test_noise_that_outgrows_the_first_guess_of_room_comes_back():
    values = np.random.default_rng(8).integers(-(2**31) + 1, 2**31, 3000).astype(np.int32)
    data = adaptive.encode(values)
    assert len(data) > 64 + 2 * 3000
    assert (adaptive.decode(data, (3000,)) == values).all()


def test_the_one_number_without_a_positive_is_refused():
    with pytest.raises(ValueError, match=r"at least -2147483647, got -2147483648; use another coder"):
        adaptive.encode(np.array([-(2**31)], np.int32))


def test_messages_say_how_far_the_stream_reached():
    values = sparse_layer(0)
    data = adaptive.encode(values)
    with pytest.raises(ValueError, match=r"ends after 18,\d\d\d of 36,864 symbols; it is truncated or damaged"):
        adaptive.decode(data[: len(data) // 2], values.shape)
    with pytest.raises(ValueError, match=r"does not end where its 36,864 symbols end"):
        adaptive.decode(data + b"\0", values.shape)
    with pytest.raises(ValueError, match=r"has 1 bytes, which cannot hold 1,000,000 symbols"):
        adaptive.decode(b"\xff", (1000, 1000))


def test_a_value_never_costs_less_than_the_bound_assumes():
    """`VALUES_PER_BYTE` refuses counts up front; it must never refuse an honest stream of zeros."""
    count = 40_000_000 // 8
    assert count < VALUES_PER_BYTE * (len(adaptive.encode(np.zeros(count, np.int32))) + 4)


def test_plain_python_writes_and_reads_the_same_bytes(monkeypatch):
    rng = np.random.default_rng(9)
    cases = [
        sparse_layer(3)[:4],
        rng.integers(-(2**31) + 1, 2**31, (9, 5)).astype(np.int32),
        np.zeros((7, 2), np.int32),
    ]
    compiled = [adaptive.encode(values) for values in cases]
    monkeypatch.setattr(adaptive, "_compiled", lambda: None)
    for values, data in zip(cases, compiled, strict=True):
        assert adaptive.encode(values) == data
        assert (adaptive.decode(data, values.shape) == values).all()
        with pytest.raises(ValueError, match=r"symbols"):
            adaptive.decode(data[: len(data) // 2], values.shape)


def test_works_where_numba_is_not_installed():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np; from gossamer.coding import adaptive\n"
        "x = np.arange(-20, 20, dtype=np.int32).reshape(4, 10)\n"
        "data = adaptive.encode(x); assert (adaptive.decode(data, x.shape) == x).all()\n"
        "print(data.hex())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == adaptive.encode(np.arange(-20, 20, dtype=np.int32).reshape(4, 10)).hex()


def test_agrees_with_an_independent_range_coder_on_what_the_entropy_is():
    """A coder that is told the exact histogram, from another library, must not beat ours by more than 1 %."""
    constriction = pytest.importorskip("constriction")
    values = sparse_layer(4)
    levels, symbols = np.unique(values, return_inverse=True)
    histogram = np.bincount(symbols.ravel()).astype(np.float32)
    model = constriction.stream.model.Categorical(histogram / histogram.sum(), perfect=False)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(symbols.ravel().astype(np.int32), model)
    theirs = 4 * len(encoder.get_compressed())
    assert len(levels) == 31
    assert 0.99 * theirs < len(adaptive.encode(values)) < 1.01 * theirs
