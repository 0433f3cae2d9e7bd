# SPDX-License-Identifier: Apache-2.0
"""Areas instead of images: the interval is that of the cluster bootstrap, and images of one area count once."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.certify.by_area import RESAMPLES, ByArea, by_known_areas, drop_by_area


def by_hand(drops: np.ndarray, areas: np.ndarray, seed: int) -> tuple[float, float]:
    """One resample after the other, image by image."""
    rng = np.random.default_rng(seed)
    members = [drops[areas == area] for area in np.unique(areas)]
    means = []
    for _ in range(2000):
        drawn = rng.integers(0, len(members), len(members))
        means.append(np.concatenate([members[index] for index in drawn]).mean())
    return tuple(np.quantile(means, [0.025, 0.975]))


def test_it_is_what_resampling_by_hand_gives() -> None:
    rng = np.random.default_rng(0)
    areas = rng.integers(0, 30, 400)
    drops = rng.normal(0, 0.02, 400) + 0.03 * (areas % 3)
    found = drop_by_area(drops, areas)
    low, high = by_hand(drops, areas, 1)
    assert (found.areas, found.resamples) == (30, RESAMPLES)
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))
    assert found == drop_by_area(drops, areas), "the same images give the same interval"


def test_images_of_one_area_count_once() -> None:
    drops = np.random.default_rng(0).normal(0.01, 0.05, 100)
    alone = drop_by_area(drops, np.arange(100))
    repeated = drop_by_area(np.repeat(drops, 20), np.repeat(np.arange(100), 20))
    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high))
    independent = drop_by_area(np.repeat(drops, 20), np.arange(2000))
    assert independent.high - independent.low < 0.4 * (alone.high - alone.low), "as if there were twenty times as many"


def test_a_large_area_weighs_as_much_as_its_images() -> None:
    drops, areas = np.array([1.0] + [0.0] * 99), np.array([0] + [1] * 99)
    found = drop_by_area(drops, areas)
    assert found.low == 0.0
    assert found.high == 1.0  # both draws are the small one in a quarter of the resamples
    assert str(found) == (
        "by area, approximate: drop between 0.00 and 100.00 points, 95 % of 10,000 resamples of 2 areas; with so few "
        "areas that means little"
    )


def test_it_reads_as_a_sentence() -> None:
    assert str(ByArea(-0.0012, 0.0051, 40)) == (
        "by area, approximate: drop between -0.12 and 0.51 points, 95 % of 10,000 resamples of 40 areas"
    )
    assert "resamples of 1 area; with" in str(drop_by_area([0.1, 0.2], [7, 7]))


def test_the_one_sided_end_is_at_the_level_of_the_certificate() -> None:
    rng = np.random.default_rng(0)
    areas = np.repeat(np.arange(50), 8)
    drops = rng.normal(0.01, 0.02, 50)[areas]
    found = [drop_by_area(drops, areas, alpha) for alpha in (0.025, 0.3, 0.001)]
    assert found[0].upper == pytest.approx(found[0].high)
    assert found[1].upper < found[0].upper < found[2].upper
    assert found[0].reaches_beyond(found[0].upper - 1e-9)
    assert not found[0].reaches_beyond(found[0].upper)
    assert drop_by_area(drops, areas).upper is None
    assert not drop_by_area(drops, areas).reaches_beyond(-1.0), "of reports from before it was told nothing is said"
    assert ByArea(0.0, 0.0, 9, upper=0.010000001).reach == "1.01", "never shown smaller than it is"


def test_claims_of_areas_are_read_back() -> None:
    found = drop_by_area([0.1, 0.2, 0.3], [4, 5, 5], 0.03)
    assert ByArea.in_claims({"by_area": found.to_json()}) == found
    assert ByArea.in_claims({}) is None
    for wrong in ({}, [], {**found.to_json(), "upper": "0"}, {**found.to_json(), "more": 1}, {"low": 0.0}):
        with pytest.raises(ValueError, match="expected low, high, areas, resamples, share and upper of by_area"):
            ByArea.in_claims({"by_area": wrong})


def test_areas_of_one_image_each_say_nothing_new() -> None:
    assert by_known_areas([0.1, 0.2, 0.3], None) is None
    assert by_known_areas([0.1, 0.2, 0.3], [4, 5, 6]) is None
    assert by_known_areas([0.1, 0.2, 0.3], [4, 5, 5]) == drop_by_area([0.1, 0.2, 0.3], [4, 5, 5])


@pytest.mark.parametrize(("drops", "areas"), [([0.1], [1, 2]), ([], []), ([[0.1]], [[1]])])
def test_every_difference_needs_an_area(drops: list, areas: list) -> None:
    with pytest.raises(ValueError, match="expected an area for each difference, at least one"):
        drop_by_area(drops, areas)
