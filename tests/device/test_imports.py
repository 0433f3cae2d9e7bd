# SPDX-License-Identifier: Apache-2.0
"""What a module needs is found in its source, however it is imported, and nothing that it can do without."""

from __future__ import annotations

import ast

import pytest

from gossamer.device.imports import PACKAGE, imported, needed, source_of

SOURCES = {
    "__init__.py": "",
    "start.py": """
import os
import shop.plain
from shop import from_package, __name__
from shop.part import member, not_a_module
from .part.deep import thing
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from shop import for_types
else:
    from shop import not_for_types
def later():
    import shop.within_a_function
    try:
        from shop import tried
    except (OSError, ImportError):
        from shop import instead
    else:
        from shop import with_it
    try:
        from shop import not_about_absence
    except ValueError:
        pass
""",
    "part/__init__.py": "from . import beside",
}
EMPTY = (
    "plain from_package for_types not_for_types within_a_function tried instead with_it not_about_absence alone "
    "part/member part/deep part/beside part/unused"
)
WANTED = (
    "start plain from_package not_for_types within_a_function instead with_it not_about_absence part part.member "
    "part.deep part.beside"
)


@pytest.fixture
def shop(tmp_path):
    for name, source in (SOURCES | {f"{name}.py": "" for name in EMPTY.split()}).items():
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / name).write_text(source)
    return tmp_path / "shop"


def test_all_that_is_needed_and_no_more(shop):
    found = needed(["shop.start"], shop)
    assert set(found) == {"shop", *(f"shop.{name}" for name in WANTED.split())}
    assert found["shop.part"] == shop / "part" / "__init__.py"
    assert list(found) == sorted(found)
    assert set(needed(["shop.alone"], shop)) == {"shop", "shop.alone"}


def test_circles_end(shop):
    (shop / "plain.py").write_text("import shop.start")
    assert "shop.start" in needed(["shop.plain"], shop)


def test_an_entry_that_is_no_module(shop):
    with pytest.raises(ValueError, match=r"expected a module of shop, got 'shop.begin'; check its name"):
        needed(["shop.begin"], shop)


def test_every_import_of_this_package_is_seen():
    """Against a plain reading of the tree, of modules that try nothing and have no types of their own."""
    for path in sorted(PACKAGE.glob("detection/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        plain = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        name = ".".join(("gossamer", "detection", *([] if path.stem == "__init__" else [path.stem])))
        assert plain <= imported(path, name)
        assert source_of(name) == path
