# SPDX-License-Identifier: Apache-2.0
"""The user's own Python: a callable of a file, and one sentence with the line where that code fails."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from gossamer.files import sha256

LONGEST = 300  # letters of an error's own message that are shown
_modules: dict[Path, tuple[str, ModuleType]] = {}  # of the files that were imported, with the hash of their content


def load_callable(spec: str) -> Callable[..., Any]:
    """The object `name` in `folder/file.py:name`; the file is imported, with what lies beside it.

    A file that has not changed since is not run again: classes stay the same classes.
    """
    file, _, name = spec.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {file}, named in '{spec}'")
    module = _imported(path, file)
    found = getattr(module, name, None)
    if not callable(found):
        there = [k for k, value in vars(module).items() if callable(value) and not k.startswith("_")]
        raise ValueError(f"{file} has no callable '{name}'; it has {', '.join(there) or 'none'}")
    return found  # type: ignore[no-any-return]


def _imported(path: Path, shown: str) -> ModuleType:
    """The module of a file, run once for each content."""
    content = sha256(path.read_bytes())
    if path in _modules and _modules[path][0] == content:
        return _modules[path][1]
    name = path.stem
    if name in sys.modules and (path not in _modules or sys.modules[name] is not _modules[path][1]):
        name = f"{name}_{sha256(str(path).encode())[:8]}"  # another file has that name, a library's or the user's
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise ValueError(f"{shown} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        with _files_beside(path):
            module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise ValueError(f"expected to import {shown}, got {failure(error)}; mend it there") from error
    _modules[path] = content, module
    return module


@contextmanager
def _files_beside(path: Path) -> Iterator[None]:
    """What lies beside the file can be imported: before all else while the file runs, afterwards after all else.

    What a library imports later must not turn out to be a file of the user's of that name.
    """
    folder = str(path.parent)
    if folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        sys.path.append(folder)


def call(spec: str, build: Callable[..., Any], **options: Any) -> Any:
    """What the user's callable returns; an error in it is one sentence that names the line."""
    try:
        return build(**options)
    except (Exception, SystemExit) as error:
        raise ValueError(f"expected {spec} to return, got {failure(error)}; mend it there") from error


def failure(error: BaseException) -> str:
    """`KeyError: 'width' at net.py:7`: what went wrong, and the line of the user's code that it came from."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} at {Path(error.filename or '?').name}:{error.lineno}"
    words = " ".join(str(error).split())
    words = words if len(words) <= LONGEST else f"{words[:LONGEST]}..."
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _installed(frame.filename)]
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{': ' if words else ''}{words}{place}"


def _installed(file: str) -> bool:
    """Whether a file belongs to Python, to a package or to us, not to the user."""
    ours = str(Path(__file__).resolve().parent.parent)
    return file.startswith((ours, "<", sys.base_prefix + "/lib")) or "site-packages" in file
