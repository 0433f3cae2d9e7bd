# SPDX-License-Identifier: Apache-2.0
"""Tiles: their weights sum to one, what they agree on comes back to the bit, and no whole image of scores is kept."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.device.tiles import Axis, blended


@st.composite
def axes(draw) -> Axis:
    tile = draw(st.integers(1, 24))
    return Axis(draw(st.integers(tile, 90)), tile, draw(st.integers(0, tile - 1)))


def joined(rows: Axis, columns: Axis, scores_at) -> np.ndarray:
    """(K, H, W) from blocks, each pixel once."""
    whole, times = None, np.zeros((rows.length, columns.length), int)
    for block in blended(rows, columns, scores_at):
        count, height, width = block.scores.shape
        whole = np.full((count, *times.shape), np.nan, np.float32) if whole is None else whole
        here = np.s_[block.top : block.top + height, block.left : block.left + width]
        whole[:, *here] = block.scores
        times[here] += 1
    assert (times == 1).all()
    return whole


@given(axes())
def test_weights_sum_to_one_exactly(axis):
    total, covered = np.zeros(axis.length), np.zeros(axis.length)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        assert (weights >= 0).all()
        assert (weights * 256 == np.rint(weights * 256)).all()
        total[start : start + axis.tile] += weights
        covered[start : start + axis.tile] += 1
    assert (total == 1).all()
    assert (covered >= 1).all()


@given(axes())
def test_what_a_network_made_of_its_padding_counts_nothing(axis):
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        margin = axis.overlap // 4
        inner = weights[
            (0 if start == 0 else margin) : (None if start + axis.tile == axis.length else axis.tile - margin)
        ]
        assert inner.sum() == weights.sum()


@given(axes())
def test_neighbours_share_what_was_asked_for_in_as_few_tiles_as_do(axis):
    starts = axis.starts
    assert (starts[0], starts[-1] + axis.tile) == (0, axis.length)
    steps = np.diff(starts)
    assert (steps <= axis.tile - axis.overlap).all()
    assert (len(starts) - 1) * (axis.tile - axis.overlap) + axis.tile - axis.length < max(1, axis.tile - axis.overlap)


def test_weights_fall_smoothly_and_leave_out_the_margin():
    axis = Axis(length=224, tile=128, overlap=32)
    first, second = axis.weights
    shared = first[-32:]
    assert (shared[:8] == 1).all()
    assert (shared[-8:] == 0).all()
    assert (np.diff(shared) <= 0).all()
    assert np.abs(np.diff(shared)).max() < 0.13
    assert first[0] == second[-1] == 1  # at the border of the image a tile stands alone
    np.testing.assert_array_equal(first, second[::-1])


@settings(deadline=None, max_examples=30)
@given(axes(), axes(), st.integers(1, 3))
def test_an_image_that_every_tile_agrees_on_comes_back_to_the_bit(rows, columns, channels):
    image = np.random.default_rng(0).integers(0, 256, (channels, rows.length, columns.length)).astype(np.float32)
    again = joined(rows, columns, lambda top, left: image[:, top : top + rows.tile, left : left + columns.tile])
    assert again.tobytes() == image.tobytes()


@settings(deadline=None, max_examples=30)
@given(axes(), axes())
def test_blocks_are_what_a_whole_image_of_sums_would_hold(rows, columns):
    """Each tile with scores of its own, so that every weight and every place is seen."""
    tiles = {
        (top, left): np.random.default_rng([top, left]).integers(-99, 99, (2, rows.tile, columns.tile))
        for top in rows.starts
        for left in columns.starts
    }
    whole = np.zeros((2, rows.length, columns.length))
    for i, top in enumerate(rows.starts):
        for j, left in enumerate(columns.starts):
            weight = np.outer(rows.weights[i], columns.weights[j])
            whole[:, top : top + rows.tile, left : left + columns.tile] += weight * tiles[top, left]
    found = joined(rows, columns, lambda top, left: tiles[top, left].astype(np.float32))
    np.testing.assert_array_equal(found, whole.astype(np.float32))


def test_memory_does_not_grow_with_the_height():
    """Ten classes; the scores of the taller image would have 82 MB."""
    peaks = []
    for height in (512, 8192):
        tile = np.ones((10, 64, 64), np.float32)
        tracemalloc.start()
        for _ in blended(Axis(height, 64, 16), Axis(256, 64, 16), lambda top, left, tile=tile: tile):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 2e6


def test_what_no_tiles_cover_is_refused():
    with pytest.raises(ValueError, match=r"overlap must be at least 0 and below the tile's 32 pixels, got 32; give a"):
        Axis(100, 32, 32)
    with pytest.raises(ValueError, match=r"length must be at least the tile's 32 pixels, got 31; pad the image"):
        Axis(31, 32, 8)
