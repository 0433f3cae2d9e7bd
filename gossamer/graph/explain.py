# SPDX-License-Identifier: Apache-2.0
"""For every layer: which of its output channels can be cut, with what they go together, and why others stay."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.graph.network import Network


@dataclass(frozen=True)
class Row:
    """Some output channels of a layer: those that belong to one group. `why` is "" where they can be cut exactly."""

    layer: str
    group: str
    channels: int
    removable: bool
    why: str


def explain(network: Network) -> list[Row]:
    """One row per layer and group it produces, in forward order; every output channel is in exactly one row."""
    rows = []
    for layer in network.layers:
        listed = 0
        for group in network.groups:
            members = [m for m in group.members if m.tensor == layer.name and m.role == "row"]
            for member in members:
                # in a ragged weight a channel has a slot in every row of its group
                count = member.index.size // (layer.shape[0] // layer.groups if member.ragged else 1)
                rows.append(Row(layer.name, group.name, count, group.removable, group.reason))
                listed += count
        outputs = layer.outputs
        if listed < outputs:
            why = "it is a single channel" if outputs == 1 else "no rule follows these channels"
            rows.append(Row(layer.name, "", outputs - listed, False, why))
    return rows
