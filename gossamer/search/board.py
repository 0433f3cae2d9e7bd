# SPDX-License-Identifier: Apache-2.0
"""A latency table of another machine: cuts of a network go there in a bundle, and their times come back.

    FOLDER/table.json    how many channels each group of each network keeps        (`pack_table`)
    FOLDER/board.json    what the bundle's script measured there                   (`read_table`)

Batch 1 in ONNX Runtime, each cut in float32 and in int8 arithmetic, which are a table each: on some machines int8 is
the slower one. (Ranges of activations are those of noise: times do not depend on them.) Which multiples of channels the
machine likes is not known before; cuts keep multiples of 8, and a table is never used for smaller ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.files import read_json, write_json
from gossamer.graph import Network
from gossamer.measure.bundle import board_name, pack_models, read_board
from gossamer.plan import Plan
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.runtime.export import export_onnx
from gossamer.search.claim import architecture_sha256
from gossamer.search.latency_table import LatencyTable, blindly_cut, fit_table, liked_multiple, probes, samples
from gossamer.search.run import Run

MULTIPLE = 8
VERSION = 2
PACKED = "table.json"


@dataclass(frozen=True)
class Tables:
    """What layers take on one machine, in each arithmetic."""

    float32: LatencyTable
    int8: LatencyTable

    def of(self, *, int8: bool) -> LatencyTable:
        """The table of an arithmetic."""
        return self.int8 if int8 else self.float32

    def to_json(self) -> dict[str, Any]:
        """A JSON value; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Tables:
        """The tables written by `to_json`."""
        return cls(**{name: LatencyTable.from_json(table) for name, table in value.items()})


def board_of(run: Run) -> Tables | None:
    """The tables of another machine, where the run's settings name them; read once and remembered by the run."""
    if run.settings.latency_table is None:
        return None
    folder = Path(run.settings.latency_table)
    if not run.stage("latency table of another machine", (folder / PACKED).exists):
        return None  # of this one (`measured_table`)

    def compute() -> dict[str, Any]:
        found = read_table(folder, run.network)
        errors = " and ".join(f"{100 * table['error']:.0f} % in {name}" for name, table in found["tables"].items())
        run.note(
            f"milliseconds of candidates are those that a table of another machine predicts ({found['board']}), off by "
            f"{errors} on networks that it was not made of (median); "
            "`gossamer bench --bundle` measures the result there"
        )
        return found

    return Tables.from_json(run.stage("latency table of a board", compute)["tables"])


def predicted(run: Run, tables: Tables, plan: Plan) -> tuple[float, float]:
    """Milliseconds at the plan's widths in its arithmetic, and how many times as fast as the original in float32."""
    counts = {name: int(keep.sum()) for name, keep in plan.keep().items()}
    before = tables.float32.milliseconds(run.network, {})
    after = tables.of(int8=plan.int8).milliseconds(run.network, counts)
    return after, before / after


def pack_table(folder: Path, network: Network) -> int:
    """Write the bundle of a network's latency table; returns how many networks are in it."""
    may_end = {group.name for group in network.prunable if network.can_end(group.name)}
    probed, sampled = probes(network), list(samples(network, may_end, MULTIPLE))
    named = {f"probe-{n}": counts for n, counts in enumerate(probed)}
    named |= {f"sample-{n:02d}": counts for n, counts in enumerate(sampled)}
    shape = (1, *network.example[0].shape[1:])
    noise = np.random.default_rng(0).standard_normal((2, *shape[1:]), np.float32)
    models = {}
    for name, counts in named.items():
        cut = blindly_cut(network, counts)
        model = export_onnx(cut.module, cut.example)
        models[f"float32-{name}"], models[f"int8-{name}"] = model, quantize_int8(model, [noise])
    write_json(folder / PACKED, {"version": VERSION, "network": shape_of(network), "counts": named})
    pack_models(folder, models, shape)
    return len(models)


def read_table(folder: Path, network: Network) -> dict[str, Any]:
    """The `board` in words, and its `tables` as JSON, from a bundle that came back with a board.json."""
    if not (folder / PACKED).exists() or not (folder / "board.json").exists():
        raise ValueError(
            f"expected a folder with {PACKED}, written by `gossamer bench --table-of`, and the board.json that its "
            f"script made on the board, found not both in {folder}; copy board.json beside {PACKED}"
        )
    packed, found = read_json(folder / PACKED), read_board(folder / "board.json")
    if packed.get("version") != VERSION:
        raise ValueError(f"expected a latency table of version {VERSION} in {folder}, got an older one; pack it anew")
    if packed["network"] != shape_of(network):
        raise ValueError(f"expected the latency table of this network in {folder}, got that of another; pack it anew")
    wanted = {f"{arithmetic}-{name}" for arithmetic in ("float32", "int8") for name in packed["counts"]}
    if missing := sorted(wanted - found["networks"].keys()):
        raise ValueError(
            f"expected the times of every network of {folder / PACKED} in board.json, '{missing[0]}' is missing"
        )

    def table(arithmetic: str) -> LatencyTable:
        def part(prefix: str) -> tuple[list[dict[str, int]], list[float]]:
            names = sorted(name for name in packed["counts"] if name.startswith(prefix))
            times = [found["networks"][f"{arithmetic}-{name}"]["median_ms"] for name in names]
            return [packed["counts"][name] for name in names], times

        multiple = max(MULTIPLE, liked_multiple(network, *part("probe-")))
        return fit_table(network, *part("sample-"), multiple)

    return {"board": board_name(found), "tables": Tables(table("float32"), table("int8")).to_json()}


def shape_of(network: Network) -> dict[str, Any]:
    """What times depend on: the network's code, its widths and the size of its images."""
    return {
        "code": architecture_sha256(network),
        "groups": {group.name: group.size for group in network.groups},
        "macs": network.macs,
    }
