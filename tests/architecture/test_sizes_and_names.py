"""Files and functions stay small, modules are named for what they hold."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from architecture.imports import imports

ROOT = Path(__file__).parents[2]
FOLDERS = ("uae", "components", "pipelines", "images", "benchmarks", "tests")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
HEAVY = {"torch", "transformers", "diffusers", "open_clip", "peft"}
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "x2"}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_is_something_to_check():
    assert len(SOURCES) > 20


def test_files_are_short():
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_functions_are_short():
    lengths = {
        f"{name(path)}: {node.name}": node.end_lineno - node.lineno + 1
        for path in SOURCES
        for node in functions(path)
    }
    assert {where: lines for where, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_modules_are_named_for_what_they_hold():
    assert [name(path) for path in SOURCES if path.stem in NAMELESS] == []


def test_test_files_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert [one for one, count in Counter(names).items() if count > 1] == []


def test_packages_say_what_they_are_and_import_nothing_heavy():
    packages = [path for path in SOURCES if path.name == "__init__.py"]
    silent = [name(path) for path in packages if not ast.get_docstring(ast.parse(path.read_text()))]
    heavy = [
        f"{name(path)}: {entry.name}"
        for path in packages
        for entry in imports(path)
        if not entry.late and entry.name.partition(".")[0] in HEAVY
    ]
    assert silent + heavy == []
