# SPDX-License-Identifier: Apache-2.0
"""What segmentation networks bear at each tolerance, and the paper's ablations, from the files in results/.

python -m benchmarks.segmentation_table     writes the tables into docs/segmentation.md
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from benchmarks import shown
from benchmarks.filing import put_between
from benchmarks.segmentation_claims import ABLATIONS, LONG, NETWORKS, TOLERANCES
from gossamer.files import read_json
from gossamer.report.record import Report, Side

ROOT = Path(__file__).resolve().parent.parent
DOCS_PAGE, RESULTS = ROOT / "docs" / "segmentation.md", ROOT / "results"
FULL_WIDTHS = RESULTS / "full-widths" / "widths.json"
BEGIN, END = "<!-- tolerances: python -m benchmarks.segmentation_table -->", "<!-- end of tolerances -->"
ACCURACY = "accuracy of all pixels"
HEAD = (
    "",
    "MACs",
    "parameters",
    "pixel accuracy",
    "IoU, mean over images",
    "pixel accuracy, second test",
    "IoU, second test",
    "dense control: IoU, second test",
    *(f"batch 1, {runtime}" for runtime in shown.RUNTIMES),
    "file",
    "certificate on IoU",
    "",
)


def rows_of(network: str) -> dict[str, str]:
    """The claims about a network on buildings, and what each was allowed or asked for."""
    return {
        **{f"{network}-importance-{points:g}": f"{points:g} point{'s' * (points != 1)}" for points in TOLERANCES},
        f"{network}-importance-1-int8": "1 point, in int8",
        f"{network}-bytes": "auto: 1 point, smallest file",
        f"{network}-latency": "auto: 1 point, fastest in OpenVINO",
    }


def sections() -> dict[str, dict[str, str]]:
    """Headings, and under each the claims with the first cells of their rows."""
    found = {f"{network.shows} on buildings": rows_of(name) for name, network in NETWORKS.items()}
    found[f"{LONG.shows}, on buildings"] = {"unet-long-importance-1": "1 point"}
    found["Cells"] = {f"cells-{name}-importance-0": f"{of.shows}: no loss" for name, of in NETWORKS.items()}
    varied = {"unet-importance-1": "all of it: weights start at the L1 norm, tolerance"}
    varied |= {f"unet-importance-{name}": words for name, (words, _) in ABLATIONS.items()}
    found["What the paper varies: U-Net on buildings, 1 point"] = varied
    return found


def cells(name: str, first: str, report: Report) -> list[str]:
    """A row."""
    before, after = report.original, report.compressed
    return [
        first,
        shown.macs(report),
        shown.parameters(report),
        shown.change(shown.figure(before, ACCURACY), shown.figure(after, ACCURACY)),
        shown.change(before.quality, after.quality),
        shown.change(_second(before, ACCURACY), _second(after, ACCURACY)),
        shown.change(_second(before), _second(after)),
        _control(report.control),
        *(shown.faster(report, runtime) for runtime in shown.RUNTIMES),
        shown.size(report),
        shown.proven(report),
        shown.link(name),
    ]


def _second(side: Side | None, name: str | None = None) -> float | None:
    """Quality on the second test, or a figure of it."""
    second = None if side is None else side.second_test
    return None if second is None else second.quality if name is None else (second.figures or {}).get(name)


def _control(side: Side | None) -> str:
    if side is None:
        return ""
    second = _second(side)
    return f"{100 * side.quality:.2f} %" + ("" if second is None else f", {100 * second:.2f} %")


def text(reports: Mapping[str, Report]) -> str:
    """What stands between the marks."""
    made = []
    for heading, claims in sections().items():
        rows = [cells(name, first, reports[name]) for name, first in claims.items() if name in reports]
        if rows:
            made.append(f"### {heading}\n\n{shown.table(HEAD, rows)}")
    made += [said for name in NETWORKS if (said := from_random_weights(name, reports.get(f"{name}-importance-1")))]
    return "\n\n".join([*made, *at_full_widths(reports)]) or shown.NOTHING


def at_full_widths(claims: Collection[str]) -> list[str]:
    """What `full_widths` has timed of these claims: the same cuts at full widths; nothing if it has not."""
    timed = read_json(FULL_WIDTHS) if FULL_WIDTHS.exists() else {}
    timed = {name: found for name, found in timed.items() if name in claims}
    if not timed:
        return []
    head = ("", "MACs", "parameters", *(f"batch 1, {runtime}" for runtime in shown.RUNTIMES), "in int8")
    rows = []
    for name, found in timed.items():
        times = [found["ms"][runtime] for runtime in shown.RUNTIMES]
        macs, parameters = found["macs"], found["parameters"]
        rows.append(
            [
                name,
                f"{macs[0] / 1e9:.1f} G → {macs[1] / 1e9:.2f} G ({100 * (macs[1] / macs[0] - 1):.1f} %)",
                f"{parameters[0] / 1e6:.2f} M → {parameters[1] / 1e6:.3f} M ({parameters[0] / parameters[1]:.1f}x)",
                *(f"{one['full']:.0f} → {one['cut']:.1f} ms ({one['cut, times as fast']:.1f}x)" for one in times),
                ", ".join(f"{one['cut, int8']:.1f} ms ({one['cut, int8, times as fast']:.1f}x)" for one in times),
            ]
        )
    said = (
        "Every group keeps the share of its channels that it keeps at a quarter of the widths; counted and timed, not "
        "trained ([full-widths](../results/full-widths/))."
    )
    return [f"### The same cuts at full widths\n\n{said}\n\n{shown.table(head, rows)}"]


def from_random_weights(network: str, pruned: Report | None) -> str | None:
    """What the shape that pruning found learns from random weights, beside what was pruned; None if not filed."""
    history = RESULTS / f"{network}-scratch" / "history.json"
    if pruned is None or not history.exists():
        return None
    found, (chosen,) = read_json(history), [one for one in pruned.candidates if one.name == pruned.chosen]
    link = f"[{network}-scratch](../results/{network}-scratch/)"
    return (
        f"**From random weights**, the shape of `{network}-importance-1` ({found['parameters']:,} parameters), trained "
        f"for {len(found['losses'])} epochs, reaches {100 * found['selection_quality']:.2f} % IoU on the images that "
        f"decide; pruned, it has {100 * (chosen.selection_quality or 0):.2f} % there ({link})."
    )


def filed() -> dict[str, Report]:
    """All reports that there are."""
    return shown.filed([name for claims in sections().values() for name in claims])


def main() -> int:
    """Write the page."""
    put_between(DOCS_PAGE, BEGIN, END, text(filed()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
