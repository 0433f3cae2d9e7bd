# SPDX-License-Identifier: Apache-2.0
"""The documentation says what is there: links lead somewhere, commands parse, Python compiles, nothing is run.

A line of README that still has a {{placeholder}} is a draft: its links need not exist yet. Once the results of a claim
are filed, the table must be the one that they give.
"""

from __future__ import annotations

import ast
import doctest
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gossamer import __all__ as public_names
from gossamer import cli

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gossamer"
README = ROOT / "README.md"
PAGES = [
    *(
        ROOT / name
        for name in (
            "README.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "examples/cifar10/README.md",
            "examples/mnist/README.md",
        )
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PLACEHOLDER = re.compile(r"\{\{([a-z0-9-]+)\.[^}]*\}\}")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- reading Markdown ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block: the page, the line it starts on, the language after the fence, and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{relative(self.page)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    inside: Block | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = re.match(r" *```(\w*)", line)
        if fence and inside is None:
            inside, lines = Block(page, number, fence[1], ""), []
        elif fence and inside is not None:
            yield Block(page, inside.line, inside.language, "\n".join(lines) + "\n")
            inside = None
        else:
            lines.append(line)
    assert inside is None, f"{inside}: the block is never closed"


def prose(page: Path) -> list[str]:
    """The lines outside of fenced blocks, without inline code."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"`[^`]*`", "`", line) for line in text.splitlines()]


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings can be linked by, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command of a shell block; lines that end with a backslash go on in the next."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            if words[:end]:
                yield words[:end]
            words = words[end + 1 :]


BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language == "shell"]
PYTHON = [block for block in BLOCKS if block.language == "python"]
TOML = [block for block in BLOCKS if block.language == "toml"]


# --- links -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_relative_links_lead_somewhere(page):
    for line in prose(page):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target) or (page == README and PLACEHOLDER.search(line)):
                continue
            path, _, fragment = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), f"{relative(page)} links to {target}, which does not exist"
            assert ROOT in there.parents, f"{relative(page)} links out of the repository: {target}"
            if fragment:
                assert fragment in anchors(there), f"{relative(page)} links to {target}: there is no such heading"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "README.md" or f"]({name})" in index, f"docs/README.md does not list {name}"


# --- commands --------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_runs(monkeypatch):
    """Verbs that only parse."""
    for module in cli.VERBS:
        for name in [name for name in vars(module) if name.startswith("run_")]:
            monkeypatch.setattr(module, name, lambda options: 0)


@pytest.fixture
def in_a_copy(tmp_path, monkeypatch):
    """A folder with the settings files that the page shows or that the repository ships, as the current one."""

    def enter(page: Path) -> None:
        for block in TOML:
            if block.page == page:
                (tmp_path / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text, encoding="utf-8")
        (tmp_path / "examples").symlink_to(ROOT / "examples")
        monkeypatch.chdir(tmp_path)

    return enter


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_gossamer_commands_parse(block, nothing_runs, in_a_copy, capsys):
    in_a_copy(block.page)
    for words in commands(block):
        if words[0] != "gossamer":
            continue
        try:
            status = cli.main(words[1:])
        except SystemExit as stop:
            status = stop.code
        assert status == 0, f"{block}: {shlex.join(words)}: {capsys.readouterr().err}"
        with pytest.raises(SystemExit):  # the parser takes abbreviations; pages must not
            cli.main([words[1], "--help"])
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert set(re.findall(r"(?<=\s)--[a-z-]+", shlex.join(words))) <= known, f"{block}: {shlex.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_gossamer_options_in_prose_exist(page, capsys):
    known = set()
    for verb in (
        "compress",
        "train",
        "store",
        "certify",
        "predict",
        "detect",
        "bundle",
        "export",
        "inspect",
        "decode",
        "verify",
        "bench",
        "report",
        "methods",
        "doctor",
    ):
        with pytest.raises(SystemExit):
            cli.main([verb, "--help"])
        known |= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    text = page.read_text(encoding="utf-8")
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in known, f"{relative(page)} names {option}, which no verb has"
    for verb, option in re.findall(r"`gossamer ([a-z]+) [^`]*?(--[a-z-]+)", text):
        with pytest.raises(SystemExit):
            cli.main([verb, "--help"])
        assert option in capsys.readouterr().out, f"{relative(page)}: gossamer {verb} has no {option}"


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_make_targets_and_benchmark_verbs_exist(block):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    runner = (ROOT / "benchmarks" / "__main__.py").read_text(encoding="utf-8")
    for words in commands(block):
        if words[0] == "make":
            assert set(words[1:]) <= set(targets), f"{block}: {shlex.join(words)}"
        if words[:3] == ["python", "-m", "benchmarks"]:
            assert f'"{words[3]}"' in runner, f"{block}: {shlex.join(words)}"


@pytest.mark.parametrize("block", TOML, ids=str)
def test_settings_are_toml(block):
    assert re.match(r"# \w+\.toml\n", block.text), f"{block}: the first line names the file"
    assert tomllib.loads(block.text)


# --- Python ----------------------------------------------------------------------------------------------------


def defined(path: Path) -> set[str]:
    """The names that a module defines or imports at its top."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def source_of(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles_and_finds_what_it_imports(block):
    source_text = doctest.script_from_examples(block.text) if block.text.startswith(">>>") else block.text
    tree = ast.parse(source_text, filename=str(block))
    compile(tree, str(block), "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gossamer":
            source = source_of(node.module)
            assert source is not None, f"{block}: there is no module {node.module}"
            names = defined(source) | (set(public_names) if node.module == "gossamer" else set())
            for alias in node.names:
                there = alias.name in names or source_of(f"{node.module}.{alias.name}") is not None
                assert there, f"{block}: {node.module} has no {alias.name}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gossamer":
            assert node.attr in public_names, f"{block}: gossamer has no {node.attr}"


# --- the map, the tables, the decisions ------------------------------------------------------------------------


def test_the_map_of_readme_is_the_package():
    (text,) = [block.text for block in blocks(README) if block.text.startswith("gossamer/\n")]
    for name in re.findall(r"^  (\S+)  ", text, flags=re.MULTILINE):
        place = PACKAGE / name
        assert any(place.glob("*.py")) if name.endswith("/") else place.is_file(), f"the map names {name}"
    packages = [path.name + "/" for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))]
    modules = [path.name for path in PACKAGE.glob("[!_]*.py")]
    assert not [name for name in packages + modules if name not in text], "README's map leaves something out"


def keys_of_table(path: Path, table: str) -> list[str]:
    """The keys of a dict literal, read without importing anything."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == table and isinstance(node.value, ast.Dict):
            return [ast.literal_eval(key) for key in node.value.keys if key is not None]
    raise AssertionError(f"{relative(path)} has no table {table}")


def test_no_page_calls_a_recipe_unmeasured_that_has_a_result():
    for path in (ROOT / "results").glob("*/report.json"):
        recipe = json.loads(path.read_text(encoding="utf-8"))["recipe"].partition(":")[0]
        page = (ROOT / "docs" / "methods" / f"{recipe}.md").read_text(encoding="utf-8")
        assert "Not measured yet." not in page, f"docs/methods/{recipe}.md is older than {path.parent.name}"


@pytest.mark.parametrize("family", ["filters", "rates", "weights", "recipes"])
def test_every_method_has_a_page(family):
    table = "RECIPES" if family == "recipes" else "METHODS"
    for name in keys_of_table(PACKAGE / family / "__init__.py", table):
        assert (ROOT / "docs" / "methods" / f"{name}.md").is_file(), f"docs/methods/{name}.md is missing"


def test_decisions_are_numbered_without_gaps():
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        text = (ROOT / "docs" / "decisions" / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {int(name[:4])}. "), name
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequence")), name


# --- published numbers -----------------------------------------------------------------------------------------


def test_the_results_in_readme_are_those_that_are_filed(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.claims import CLAIMS
    from benchmarks.table import BEGIN, END, results_table

    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == 1, "python -m benchmarks table writes between two marks"
    assert text.count(END) == 1, "python -m benchmarks table writes between two marks"
    shown = text.partition(BEGIN)[2].partition(END)[0]
    filed = [name for name in CLAIMS if (ROOT / "results" / name / "report.json").exists()]
    if filed:
        assert shown == f"\n{results_table()}", "README shows other results: python -m benchmarks table"
    else:
        assert set(PLACEHOLDER.findall(shown)) <= set(CLAIMS), "a placeholder of a claim that is not declared"
    assert not PLACEHOLDER.search(text.replace(shown, "")), "a placeholder outside of the table"
