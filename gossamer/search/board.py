# SPDX-License-Identifier: Apache-2.0
"""A latency table of another machine: cuts of a network go there in a bundle, and their times come back.

    FOLDER/table.json    how many channels each group of each network keeps        (`pack_table`)
    FOLDER/board.json    what the bundle's script measured there                   (`read_table`)

Float32 at batch 1 in ONNX Runtime. Which multiples of channels the machine likes is not known before; cuts keep
multiples of 8, and a table is never used for smaller ones.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gossamer.files import read_json, write_json
from gossamer.graph import Network
from gossamer.measure.bundle import board_name, pack_models, read_board
from gossamer.plan import Plan
from gossamer.runtime.export import export_onnx
from gossamer.search.claim import architecture_sha256
from gossamer.search.latency_table import LatencyTable, blindly_cut, fit_table, liked_multiple, probes, samples
from gossamer.search.run import Run

MULTIPLE = 8


def board_of(run: Run) -> LatencyTable | None:
    """The table of another machine, where the run's settings name one; read once and remembered by the run."""
    if run.settings.latency_table is None:
        return None
    folder = Path(run.settings.latency_table)

    def compute() -> dict[str, Any]:
        found = read_table(folder, run.network)
        run.note(
            f"milliseconds of candidates are those that a table of another machine predicts ({found['board']}), off by "
            f"{100 * found['table']['error']:.0f} % on networks that it was not made of (median); "
            "`gossamer bench --bundle` measures the result there"
        )
        return found

    return LatencyTable.from_json(run.stage("latency table of a board", compute)["table"])


def predicted(run: Run, table: LatencyTable, plan: Plan) -> tuple[float, float]:
    """Milliseconds at the plan's widths, and how many times as fast as the original."""
    counts = {name: int(keep.sum()) for name, keep in plan.keep().items()}
    before, after = (table.milliseconds(run.network, kept) for kept in ({}, counts))
    return after, before / after


def pack_table(folder: Path, network: Network) -> int:
    """Write the bundle of a network's latency table; returns how many networks are in it."""
    may_end = {group.name for group in network.prunable if network.can_end(group.name)}
    probed, sampled = probes(network), list(samples(network, may_end, MULTIPLE))
    named = {f"probe-{n}": counts for n, counts in enumerate(probed)}
    named |= {f"sample-{n:02d}": counts for n, counts in enumerate(sampled)}
    models = {}
    for name, counts in named.items():
        cut = blindly_cut(network, counts)
        models[name] = export_onnx(cut.module, cut.example)
    write_json(folder / "table.json", {"version": 1, "network": _shape(network), "counts": named})
    pack_models(folder, models, (1, *network.example[0].shape[1:]))
    return len(models)


def read_table(folder: Path, network: Network) -> dict[str, Any]:
    """The `board` in words, and its `table` as JSON, from a bundle that came back with a board.json."""
    if not (folder / "table.json").exists() or not (folder / "board.json").exists():
        raise ValueError(
            f"expected a folder with table.json, written by `gossamer bench --table-of`, and the board.json that its "
            f"script made on the board, found not both in {folder}; copy board.json beside table.json"
        )
    packed, found = read_json(folder / "table.json"), read_board(folder / "board.json")
    if packed["network"] != _shape(network):
        raise ValueError(f"expected the latency table of this network in {folder}, got that of another; pack it anew")
    if missing := sorted(packed["counts"].keys() - found["networks"].keys()):
        raise ValueError(
            f"expected the times of every network of {folder / 'table.json'} in board.json, '{missing[0]}' is missing"
        )
    times = {name: found["networks"][name]["median_ms"] for name in packed["counts"]}

    def part(prefix: str) -> tuple[list[dict[str, int]], list[float]]:
        names = sorted(name for name in packed["counts"] if name.startswith(prefix))
        return [packed["counts"][name] for name in names], [times[name] for name in names]

    multiple = max(MULTIPLE, liked_multiple(network, *part("probe-")))
    return {"board": board_name(found), "table": asdict(fit_table(network, *part("sample-"), multiple))}


def _shape(network: Network) -> dict[str, Any]:
    """What times depend on: the network's code, its widths and the size of its images."""
    return {
        "code": architecture_sha256(network),
        "groups": {group.name: group.size for group in network.groups},
        "macs": network.macs,
    }
