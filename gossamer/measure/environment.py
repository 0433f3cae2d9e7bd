# SPDX-License-Identifier: Apache-2.0
"""What machine this is: written into every report, and what `gossamer doctor` shows.

Versions are read from the installed packages' metadata, so describing a machine imports nothing; only
`doctor`, which asks the runtimes themselves, does.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from gossamer.measure.on_board import operating_system

PACKAGES = ("gossamer-cnn", "torch", "onnx", "onnxruntime", "openvino", "numpy", "torchvision", "timm")

_CPUINFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")

# What a flag of Linux' /proc/cpuinfo says about the arithmetic that this machine does fast (x86, then ARM).
_FAST_BF16 = ("amx_bf16", "avx512_bf16", "bf16")
_FAST_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")


@dataclass(frozen=True)
class Finding:
    """One row of `doctor`: what was looked for, what was found, and what brings it if it is missing."""

    name: str
    value: str
    ok: bool = True
    remedy: str = ""


def environment() -> dict[str, Any]:
    """The machine as JSON values: processor, cores, memory, system, versions; absent is left out."""
    cpu = read_cpuinfo(_CPUINFO)
    found: dict[str, Any] = {
        "cpu": cpu_model(cpu),
        "cores": physical_cores(cpu),
        "threads": usable_threads(),
        "fast_arithmetic": [flag for flag in (*_FAST_BF16, *_FAST_INT8) if flag in cpu_flags(cpu)],
        "virtual_machine": "hypervisor" in cpu_flags(cpu) or None,
        "power": _first_line(_GOVERNOR),
        "memory_bytes": _memory_bytes(),
        "gpu": _gpu(),
        "os": operating_system(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
    return {name: value for name, value in found.items() if value not in (None, [])}


def doctor() -> list[Finding]:
    """What this machine has for training, running and measuring, and what is missing."""
    cpu = read_cpuinfo(_CPUINFO)
    flags = cpu_flags(cpu)
    threads, cores = usable_threads(), physical_cores(cpu)
    memory = _memory_bytes()
    findings = [
        Finding("system", operating_system()),
        Finding("python", platform.python_version()),
        Finding("processor", cpu_model(cpu)),
        Finding(
            "cores",
            f"{cores or 'unknown'} physical, {threads} usable threads",
            threads > 1,
            "" if threads > 1 else "one thread only: training and timing share it; give the process more",
        ),
        Finding("memory", "unknown" if memory is None else f"{memory / 1e9:.1f} GB"),
        _arithmetic("bf16 in hardware", _FAST_BF16, flags),
        _arithmetic("int8 in hardware", _FAST_INT8, flags),
        _asked("torch", "pip install torch", _ask_torch),
        _asked("onnxruntime", "pip install onnxruntime", _ask_onnxruntime),
        _asked("openvino", "pip install openvino", _ask_openvino),
        _package("numba", "pip install numba", "decodes files some 50 times faster"),
    ]
    for name in ("torchvision", "timm"):
        findings.append(_package(name, f"pip install {name}", f"for --model {name}:NAME"))
    return findings


def version(package: str) -> str | None:
    """The installed version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def read_cpuinfo(path: Path) -> list[dict[str, str]]:
    """One dict per processor of Linux' /proc/cpuinfo; empty where there is no such file."""
    try:
        blocks = re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return []
    lines = ([line.partition(":") for line in block.splitlines() if ":" in line] for block in blocks)
    return [{key.strip(): value.strip() for key, _, value in block} for block in lines]


def cpu_model(cpuinfo: list[dict[str, str]]) -> str:
    """The processor's name; ARM boards give it once, in a block of their own."""
    for key in ("model name", "Model", "Hardware"):
        for block in cpuinfo:
            if block.get(key):
                return block[key]
    return platform.processor() or platform.machine()


def cpu_flags(cpuinfo: list[dict[str, str]]) -> frozenset[str]:
    """Instruction set flags that every processor of the machine has."""
    flags = [(b.get("flags") or b.get("Features") or "").split() for b in cpuinfo if "processor" in b]
    return frozenset(flags[0]).intersection(*flags) if flags else frozenset()


def physical_cores(cpuinfo: list[dict[str, str]]) -> int | None:
    """Cores without hyper-threads, None where the system does not say."""
    cores = {(b.get("physical id"), b["core id"]) for b in cpuinfo if "core id" in b}
    return len(cores) or None


def usable_threads(quota: Path = _CGROUP_QUOTA) -> int:
    """Threads this process may use at once: its processor affinity, lowered by a container's quota."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    allowed, _, period = (_first_line(quota) or "max").partition(" ")
    if allowed.isdigit() and period.isdigit() and int(period):
        threads = min(threads, max(1, int(allowed) // int(period)))
    return threads


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").splitlines()[0].strip() or None
    except (OSError, IndexError, UnicodeDecodeError):
        return None


def _memory_bytes() -> int | None:
    names: Mapping[str, int] = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gpu() -> str | None:
    """The accelerator, asked of torch only where it is loaded already: importing it takes seconds."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda"):
        return None
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "Apple GPU (MPS)" if torch.backends.mps.is_available() else None


def _arithmetic(name: str, wanted: tuple[str, ...], flags: frozenset[str]) -> Finding:
    present = [flag for flag in wanted if flag in flags]
    return Finding(name, ", ".join(present) if present else "no" if flags else "unknown")


def _package(name: str, remedy: str, purpose: str) -> Finding:
    found = version(name)
    return Finding(name, found or "missing", found is not None, "" if found else f"{remedy}  ({purpose})")


def _asked(name: str, remedy: str, ask: Callable[[], str]) -> Finding:
    """A package that is imported and asked; a broken installation is a finding, not a crash."""
    if util.find_spec(name) is None:
        return Finding(name, "missing", False, remedy)
    try:
        return Finding(name, ask())
    except Exception as error:  # whatever a half-installed package throws while importing
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(name, f"does not start: {reason}", False, f"{remedy} --force-reinstall")


def _ask_torch() -> str:
    import torch

    if torch.cuda.is_available():
        device = torch.cuda.get_device_name(0) + (", bf16" if torch.cuda.is_bf16_supported() else "")
    elif torch.backends.mps.is_available():
        device = "Apple GPU (MPS)"
    else:
        device = "CPU only"
    return f"{torch.__version__}, {torch.get_num_threads()} threads, {device}, CPU bf16 {_torch_cpu_bf16()}"


def _torch_cpu_bf16() -> str:
    import torch

    try:  # what torch's own CPU kernels ask before they take the bf16 path
        return "yes" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "emulated"
    except (AttributeError, RuntimeError):
        return "unknown"


def _ask_onnxruntime() -> str:
    import onnxruntime

    return f"{onnxruntime.__version__}, {', '.join(onnxruntime.get_available_providers())}"


def _ask_openvino() -> str:
    from gossamer.runtime.session import openvino_core

    core = openvino_core()
    devices = [
        f"{device} ({', '.join(sorted(core.get_property(device, 'OPTIMIZATION_CAPABILITIES')))})"
        for device in core.available_devices
    ]
    return f"{version('openvino')}, {'; '.join(devices) or 'no device'}"
