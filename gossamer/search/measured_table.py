# SPDX-License-Identifier: Apache-2.0
"""A latency table that a run has measured on this machine, kept as a file: another run may take it over.

    RUN/stages/latency table.json    the table, and what it is of: network, arithmetic, runtime, threads, processor

Making one takes minutes, in which nobody else may use the machine. Candidates are timed in the runtime all the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gossamer.files import read_json
from gossamer.measure.environment import environment, version
from gossamer.search.board import PACKED, shape_of
from gossamer.search.latency_table import LatencyTable
from gossamer.search.run import Run

STAGE = "latency table"


def what_it_is_of(run: Run) -> dict[str, Any]:
    """What the milliseconds of a table depend on, arithmetic aside, as JSON values."""
    return {
        "network": shape_of(run.network),
        "runtime": run.goal.runtime,
        "version": version(run.goal.runtime),
        "threads": run.settings.threads,
        "processor": environment().get("cpu", ""),
    }


def as_stored(run: Run, table: LatencyTable, *, int8: bool) -> dict[str, Any]:
    """A table as a stage of the run; `taken_over` reads it."""
    return {"table": table.to_json(), "int8": int8, "of": what_it_is_of(run)}


def taken_over(run: Run, *, int8: bool) -> LatencyTable | None:
    """The table that the run's settings name; None where they name none of this machine, or the other arithmetic's.

    ValueError where it is of another network, runtime, number of threads or processor.
    """
    if run.settings.latency_table is None:
        return None
    given = Path(run.settings.latency_table)
    path = given / "stages" / f"{STAGE}.json" if given.is_dir() else given
    stored = read_json(path) if path.is_file() else None
    value = stored.get("value") if isinstance(stored, dict) else None
    if not isinstance(value, dict) or not {"table", "int8", "of"} <= value.keys():
        raise ValueError(
            f"expected a bundle of `gossamer bench --table-of` with {PACKED}, the folder of a run that minimised "
            f"latency, or its 'stages/{STAGE}.json', got {given}; check --latency-table"
        )
    here = what_it_is_of(run)
    if differs := [name for name in here if value["of"].get(name) != here[name]]:
        name = differs[0]
        words = "" if name == "network" else f" ({value['of'].get(name)}, here {here[name]})"
        raise ValueError(
            f"expected a latency table of this network on this machine in {path}, got one of another {name}{words}; "
            "leave out --latency-table, and one is made"
        )
    if value["int8"] != int8:
        run.note(
            f"the latency table in {path} is of {'int8' if value['int8'] else 'float32'}, and the other arithmetic is "
            "the faster one here: a table of that was made"
        )
        return None
    run.note(f"the latency table was taken over from {path}")
    return LatencyTable.from_json(value["table"])
