# SPDX-License-Identifier: Apache-2.0
"""docs/coverage.md, made from results/coverage/ and never by hand."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.coverage_networks import LEFT_OUT
from gossamer.files import read_json, write_atomically

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "results" / "coverage"
SOURCES = {
    "torchvision": "torchvision: classifiers and segmenters",
    "timm": "timm: every family with convolutions",
    "smp": "segmentation_models_pytorch",
    "detection": "torchvision: the networks of detectors",
}
INTRODUCTION = """# Coverage: which networks can be cut exactly

For each network: export and analysis; half of the removable channels of every group cut at random; the cut network
against the original with those channels silenced, in float64, on random weights and statistics, in evaluation and
training form; a training step at another batch size; and ONNX Runtime on the exported cut network. *Exact* means a
relative error below 1e-10. *Removable* is the share of parameters that lie in exact groups. Times are processor time
on one thread. The last column is Torch-Pruning 1.6.1, asked for the same in the way of its README, in float64,
on the network's own initialisation with norm statistics at random: *differs* means that its cut network does not
compute what the original computes without the removed channels (for layer norms that is no fault of the cut),
*timeout* that it had not finished after 60 s of processor time (120 s of the clock for the first rows).

This page is made by `python -m benchmarks.coverage_run page` from [results/coverage](../results/coverage/).
"""


def write_page() -> None:
    """Put the page into docs/coverage.md."""
    write_atomically(ROOT / "docs" / "coverage.md", page().encode())


def page() -> str:
    """The tables, and what is said about them."""
    rows = {source: read_json(ROWS / f"{source}.json") for source in SOURCES if (ROWS / f"{source}.json").exists()}
    parts = [INTRODUCTION, summary([row for known in rows.values() for row in known])]
    for source, known in rows.items():
        parts.append(f"## {SOURCES[source]}\n\n{table(known)}")
    left_out = "".join(f"- `{name}`: {why}\n" for name, why in LEFT_OUT.items())
    parts.append(f"## Left out\n\n{left_out}")
    parts.append(f"## Why channels stay\n\n{reasons([row for known in rows.values() for row in known])}")
    return "\n".join(parts)


def summary(rows: list[dict[str, Any]]) -> str:
    """The counts, ours and the peer's."""
    ours, theirs = Counter(row["outcome"] for row in rows), Counter(_peer(row) for row in rows)
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    lines = [
        f"{len(rows)} networks: {_counts(ours)}. Torch-Pruning on the same: {_counts(theirs)}.",
        f"Analysis after export takes {statistics.median(s['analysis'] for s in seconds):.2f} s in the median "
        f"({max(s['analysis'] for s in seconds):.1f} s at most), a cut "
        f"{statistics.median(s['cut'] for s in seconds):.2f} s ({max(s['cut'] for s in seconds):.1f} s), export of "
        f"both forms {statistics.median(s['export'] for s in seconds):.1f} s.",
    ]
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    """One line a network."""
    head = (
        "| network | parameters | groups | channels, exact | removable | error | trains | ONNX | analysis | "
        "Torch-Pruning |\n|---|---:|---:|---:|---:|---:|---|---|---:|---|\n"
    )
    return head + "".join(_line(row) for row in rows)


def _line(row: dict[str, Any]) -> str:
    if "error" not in row:
        return f"| {row['network']} | | | | | {row['outcome']}: {row.get('why', '')} | | | | {_peer(row)} |\n"
    onnx = row["onnx_error"]
    cells = [
        row["network"],
        f"{row['parameters'] / 1e6:.1f} M",
        str(row["groups"]),
        f"{row['channels_exact']:,} of {row['channels']:,}",
        f"{100 * row['removable_share']:.0f} %",
        f"{row['error']:.0e}" + ("" if row["exact"] else " **wrong**"),
        "yes" if row["trains"] else "**no**",
        "equal" if isinstance(onnx, float) and onnx < 2e-3 else f"{onnx}",
        f"{row['seconds']['analysis']:.2f} s",
        _peer(row),
    ]
    return f"| {' | '.join(cells)} |\n"


def reasons(rows: list[dict[str, Any]]) -> str:
    """How often each reason keeps a group whole, over all networks."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(row.get("why_not", {}))
    return "| reason | groups |\n|---|---:|\n" + "".join(
        f"| {reason} | {count} |\n" for reason, count in counts.most_common()
    )


def _peer(row: dict[str, Any]) -> str:
    peer = row.get("torch_pruning") or {"outcome": "not tried"}
    return str(peer["outcome"])


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
