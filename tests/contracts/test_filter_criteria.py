# SPDX-License-Identifier: Apache-2.0
"""What every criterion of `gossamer.filters` promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gossamer.filters import (
    METHODS,
    Answers,
    BatchNormScale,
    Car,
    GeometricMedian,
    GroupMatrices,
    ImportanceWeights,
    L1Norm,
    L2Norm,
    Taylor,
)
from gossamer.filters.car import class_wise_reductions
from gossamer.filters.importance_weights import FROM_DATA, STARTS, start

SIZE = 16
SEEING = [name for name in METHODS if name != "at-random"]


def group(dead: int = 4) -> GroupMatrices:
    """16 channels through two tied layers, the last `dead` of which do nothing."""
    rng = np.random.default_rng(1)
    alive = np.arange(SIZE) < SIZE - dead
    rows = tuple(scale * rng.standard_normal((SIZE, 27)) * alive[:, None] for scale in (1.0, 30.0))
    worth = alive * rng.uniform(0.5, 1.5, SIZE)

    def asked(keep):
        """Each living channel that is gone costs what it is worth."""
        lost = float(worth[~keep].sum()) / SIZE
        return Answers(1 - lost, lost, np.array([1 - lost, 1 - 2 * lost]))

    return GroupMatrices(
        "g",
        SIZE,
        rows=rows,
        columns=(rng.standard_normal((SIZE, 9)),),
        scales=(alive * 1.0,),
        changes=rng.standard_normal((3, SIZE)) * alive,
        activity=worth,
        learned=alive * rng.uniform(0.5, 1.5, SIZE),
        asked=asked,
    )


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_finite_repeatable_and_one_score_a_channel(method):
    scores = method().score(group())
    assert scores.shape == (SIZE,)
    assert np.isfinite(scores).all()
    assert np.array_equal(scores, method().score(group()))
    assert method().needs in ("weights", "changes", "learned", "asked")


@pytest.mark.parametrize("name", SEEING)
def test_dead_channels_are_found(name):
    scores = METHODS[name]().score(group(dead=5))
    assert set(np.argsort(scores)[:5]) == set(range(11, SIZE))


@pytest.mark.parametrize("name", SEEING)
def test_what_it_needs_is_asked_for_in_one_sentence(name):
    method = METHODS[name]()
    bare = replace(group(), changes=None, learned=None, asked=None)
    if method.needs == "weights":
        assert np.array_equal(method.score(bare), method.score(group()))
    else:
        with pytest.raises(ValueError, match=rf"{name} needs .*, but group 'g' came without"):
            method.score(bare)


@pytest.mark.parametrize("name", ["l1-norm", "l2-norm", "geometric-median", "importance-weights"])
def test_a_layers_scale_says_nothing_about_its_channels(name):
    """Ten times all weights of a layer are the same layer before a batch norm."""
    found = group()
    larger = replace(found, rows=(10 * found.rows[0], found.rows[1]))
    assert np.allclose(METHODS[name]().score(found), METHODS[name]().score(larger))


@pytest.mark.parametrize("method", [L1Norm, L2Norm])
def test_of_tied_layers_the_larger_one_does_not_decide(method):
    rows = (np.array([[1.0], [3.0]]), np.array([[200.0], [100.0]]))
    small_first = method().score(GroupMatrices("g", 2, rows=rows))
    assert small_first[1] > small_first[0]


def test_l2_minds_one_large_weight_more_than_many_small_ones():
    rows = (np.array([[4.0, 0, 0, 0], [1.5, 1.5, 1.5, 1.5]]),)
    pair = GroupMatrices("g", 2, rows=rows)
    assert np.argmin(L1Norm().score(pair)) == 0
    assert np.argmin(L2Norm().score(pair)) == 1


def test_the_geometric_median_takes_what_others_can_stand_in_for():
    """Copies of one large filter among small scattered ones: the norm keeps them all, the median does not."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((SIZE, 9))
    rows[:10] = 1.5 + 0.01 * rng.standard_normal((10, 9))
    copies = GroupMatrices("g", SIZE, rows=(rows,))
    assert set(np.argsort(GeometricMedian().score(copies))[:6]) <= set(range(10))
    assert not set(np.argsort(L1Norm().score(copies))[:6]) <= set(range(10))


def test_taylor_finds_what_only_makes_noise():
    """Large weights whose effect on the loss averages out to little in every batch."""
    found = group(dead=0)
    noise = np.array(found.changes)
    noise[:, 3] *= 1e-6
    assert np.argmin(Taylor().score(replace(found, changes=noise))) == 3
    assert np.argmin(L1Norm().score(found)) != 3


def test_batch_norm_scale_without_batch_norm_is_refused():
    bare = GroupMatrices("layer3.0.conv2", 2, rows=(np.ones((2, 3)),))
    with pytest.raises(ValueError, match=r"batch-norm-scale needs a batch norm .* 'layer3.0.conv2' has none; use l1"):
        BatchNormScale().score(bare)


# --- CAR ---------------------------------------------------------------------------------------------------------


def pair_group(rows=None) -> GroupMatrices:
    """Channels 0 and 1 do the same, and one of them is needed; 2 is needed always; 3 helps the second class alone."""

    def asked(keep):
        first = 1.0 - 0.5 * (not (keep[0] or keep[1])) - 0.3 * (not keep[2])
        second = first - 0.2 * (not keep[3])
        quality = (first + second) / 2
        return Answers(quality, 1 - quality, np.array([first, second]))

    return GroupMatrices("g", 4, rows=(np.eye(4) if rows is None else rows,), asked=asked)


def test_car_is_greedy_after_the_twin_is_gone_the_other_stays():
    """All at once, 0 and 1 look both useless; one after the other, the second is the most needed of all."""
    scores = Car(share=1.0).score(pair_group())
    assert list(np.argsort(scores)) == [0, 3, 2, 1]
    alone = class_wise_reductions(pair_group()).mean(axis=1)
    assert list(np.flatnonzero(alone == 0)) == [0, 1]


def test_car_by_class():
    assert np.argsort(Car(share=1.0, label=0).score(pair_group()))[0] == 0
    assert set(np.argsort(Car(share=0.5, label=0).score(pair_group()))[:2]) == {0, 3}
    with pytest.raises(ValueError, match="expected images of class 2 for label of car, got none"):
        Car(label=2).score(pair_group())
    reductions = class_wise_reductions(pair_group())
    assert reductions.shape == (4, 2)
    assert reductions[3] == pytest.approx([0, 0.2])


def test_cars_ties_go_by_the_loss_and_then_by_the_norm():
    rows = np.diag([2.0, 1.0, 1.0, 1.0])
    assert next(Car().removals(pair_group(rows)))[0] == 1


def test_car_asks_no_more_than_its_shortlist():
    count = [0]
    found = pair_group()

    def counted(keep):
        count[0] += 1
        return found.asked(keep)

    order = list(Car(share=0.5, shortlist=1).removals(replace(found, asked=counted)))
    assert count == [2]
    assert [channel for channel, _ in order] == [0, 1], "a shortlist of one is the order of the norms"


def test_car_may_try_first_what_taylor_takes_for_small():
    def asked(keep):
        return Answers(float(keep.mean()), 0.0, np.zeros(1))

    changes = np.array([[3.0, -1.0, 0.5, 2.0]])
    group = GroupMatrices("layer", 4, rows=(np.arange(1.0, 5.0)[:, None],), asked=asked, changes=changes)
    order = [channel for channel, _ in Car(share=0.5, shortlist=1, suspects="taylor").removals(group)]
    assert order == [2, 1]
    with pytest.raises(ValueError, match="needs changes of the loss"):
        next(Car(suspects="taylor").removals(replace(group, changes=None)))


# --- importance weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STARTS)
def test_starts_are_finite_repeatable_and_of_mean_one_where_they_come_from_data(name):
    found = start(name, group(dead=0), np.random.default_rng(0))
    assert found.shape == (SIZE,)
    assert np.isfinite(found).all()
    assert np.array_equal(found, start(name, group(dead=0), np.random.default_rng(0)))
    if name in FROM_DATA:
        assert found.mean() == pytest.approx(1, abs=0.05)
        assert start(name, group(dead=5), np.random.default_rng(0)).min() >= 0.05, "it will be divided by"


def test_an_unknown_start_is_one_sentence():
    with pytest.raises(ValueError, match=r"start of importance weights must be one of ones, .*, got 'l3'"):
        start("l3", group(), np.random.default_rng(0))


def test_importance_weights_without_norm_are_what_was_learned():
    found = group()
    assert np.array_equal(ImportanceWeights(with_norm=False).score(found), np.abs(found.learned))
