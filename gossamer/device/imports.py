# SPDX-License-Identifier: Apache-2.0
"""Which modules of this package a module needs, read from the imports in its source and in theirs.

Imports within functions count. Left out is what the code can do without: imports that a `try` answers with an
ImportError, and those for type checkers alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]  # the folder of this package
ABSENT = {"ImportError", "ModuleNotFoundError"}


def needed(entries: Sequence[str], package: Path = PACKAGE) -> dict[str, Path]:
    """The files of these modules, of the packages they are in, and of all that they import from `package`, by name.

    ValueError where an entry is no module of the package.
    """
    found: dict[str, Path] = {}
    waiting = list(entries)
    for entry in entries:
        if source_of(entry, package) is None:
            raise ValueError(f"expected a module of {package.name}, got '{entry}'; check its name")
    while waiting:
        name = waiting.pop()
        path = source_of(name, package)
        if path is None or name in found:
            continue
        found[name] = path
        parts = name.split(".")
        waiting += [".".join(parts[:length]) for length in range(1, len(parts))]
        waiting += imported(path, name)
    return dict(sorted(found.items()))


def source_of(name: str, package: Path = PACKAGE) -> Path | None:
    """The file of a module of the package; None for what is none, such as a function in one."""
    first, *rest = name.split(".")
    if first != package.name:
        return None
    place = package.joinpath(*rest)
    candidates = (place / "__init__.py", place.with_suffix(".py")) if rest else (place / "__init__.py",)
    return next((path for path in candidates if path.is_file()), None)


def imported(path: Path, name: str) -> set[str]:
    """The names that the source of the module `name` imports: modules, and what may be a module or a thing in one."""
    parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), parent)
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, without those that are only tried and those for type checkers."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Try) and any(map(_answers_absence, child.handlers)):
            for part in (*child.handlers, *child.orelse, *child.finalbody):
                yield from _statements(part)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for part in child.orelse:
                yield from _statements(part)
        else:
            yield from _statements(child)


def _answers_absence(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(name is not None and ast.unparse(name) in ABSENT for name in names)
