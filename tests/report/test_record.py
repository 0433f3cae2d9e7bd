# SPDX-License-Identifier: Apache-2.0
"""report.json: read back as written, and refused with a place and a reason where it is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.report.record import Bytes, Latency, Report, read_reports, write_json

CLAIM_KEYS = [
    "network",
    "task",
    "data",
    "recipe",
    "minimise",
    "seed",
    "original",
    "compressed",
    "control",
    "certificate",
    "environment",
    "seconds",
    "command",
]


@pytest.mark.parametrize("name", ["full", "fast", "minimal", "hostile", "masks"])
def test_read_back_as_written(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    report: Report = request.getfixturevalue(name)
    write_json(report, tmp_path / "report.json")
    assert read_reports(tmp_path / "report.json") == (report,)
    assert list(tmp_path.iterdir()) == [tmp_path / "report.json"]


def test_keys_are_those_of_a_claim(minimal: Report, full: Report) -> None:
    plain = minimal.to_json()
    assert list(plain) == CLAIM_KEYS  # nothing optional is written where there is nothing
    assert plain["control"] is None
    side = full.to_json()["original"]
    assert list(side) == ["quality", "parameters", "nonzeros", "macs", "bytes", "latency_ms"]
    assert list(side["bytes"]) == ["fp32", "zip", "runtime", "coded"]
    assert list(side["latency_ms"]["openvino"]) == ["median", "p10", "p90", "n", "threads"]


def test_a_list_of_reports(full: Report, minimal: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps([full.to_json(), minimal.to_json()]))
    assert read_reports(path) == (full, minimal)


def test_numpy_scalars_become_numbers(full: Report) -> None:
    scalars: dict[str, Any] = {"quality": np.float64(0.9164), "parameters": np.int64(269_722)}
    side = replace(full.original, **scalars)
    plain = replace(full, original=side, certificate={**full.certificate, "proven": np.bool_(True)}).to_json()
    assert json.loads(json.dumps(plain)) == full.to_json()


def _delete(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return change


def _set(new: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = new

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_delete("seed"), r"expected the key 'seed' in report, got only network, .*; complete the report"),
        (
            _delete("original", "bytes", "zip"),
            r"expected the key 'zip' in report\.original\.bytes, got only fp32",
        ),
        (
            _set(1, "speedd"),
            r"expected no other keys than network, .* in report, got 'speedd'; rename or remove",
        ),
        (_set("12", "original", "macs"), r"a whole number at report\.original\.macs, got '12'; correct it"),
        (_set(True, "seed"), r"expected a whole number at report\.seed, got True"),
        (_set(1.5, "seed"), r"expected a whole number at report\.seed, got 1\.5"),
        (_set("fast", "seconds"), r"expected a finite number at report\.seconds, got 'fast'"),
        (_set(float("nan"), "seconds"), r"expected a finite number at report\.seconds, got nan"),
        (_set(3, "command"), r"expected a text at report\.command, got 3"),
        (_set([], "original"), r"expected an object with named values at report\.original, got \[\]"),
        (_set("none", "layers"), r"expected a list at report\.layers, got 'none'"),
        (_set([{}], "candidates"), r"expected the key 'name' in report\.candidates\[0\], got only none"),
        (
            _set("yes", "candidates", "0", "accepted"),
            r"true or false at report\.candidates\[0\]\.accepted, got 'yes'",
        ),
        (_set({1, 2}, "environment", "x"), r"expected a JSON value at report\.environment\.x, got \{1, 2\}"),
        (
            _set([float("inf")], "environment", "x"),
            r"a finite number at report\.environment\.x\[0\], got inf",
        ),
        (_set("sort", "task"), r"expected task to be one of classification, .*, got 'sort'; use one of them"),
        (_set({"weights": 76_401}, "parts"), r"parts that add up to the coded file, 76402 bytes, got 76401; take them"),
        (_set("joy", "minimise"), r"expected minimise to be one of bytes, .*, got 'joy'; use one of them"),
        (
            _set(91.6, "original", "quality"),
            r"quality to be between 0 and 1, got 91\.6; .* \(in report\.original\)",
        ),
        (_set(-1, "original", "bytes", "zip"), r"bytes\.zip to be at least 0, got -1"),
        (_set({"IoU": 1.2}, "original", "figures"), r"figure 'IoU' to be between 0 and 1, got 1\.2"),
        (
            _set([{"name": "x", "file": "../../etc/passwd"}], "shown", "0", "panels"),
            r"expected a picture of the form pictures/name\.png, got '\.\./\.\./etc/passwd'; a page shows no other",
        ),
        (_set([{"name": "x", "colour": "red;}"}], "legend"), r"expected a colour as #rrggbb, got 'red;\}'"),
        (_set(10**9, "original", "nonzeros"), r"nonzeros to be between 0 and 269722, got 1000000000"),
        (
            _delete("certificate", "bound"),
            r"the key 'bound' in certificate, got only .*; certify the network again",
        ),
        (_set("so-so", "certificate", "proven"), r"true or false at certificate\.proven, got 'so-so'"),
        (
            _set("nobody", "chosen"),
            r"chosen to name one of the 13 candidates, got 'nobody'; add the candidate",
        ),
    ],
)
def test_what_is_wrong_is_named(change: Callable[[Any], None], message: str, full: Report) -> None:
    plain = full.to_json()
    plain["candidates"] = {str(i): c for i, c in enumerate(plain["candidates"])}  # so that a path can enter it
    plain["shown"] = {"0": {"which": "x", "original": 0.5, "compressed": 0.5, "panels": []}}
    change(plain)
    for name in ("candidates", "shown"):
        if isinstance(plain[name], dict):
            plain[name] = list(plain[name].values())
    with pytest.raises(ValueError, match=message):
        Report.from_json(plain)


def test_what_could_not_be_read_back_is_not_written(full: Report, tmp_path: Path) -> None:
    broken = replace(full, seconds=float("inf"))
    with pytest.raises(ValueError, match=r"expected a finite number at report\.seconds, got inf"):
        write_json(broken, tmp_path / "report.json")
    assert not list(tmp_path.iterdir())


def test_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"report\.json: expected the key 'network' in report, got only none"):
        read_reports(path)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"expected JSON in .*report\.json"):
        read_reports(path)


def test_latency_is_in_order() -> None:
    with pytest.raises(ValueError, match=r"expected p10 <= median <= p90 of a latency, got 2\.0, 1\.0, 3\.0"):
        Latency(median=1.0, p10=2.0, p90=3.0, n=10, threads=1)


def test_sizes_may_be_unmade_but_not_negative() -> None:
    assert Bytes(4, 3, None, None).coded is None
    with pytest.raises(ValueError, match=r"expected bytes\.coded to be at least 0, got -2; measure it again"):
        Bytes(4, 3, None, -2)


def test_prints_itself(full: Report) -> None:
    assert str(full).startswith("resnet20 on cifar10, recipe auto: 14.2x smaller at -0.12 points; ")


def test_reports_need_no_torch() -> None:
    code = "import sys, gossamer.report, gossamer.report.terminal; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
