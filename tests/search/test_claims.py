# SPDX-License-Identifier: Apache-2.0
"""The room that a certificate needs is known before there is one: no certificate takes more."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from gossamer import container
from gossamer.certify import ACCURACY, BETTING, METHOD, ByArea, Certificate, Listed
from gossamer.container.blocks import write_json
from gossamer.search.claims import claims, claims_bound

RESULTS = Path(__file__).resolve().parents[2] / "results"
WORDS = ("some/where/net.py:Net", "tiles", "auto")


def random_certificate(n: int, bets: bool, spread: float, seed: int) -> Certificate:
    """Numbers with all their digits; differences of this spread, or even ones where it is None."""
    draw, rng = random.Random(seed), np.random.default_rng(seed)

    def number() -> float:
        return draw.choice((1, -1)) * draw.random() * 10.0 ** draw.randrange(-6, 1)

    drops = rng.uniform(-1, 1, n) if spread is None else rng.normal(0.003, spread, n).clip(-1, 1)
    b = draw.randrange(n + 1)
    return Certificate(
        *(number(), number(), n, b, draw.randrange(n - b + 1), number(), number(), number(), number()),
        proven=draw.random() < 0.5,
        method=BETTING if bets else METHOD,
        data_sha256=f"{draw.randrange(16**64):064x}",
        payload_sha256=f"{draw.randrange(16**64):064x}",
        look=draw.randrange(1, 1000),
        alpha=number(),
        measure="pixel accuracy" if bets else "accuracy",
        wager=number(),
        differences=tuple(sorted(np.ceil(10_000 * drops).astype(int).tolist())) if bets else (),
        sequence=Listed(f"{draw.randrange(16**64):064x}", by_counts=True),
    )


def size_of(certificate: Certificate, seed: int, areas: int = 0) -> int:
    draw = random.Random(seed)
    by_area = ByArea(-draw.random(), draw.random(), areas, upper=draw.random())
    said = claims(
        certificate.to_json(),
        network=WORDS[0],
        data=WORDS[1],
        recipe=WORDS[2],
        original_quality=draw.random(),
        compressed_quality=draw.random(),
        fp32_bytes=31_083_408,
        macs=40_813_184_000,
        runtime="onnxruntime",
        by_area=by_area.to_json() if areas else None,
    )
    return len(write_json({"payload_sha256": certificate.payload_sha256} | said, "claims"))


def bound(n: int, bets: bool, areas: bool = False) -> int:
    measure = "pixel accuracy" if bets else "accuracy"
    sizes = {"fp32_bytes": 31_083_408, "macs": 40_813_184_000}
    return claims_bound(n, by_bets=bets, measure=measure, words=WORDS, areas=areas, **sizes)


@pytest.mark.parametrize("bets", [False, True], ids=["counts", "bets"])
@pytest.mark.parametrize("n", [1, 2, 7, 50, 400, 3000])
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.1, None])
def test_no_certificate_takes_more(n: int, bets: bool, spread: float | None) -> None:
    seeds = range(40 if n <= 400 else 5)
    largest = max(size_of(random_certificate(n, bets, spread, seed), seed) for seed in seeds)
    assert largest <= bound(n, bets)
    with_areas = max(size_of(random_certificate(n, bets, spread, seed), seed, areas=n) for seed in seeds)
    assert largest < with_areas <= bound(n, bets, areas=True) < bound(n, bets) + 140


def test_little_more_is_kept_free_than_certificates_need() -> None:
    assert max(size_of(random_certificate(5000, False, 0, seed), seed) for seed in range(40)) > bound(5000, False) - 60
    assert bound(5000, False) < 440
    assert bound(400, True) < 1020, "where 500 bytes list the differences"


@pytest.mark.parametrize("folder", sorted(path.parent for path in RESULTS.glob("*/report.json")), ids=lambda f: f.name)
def test_the_files_of_results_keep_to_it(folder: Path) -> None:
    file = container.read(folder / "model.gossamer")
    said = file.claims
    words = (said["network"], said["data"], said["recipe"])
    found, areas = said["certificate"], "by_area" in said
    bets, measure = found["method"] == BETTING, found.get("measure", ACCURACY)
    most = claims_bound(found["n"], by_bets=bets, measure=measure, words=words, areas=areas, **said["original"])
    size = container.parts(file)["certificate and claims"]
    if others := said["certificate"].get("sequence"):  # in a run within limits there are none
        alone = {**said, "certificate": {**said["certificate"], "sequence": {"order": others["order"]}}}
        size -= len(write_json(said, "claims")) - len(write_json(alone, "claims"))
    assert size <= most
