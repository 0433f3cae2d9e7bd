# SPDX-License-Identifier: Apache-2.0
"""Fewer bytes by fewer channels first; what `auto` is asked is what it does."""

from __future__ import annotations

import pytest

import gossamer
from gossamer import container
from gossamer.goal import Goal
from gossamer.search.settings import Settings

SETTINGS = Settings(epochs=1, batch_size=64, augment=False)


def test_bits_are_asked_of_a_network_that_was_cut_and_trained(user_task, trained, tmp_path):
    task = user_task(trained)
    result = gossamer.compress(
        task, Goal(0.05), "auto:macs=0.5", out=tmp_path / "run", settings=SETTINGS, ledger=tmp_path / "l.json"
    )
    by_name = {candidate.name: candidate for candidate in result.candidates}
    slim = by_name["50 % of the MACs"]
    rounded = [candidate for name, candidate in by_name.items() if name.startswith("50 % of the MACs, strength")]
    bits = [candidate for name, candidate in by_name.items() if name.endswith("bits a weight")]
    original = result.report.original
    assert 0.25 * original.macs < slim.macs <= 0.5 * original.macs
    assert {candidate.macs for candidate in rounded} == {slim.macs}
    assert rounded[0].sizes.coded < 0.7 * slim.sizes.coded  # training for bits starts on coarse grids
    for candidate in bits:
        assert candidate.macs <= slim.macs
        assert candidate.sizes.coded < [one for one in rounded if one.verdict.accepted][-1].sizes.coded
        assert candidate.plan.channels.keys() >= slim.plan.channels.keys()
    assert bits
    assert container.read(result.folder / "model.gossamer").claims["certificate"]
    assert not list(result.folder.rglob("training.safetensors"))


@pytest.mark.parametrize("goal", [Goal(0.05, minimise="macs"), Goal(0.05, fit={"bytes": 5000})], ids=["macs", "fit"])
def test_options_for_bytes_are_refused_where_they_would_do_nothing(goal, user_task, trained, tmp_path):
    with pytest.raises(ValueError, match=r"expected auto without options, .* got bits=0 and macs=0.5; leave them out"):
        gossamer.compress(user_task(trained), goal, "auto:macs=0.5", out=tmp_path, settings=SETTINGS)


def test_a_share_of_all_is_none():
    with pytest.raises(ValueError, match="macs of auto must be a share of the multiply-adds below 1, got 1"):
        gossamer.recipes.auto.Auto(macs=1.0)
