# SPDX-License-Identifier: Apache-2.0
"""Reading what a machine is, also from machines that are not this one."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path

import pytest

from gossamer.measure import environment as module
from gossamer.measure.environment import (
    Finding,
    cpu_flags,
    cpu_model,
    doctor,
    environment,
    physical_cores,
    read_cpuinfo,
    usable_threads,
)

X86 = """processor\t: 0
model name\t: Xeon Gold
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu avx2 avx512_bf16 amx_bf16 hypervisor

processor\t: 1
model name\t: Xeon Gold
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu avx2 avx512_bf16

processor\t: 2
model name\t: Xeon Gold
physical id\t: 1
core id\t\t: 0
flags\t\t: fpu avx2 avx512_bf16 avx512_vnni
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp

processor\t: 1
Features\t: fp asimd asimddp

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 4
"""


@pytest.fixture
def cpuinfo(tmp_path: Path) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(X86)
    return path


def test_x86(cpuinfo: Path) -> None:
    cpu = read_cpuinfo(cpuinfo)
    assert cpu_model(cpu) == "Xeon Gold"
    assert physical_cores(cpu) == 2  # two of the three processors are threads of one core
    assert cpu_flags(cpu) == {"fpu", "avx2", "avx512_bf16"}  # only what every processor has


def test_arm(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(ARM)
    cpu = read_cpuinfo(tmp_path / "cpuinfo")
    assert cpu_model(cpu) == "Raspberry Pi 4"
    assert physical_cores(cpu) is None
    assert cpu_flags(cpu) == {"fp", "asimd", "asimddp"}


def test_no_cpuinfo_at_all(tmp_path: Path) -> None:
    cpu = read_cpuinfo(tmp_path / "missing")
    assert cpu == []
    assert cpu_model(cpu)
    assert cpu_flags(cpu) == frozenset()


@pytest.mark.parametrize(
    ("quota", "most"), [("150000 100000", 1), ("50000 100000", 1), ("max 100000", 10**6), ("", 10**6)]
)
def test_a_containers_quota_counts(quota: str, most: int, tmp_path: Path) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    free = usable_threads(tmp_path / "missing")
    assert free >= 1
    assert usable_threads(path) == min(free, most)


def test_environment_is_json_and_names_the_versions(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPUINFO", cpuinfo)
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"] == "Xeon Gold"
    assert found["cores"] == 2
    assert found["fast_arithmetic"] == ["avx512_bf16"]
    assert "virtual_machine" not in found  # not every processor says so; absent facts are left out
    assert {"threads", "os", "python", "torch", "onnxruntime", "numpy"} <= set(found)


def _row(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def test_doctor_names_what_is_missing_and_what_brings_it(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise ImportError("libfoo.so: not found\nand more")

    find = util.find_spec
    monkeypatch.setattr(module, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "openvino" else find(name))
    monkeypatch.setattr(module, "_ask_torch", lambda: "2.15.0, 2 threads, CPU only, CPU bf16 yes")
    monkeypatch.setattr(module, "_ask_onnxruntime", broken)
    monkeypatch.setattr(module, "version", lambda name: None if name in ("timm", "numba") else "1.0")
    findings = doctor()
    assert _row(findings, "openvino") == Finding("openvino", "missing", False, "pip install openvino")
    assert _row(findings, "onnxruntime") == Finding(
        "onnxruntime",
        "does not start: libfoo.so: not found",
        False,
        "pip install onnxruntime --force-reinstall",
    )
    assert _row(findings, "timm").remedy.startswith("pip install timm")
    assert _row(findings, "torchvision") == Finding("torchvision", "1.0")
    assert _row(findings, "torch").ok
    assert _row(findings, "bf16 in hardware").value == "avx512_bf16"
    assert _row(findings, "int8 in hardware").value == "no"


def test_doctor_asks_the_runtimes_that_are_here() -> None:
    findings = doctor()
    for name in ("torch", "onnxruntime"):
        row = _row(findings, name)
        assert row.ok, row
        assert row.value[0].isdigit()
    assert "threads" in _row(findings, "torch").value
    assert "CPUExecutionProvider" in _row(findings, "onnxruntime").value


def test_what_an_owner_appended_to_the_kernel_is_left_out(monkeypatch):
    monkeypatch.setattr(module.platform, "release", lambda: "6.1.0-28-amd64")
    monkeypatch.setattr(module.platform, "platform", lambda: "Linux-6.1.0-28-amd64-x86_64-with-glibc2.36")
    assert module.operating_system() == "Linux-6.1.0-x86_64-with-glibc2.36"
