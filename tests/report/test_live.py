# SPDX-License-Identifier: Apache-2.0
"""Whoever looks on sees the candidates so far, which of them are unbeaten, and the time left."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from gossamer.measure.sizes import Sizes
from gossamer.report.live import TerminalWatch
from gossamer.report.terminal import live_table
from gossamer.search.candidate import Candidate
from gossamer.search.judge import Verdict


def candidate(name: str, coded: int, drop: float, accepted: bool = True) -> Candidate:
    return Candidate(
        name=name,
        folder=Path(name),
        sizes=Sizes(fp32=1_000_000, zip=900_000, runtime=1_000_000, coded=coded),
        parameters=250_000,
        nonzeros=100_000,
        macs=40_000_000,
        verdict=Verdict(drop, 0.01, accepted, "" if accepted else "drop 0.90 points above the 0.40 wanted"),
        quality=0.9 - drop,
        latency_ms=None,
        speedup=None,
        smaller=1_000_000 / coded,
    )


FOUND = [
    candidate("careful", 100_000, 0.001),
    candidate("beaten", 120_000, 0.002),
    candidate("bold", 50_000, 0.003),
    candidate("too bold", 25_000, 0.009, accepted=False),
]


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    watch = TerminalWatch(console=Console(file=out, force_terminal=terminal, width=160))
    watch.clock(120, 1.0)
    with watch.bar("tuning") as step:
        for found in FOUND:
            watch.candidate(found.name, asdict(found))
        step(3, 4, "loss 0.1")
        watch._bars.refresh()  # as a thread of its own does ten times a second
    return out.getvalue()


def test_a_terminal_has_a_table_above_the_bar():
    text = shown(terminal=True)
    whole = text[text.index("too bold") :]
    assert "tuning" in whole
    assert "58 min 00 s left of 1 h" in " ".join(whole.split())
    assert "on selection" not in text, "no lines beside the table"


def test_a_log_has_lines():
    text = shown(terminal=False)
    assert "bold: 50.0 kB (20.0x), drop +0.30 points on selection, accepted" in text
    assert "too bold: 25.0 kB (40.0x), drop +0.90 points on selection, refused: drop 0.90" in text


def test_the_unbeaten_are_marked():
    out = io.StringIO()
    Console(file=out, width=160).print(live_table(FOUND, "bytes", ""))
    marked = [line.split()[1] for line in out.getvalue().splitlines() if line.strip().startswith("* ")]
    assert marked == ["careful", "bold", "too"]


def test_working_memory_is_a_column_and_candidates_written_before_it_are_read():
    without = {name: value for name, value in asdict(FOUND[0]).items() if name != "ram_bytes"}
    old, new = Candidate.of(without), replace(FOUND[0], ram_bytes=196_608)
    assert old.ram_bytes is None
    out = io.StringIO()
    Console(file=out, width=160).print(live_table([old, new], "bytes", ""))
    lines = [line for line in out.getvalue().splitlines() if "careful" in line]
    assert "197 kB" not in lines[0]
    assert "40.0 M 197 kB" in " ".join(lines[1].split())
