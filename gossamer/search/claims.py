# SPDX-License-Identifier: Apache-2.0
"""What travels inside the file beside the network: the certificate and what it is about; and how large that can become.

A file that must fit into a limit is measured before its certificate is there, which then is of a single candidate. The
claims are taken for as large as they can be: every number with all its digits, no two of them alike, and as many
differences as there are test images, whose length `certify.elias_fano` knows. What remains is the luck of deflate, for
which there is a reserve.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from gossamer.certify import BETTING, METHOD, ByArea, Certificate, Listed
from gossamer.certify.betting import STEPS
from gossamer.certify.elias_fano import packed_length
from gossamer.container.blocks import write_json
from gossamer.goal import Runtime
from gossamer.search.run import Run

RESERVE = 32  # bytes: the largest of 10,000 random certificates was 5 above what is computed here
PAYLOAD = "payload_sha256"


def claims(
    certificate: Mapping[str, Any],
    *,
    network: str,
    data: str,
    recipe: str,
    original_quality: float,
    compressed_quality: float,
    fp32_bytes: int,
    macs: int,
    runtime: str,
    by_area: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The claims of a file; qualities are fractions of the test split, bytes and multiply-adds the original's.

    `runtime`: what gave the answers that were judged.
    `by_area`: what is known where images of one area are not independent (`certify.ByArea`).
    """
    return ({} if by_area is None else {"by_area": dict(by_area)}) | {
        "certificate": dict(certificate),
        "network": network,
        "data": data,
        "recipe": recipe,
        "quality": {"original": original_quality, "compressed": compressed_quality},
        "original": {"fp32_bytes": fp32_bytes, "macs": macs},
        "runtime": runtime,
    }


def most_claims_bytes(run: Run) -> int:
    """At most so many bytes the claims add to the file of a candidate of this run that no other is tested beside."""
    task, network = run.task, run.network
    return claims_bound(
        len(task.test),
        by_bets=run.original_quality().dtype != np.bool_,
        measure=task.of_kind.measured,
        words=(run.name, task.name, run.recipe),
        fp32_bytes=4 * network.parameters,
        macs=network.macs,
        areas=task.test.areas is not None,
    )


def claims_bound(
    n: int,
    *,
    by_bets: bool,
    measure: str,
    words: tuple[str, str, str],
    fp32_bytes: int,
    macs: int,
    areas: bool = False,
) -> int:
    """The same for `n` test images, of known `areas` or not; `words` name the network, the data and the recipe."""
    digits = random.Random(0)

    def number() -> float:
        """Seventeen digits and a power: nothing that is between -1 and 1 is written longer."""
        return float(f"{digits.choice('123456789')}.{digits.randrange(10**16):016d}e-05")

    def digest() -> str:
        return f"{digits.randrange(16**64):064x}"

    payload = digest()
    certificate = Certificate(
        tolerance=number(),
        confidence=number(),
        n=n,
        b=n // 3,
        c=n // 7,
        observed_drop=-number(),
        bound=-number(),
        guaranteed=-number(),
        p_value=number(),
        proven=False,
        method=BETTING if by_bets else METHOD,
        data_sha256=digest(),
        payload_sha256=payload,
        look=1234,
        alpha=number(),
        measure=measure,
        wager=number(),
        differences=(0,) * n,
        sequence=Listed(digest(), by_counts=True),
    )
    listed: dict[str, Any] = certificate.to_json() | ({"differences": ""} if by_bets else {})
    network, data, recipe = words
    said = claims(
        listed,
        network=network,
        data=data,
        recipe=recipe,
        original_quality=number(),
        compressed_quality=number(),
        fp32_bytes=fp32_bytes,
        macs=macs,
        runtime=max(get_args(Runtime), key=len),
        by_area=ByArea(-number(), number(), n, upper=number()).to_json() if areas else None,
    )
    size = len(write_json({PAYLOAD: payload} | said, "claims"))
    return size + RESERVE + (packed_length(n, 2 * STEPS) if by_bets else 0)
