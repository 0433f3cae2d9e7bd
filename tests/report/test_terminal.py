# SPDX-License-Identifier: Apache-2.0
"""Tables that hold the numbers, and progress that knows where it is written to."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from gossamer.measure.environment import Finding
from gossamer.report import terminal
from gossamer.report.comparison import test_cell as shown_verdict
from gossamer.report.page import page as page_text
from gossamer.report.record import Opened, Report
from gossamer.report.terminal import bytes_table, candidates_table, comparison_table, doctor_table, progress


def _shown(table: Table, width: int = 110) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system="truecolor", force_terminal=True).print(table)
    return out.getvalue()


def _plain(table: Table, width: int = 110) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def test_comparison_holds_the_numbers(full: Report) -> None:
    shown = _plain(comparison_table(full))
    rows = {line.split("  ")[1].strip(): line for line in shown.splitlines() if line.startswith("  ")}
    for label, numbers in {
        "quality (accuracy, test split)": ["91.64 %", "91.52 %", "91.81 %", "-0.12 pt"],
        "size as fp32": ["1.08 MB", "528 kB", "2.05x"],
        "zip of fp32": ["1.00 MB", "371 kB", "2.70x"],
        "what the runtime loads": ["1.09 MB", "541 kB", "2.02x"],
        "coded file, against fp32": ["1.08 MB", "76.4 kB", "14.2x"],
        "parameters": ["270 k", "131 k", "2.05x"],
        "of them not zero": ["270 k", "98.2 k", "2.75x"],
        "multiply-adds": ["40.8 M", "19.2 M", "2.13x"],
        "batch 1, ONNX Runtime": ["1.87 ms", "1.21 ms", "1.55x"],
        "batch 1, OpenVINO": ["1.31 ms", "0.894 ms", "1.47x"],
    }.items():
        assert all(number in rows[label] for number in numbers), rows[label]
    assert "Proven: on 5,000 test images a drop of 1 point or more in accuracy is excluded" in shown
    assert "control" in shown


def test_figures_measure_and_areas_are_told(masks: Report) -> None:
    shown = _plain(comparison_table(masks))
    rows = {line.split("  ")[1].strip(): line for line in shown.splitlines() if line.startswith("  ")}
    assert "-0.43 pt" in rows["quality (Dice, test split)"]
    assert "-0.79 pt" in rows["IoU of all pixels, test split"]
    assert "-1.19 pt" in rows["quality (Dice, second test)"]
    assert "-0.66 pt" in rows["IoU of all pixels, second test"]
    words = " ".join(shown.split())
    assert "a drop of 2 points or more in Dice is excluded" in words
    assert "By area, approximate: drop between -0.12 and 0.98 points" in words


def test_no_control_no_column(fast: Report, minimal: Report) -> None:
    assert "control" not in _plain(comparison_table(fast))
    assert "Not proven" in _plain(comparison_table(fast))
    assert "ms" not in _plain(comparison_table(minimal)).replace("minimising macs", "")


def test_candidates_say_what_the_test_split_said(full: Report) -> None:
    proven = Opened(True, 5000, 101, 95, 0.0012, 0.00642, 0.01)
    failed = Opened(False, 5000, 180, 111, 0.0138, 0.0191, 0.0191)
    tested = [replace(c, test=found) for c, found in zip(full.candidates, (proven, failed), strict=False)]
    assert shown_verdict(tested[0]) == "proven, < 1 point"
    assert shown_verdict(tested[1]) == "not proven: drop 1.38 points, bound 1.91 points"
    assert (shown_verdict(full.candidates[2]), shown_verdict(full.candidates[-1])) == ("not opened", "-")
    shown = _plain(candidates_table([*tested, *full.candidates[2:]], full.chosen), width=150)
    assert "proven, < 1" in shown
    assert "not opened" in shown
    page = page_text(replace(full, candidates=(*tested, *full.candidates[2:])))
    assert all(text in page for text in ("proven, &lt; 1 point", "not proven: drop 1.38 points", "not opened"))
    again = Report.from_json(replace(full, candidates=tuple(tested), chosen=tested[0].name).to_json())
    assert again.candidates[1].test == failed


def test_candidates_hold_the_numbers(full: Report) -> None:
    shown = _plain(candidates_table(full.candidates, full.chosen))
    line = next(line for line in shown.splitlines() if "cut 49 %" in line)
    assert all(text in line for text in ["104 kB", "15.9 M", "0.969 ms", "91.49 %", "-0.23", "yes"])
    assert "collapsed" in shown


def test_the_terminal_obeys_nobody_else(hostile: Report, hostile_text: str) -> None:
    for table in (comparison_table(hostile), candidates_table(hostile.candidates, hostile.chosen)):
        assert "\x1b[31m" not in _shown(table, 400)
        assert "\u202e" not in _shown(table, 400)
        assert "\ufffd[31m\ufffd[bold]" in _plain(table, 400)
    found = _shown(doctor_table([Finding(hostile_text, hostile_text, False, hostile_text)]), 400)
    assert "\x1b[31m" not in found


def test_doctor_shows_what_is_missing() -> None:
    findings = [
        Finding("torch", "2.15.0"),
        Finding("openvino", "missing", False, 'pip install "x[openvino]"'),
    ]
    shown = _plain(doctor_table(findings))
    assert 'pip install "x[openvino]"' in shown
    assert "2.15.0" in shown


def test_quiet_is_silent() -> None:
    out = io.StringIO()
    for console in (Console(file=out), Console(file=out, force_terminal=True)):
        with progress(quiet=True, console=console) as bar:
            task = bar.add_task("tuning", total=3)
            for _ in range(3):
                bar.update(task, advance=1, text="loss 0.3")
    assert out.getvalue() == ""


def test_a_bar_on_a_terminal() -> None:
    out = io.StringIO()
    with progress(console=Console(file=out, force_terminal=True, width=100)) as bar:
        task = bar.add_task("tuning [bold]", total=4)
        bar.update(task, advance=3, text="loss 0.31 [red]")
        bar.refresh()
    shown = out.getvalue()
    assert " 75 %" in shown
    assert "loss 0.31 [red]" in shown  # text, not markup
    assert "tuning [bold]" in shown


def test_seldom_lines_without_a_terminal() -> None:
    out, now = io.StringIO(), [0.0]
    bar = terminal._PlainLines(Console(file=out, width=60), clock=lambda: now[0])
    with bar:
        task = bar.add_task("tuning", total=100, text="")
        for second in range(100):
            now[0] = float(second)
            bar.update(task, advance=1, text=f"loss {second / 100}")
    lines = out.getvalue().splitlines()
    assert len(lines) == 10  # at 0, 10, ... 90 seconds
    assert lines[0].startswith("tuning  1/100 (1 %)")
    assert lines[3].startswith("tuning  31/100 (31 %)  1 min ")
    assert lines[3].endswith("left  loss 0.3")


def test_lines_also_when_stepping_by_hand() -> None:
    out = io.StringIO()
    bar = terminal._PlainLines(Console(file=out), clock=lambda: 0.0)
    task = bar.add_task("search", total=None)
    bar.advance(task)
    bar.advance(task)
    assert out.getvalue() == "search  1\n"


@pytest.mark.parametrize("dumb", [True, False])
def test_plain_where_nothing_can_be_drawn(dumb: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
    bar = progress(console=Console(file=io.StringIO(), force_terminal=True))
    assert isinstance(bar, terminal._PlainLines) is dumb
    assert isinstance(progress(console=Console(file=io.StringIO())), terminal._PlainLines)


def test_a_pipe_gets_tables_whose_notes_stay_on_their_line(
    full: Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal.console().print(candidates_table(full.candidates, full.chosen))
    assert "drop beyond what can be proven" in capsys.readouterr().out


def test_the_bytes_of_all_rows_are_the_whole_file(full: Report, minimal: Report) -> None:
    table = bytes_table(full)
    assert table is not None
    rows = [re.split(r"  +", line.strip()) for line in _plain(table).splitlines()]
    sizes = {row[0]: int(row[1].replace(",", "")) for row in rows if len(row) > 1 and row[1].replace(",", "").isdigit()}
    assert sum(sizes.values()) == full.compressed.bytes.coded == 76_402
    assert len(sizes) == len(full.layers) + 4, "other weights, biases, graph and header"
    assert sizes["conv1.weight"] == full.layers[0].bytes
    assert "76,402 bytes in all" in _plain(table)
    assert bytes_table(minimal) is None


def test_without_parts_the_layers_stand_alone(full: Report) -> None:
    table = bytes_table(replace(full, parts=None))
    assert table is not None
    assert "graph" not in _plain(table)
