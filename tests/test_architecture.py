# SPDX-License-Identifier: Apache-2.0
"""The rules of docs: imports point down, readers of files need no torch, names say what is inside."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gossamer"

#: From the ground up; a package may import those of earlier rows, and those beside it.
LAYERS = [
    {"files", "near", "options", "plan", "coding", "detection"},
    {"container"},
    {
        "device",
        "data",
        "goal",
        "zoo",
        "graph",
        "kinds",
        "task",
        "described_data",
        "described_task",
        "certify",
    },
    {"measure", "runtime", "exporters"},
    {"filters", "rates", "weights", "quantize"},
    {"tuning"},
    {"search"},
    {"recipes"},
    {"report"},
    {"compress", "train", "estimate"},
    {
        "cli",
        "cli_work",
        "cli_train",
        "cli_files",
        "cli_store",
        "cli_certify",
        "cli_device",
        "cli_detect",
        "cli_bundle",
        "cli_export",
        "cli_board",
        "cli_parser",
        "cli_settings",
        "cli_values",
        "__main__",
    },
]
METHOD_FAMILIES = ("filters", "rates", "weights")
WITHOUT_TORCH = ("coding", "container", "detection", "device", "files", "near", "plan")
BANNED_NAMES = {"utils", "util", "helper", "helpers", "common", "core", "manager", "base", "misc"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or later; imports for type checkers do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "gossamer":
                found |= {f"gossamer.{alias.name}" for alias in node.names}
    return found


def home(path: Path) -> str:
    """The package, or the module at the top, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(name: str) -> int | None:
    return next((index for index, names in enumerate(LAYERS) if name in names), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    if home(path) == "__init__":
        return
    mine = layer(home(path))
    assert mine is not None, f"{home(path)} has no place in LAYERS"
    for name in imports(path):
        if name.startswith("gossamer."):
            target = name.split(".")[1]
            theirs = layer(target)
            assert theirs is None or theirs <= mine, f"{path.name} imports {name}, which stands above it"
            if home(path) in METHOD_FAMILIES:
                assert target == home(path) or target not in METHOD_FAMILIES, "method families do not import each other"


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_readers_of_files_need_neither_torch_nor_onnx(name):
    places = [path for path in MODULES if home(path) == name]
    for path in places:
        roots = {module.split(".")[0] for module in imports(path)}
        assert not roots & {"torch", "torchvision", "onnx", "onnxruntime", "scipy"}, path


def test_importing_the_package_and_decoding_loads_no_torch():
    code = (
        "import sys, gossamer, gossamer.container, gossamer.cli; sys.exit(bool({'torch', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_and_sizes(path):
    assert path.stem not in BANNED_NAMES
    assert len(path.relative_to(PACKAGE).parts) <= 2, "two levels of folders, never three"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400, f"{len(lines)} lines: split it where the subject changes"
    assert lines[:1] == ["# SPDX-License-Identifier: Apache-2.0"] or not lines
    assert ast.get_docstring(ast.parse("\n".join(lines))) or not lines, "every module says what it is"


def test_openvino_has_one_core_in_a_process():
    """With two, one of which goes, Ctrl-C is a segmentation fault (`gossamer.runtime.session`)."""
    makers = {
        path.name
        for path in [*MODULES, *Path(__file__).parent.rglob("*.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".Core")
    }
    assert makers == {"session.py"}


def test_tests_beside_each_other_have_one_thread_each():
    """With two they wait for each other: 1 second of training took 30."""
    import torch

    if "PYTEST_XDIST_WORKER" in os.environ:
        assert torch.get_num_threads() == 1
