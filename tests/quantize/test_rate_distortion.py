# SPDX-License-Identifier: Apache-2.0
"""Integers by error and bits: the formula, what each of its parts is worth, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.coding import adaptive
from gossamer.coding.costs import costs
from gossamer.quantize import rate_distortion
from gossamer.quantize.rate_distortion import Factored, Problem, choose_integers


def moments(size: int, seed: int, spread: float = 2.0) -> np.ndarray:
    """Second moments of correlated numbers of different spreads, (size, size)."""
    rng = np.random.default_rng(seed)
    mixed = (
        rng.standard_normal((4 * size, size))
        @ rng.standard_normal((size, size))
        * np.exp(spread * rng.standard_normal(size) / 2)
    )
    return mixed.T @ mixed / len(mixed)


def problem(rows: int, columns: int, seed: int = 0, groups: int = 1, damping: float = 0.01) -> Problem:
    rng = np.random.default_rng(seed)
    return Problem(
        rng.laplace(size=(groups, rows, columns)),
        [Factored.of(moments(rows, seed + 1 + g), damping) for g in range(groups)],
        [Factored.of(moments(columns, seed + 100 + g), damping) for g in range(groups)],
    )


def free(integers: np.ndarray) -> np.ndarray:
    """A coder that charges nothing."""
    return np.zeros((6, *integers.shape), np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_factors_give_the_matrix_back(size, seed):
    matrix = moments(size, seed)
    factored = Factored.of(matrix, 0.1)
    damped = matrix + 0.1 * np.trace(matrix) / size * np.eye(size)
    np.testing.assert_allclose(factored.lower.T @ np.diag(factored.pivots) @ factored.lower, damped, rtol=1e-9)
    np.testing.assert_array_equal(np.triu(factored.lower), np.eye(size))


def test_the_error_is_that_of_the_matrices():
    a, b = moments(7, 1), moments(5, 2)
    weights = np.random.default_rng(0).standard_normal((1, 5, 7))
    asked = Problem(weights, [Factored.of(b, 0)], [Factored.of(a, 0)])
    steps = np.full((1, 5), 0.3)
    integers = np.rint(weights / 0.3).astype(np.int32)
    e = weights[0] - 0.3 * integers[0]
    assert asked.error(integers, steps) == pytest.approx(np.trace(b @ e @ a @ e.T))


def by_the_formula(asked: Problem, steps: np.ndarray, strength: float, bits: np.ndarray) -> np.ndarray:
    """The header's recipe word by word, one group, no blocks."""
    (weights,), (rows,), (columns,) = asked.weights, asked.rows, asked.columns
    chosen = np.zeros(weights.shape, np.int32)
    error = np.zeros(weights.shape)
    for r, c in np.ndindex(weights.shape):
        error[r, c] = weights[r, c]
        target = (rows.lower @ error @ columns.lower.T)[r, c]
        nearest = round(abs(target) / steps[0, r])
        best = min(
            {m for m in (nearest, nearest - 1, nearest - 2, 0) if m >= 0},
            key=lambda m: (
                rows.pivots[r] * columns.pivots[c] * (abs(target) - m * steps[0, r]) ** 2
                + strength * bits[int(m).bit_length(), 0, r, c]
            ),
        )
        chosen[r, c] = np.sign(target) * best
        error[r, c] = weights[r, c] - steps[0, r] * chosen[r, c]
    return chosen


@pytest.mark.parametrize("block", [4, 64])
def test_blocks_and_machine_code_choose_what_the_formula_says(block, monkeypatch):
    asked = problem(9, 14)
    strength = 0.3
    steps = asked.steps(strength)
    bits = costs(np.rint(asked.weights / steps[:, :, None]).astype(np.int32))
    expected = by_the_formula(asked, steps, strength, bits)
    monkeypatch.setattr(rate_distortion, "BLOCK", block)
    got = choose_integers(asked, steps, strength, lambda q: bits, passes=1)[0]
    monkeypatch.setattr(rate_distortion, "_compiled", lambda: None)
    plain = choose_integers(asked, steps, strength, lambda q: bits, passes=1)[0]
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(plain, expected)
    assert len(np.unique(expected)) > 4


def test_rows_and_columns_each_make_errors_good():
    """Against plain rounding to the same grid: columns alone, rows alone, and both."""
    for seed in range(3):
        asked = problem(24, 40, 10 * seed)
        steps = np.full((1, 24), 0.5)
        one_row, one_column = (
            [Factored(np.eye(len(f.pivots)), f.pivots) for f in factors] for factors in (asked.rows, asked.columns)
        )

        def error(rows, columns, asked=asked, steps=steps):
            return asked.error(choose_integers(Problem(asked.weights, rows, columns), steps, 0.0, free), steps)

        plain = asked.error(np.rint(asked.weights / 0.5).astype(np.int32), steps)
        assert error(one_row, one_column) == pytest.approx(plain)
        columns, rows, both = (
            error(one_row, asked.columns),
            error(asked.rows, one_column),
            error(asked.rows, asked.columns),
        )
        assert max(columns, rows) < 0.9 * plain
        assert both < 0.9 * min(columns, rows)


def test_strength_buys_bits_with_error():
    asked = problem(16, 36, 5, groups=2)
    errors, bits = [], []
    for strength in (1e-3, 1e-2, 1e-1, 1.0, 10.0):
        steps = asked.steps(strength)
        integers = choose_integers(asked, steps, strength, costs)
        table = costs(integers)
        lengths = np.frexp(np.abs(integers).astype(float))[1]
        errors.append(asked.error(integers, steps))
        bits.append(float(np.take_along_axis(table, lengths[None], 0).sum()))
    assert errors == sorted(errors)
    assert bits == sorted(bits, reverse=True)
    assert bits[-1] < 0.5 * bits[0]


def test_at_equal_bits_the_error_is_a_fraction_of_plain_rounding_s():
    asked = problem(32, 72, 3)
    strength = 1e3
    steps = asked.steps(strength)
    chosen = choose_integers(asked, steps, strength, costs)
    size = len(adaptive.encode(chosen))
    step = 1e-3
    while len(adaptive.encode(np.rint(asked.weights / step).astype(np.int32))) > size:
        step *= 1.02
    plain = np.rint(asked.weights / step).astype(np.int32)
    assert len(adaptive.encode(plain)) > 0.9 * size, "the same bytes"
    assert asked.error(chosen, steps) < 0.3 * asked.error(plain, np.full((1, 32), step))


def test_what_nothing_depends_on_costs_nothing():
    """Inputs that are always zero, and filters that nothing listens to, are given no bits."""
    weights = np.ones((2, 3, 4))
    nothing, some = np.zeros((4, 4)), np.eye(4)
    asked = Problem(weights, [Factored.of(np.eye(3), 0.01)] * 2, [Factored.of(nothing, 0.01), Factored.of(some, 0.01)])
    strength = 1e-3
    integers = choose_integers(asked, asked.steps(strength), strength, costs)
    assert (integers[0] == 0).all()
    assert (integers[1] != 0).all()


def test_bad_input_is_named():
    asked = problem(3, 4)
    with pytest.raises(ValueError, match=r"expected a positive step for each of 1 x 3 rows, got \(1, 4\)"):
        choose_integers(asked, np.ones((1, 4)), 1.0, costs)
    with pytest.raises(ValueError, match="expected finite weights and a strength of at least 0, got -1"):
        choose_integers(asked, np.ones((1, 3)), -1.0, costs)
    with pytest.raises(ValueError, match=r"expected 1 factors of 4 rows and 3 columns, got \[\(3, 4\)\]"):
        Problem(asked.weights.transpose(0, 2, 1), asked.rows, asked.columns)
    with pytest.raises(ValueError, match="expected a matrix of second moments, got one with a mean diagonal of nan"):
        Factored.of(np.full((2, 2), np.nan), 0.01)
