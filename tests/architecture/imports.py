"""Which module imports which, read from the source without running it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "uae": "uae", "uae_components": "components", "uae_pipelines": "pipelines",
    "uae_images": "images",
}  # fmt: skip


class Import(NamedTuple):
    """One import. `late` ones stand inside a function or under TYPE_CHECKING."""

    name: str  # of the module, or module.name for `from module import name`
    line: int
    late: bool


@cache
def sources() -> dict[str, Path]:
    """Return every module of the project: dotted name -> file."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Return all imports of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(_walk(tree, late=False))


def reached(module: str) -> dict[str, list[str]]:
    """Return everything that importing `module` imports, with the chain that leads there.

    Late imports do not count: they run only when their function does.
    """
    known = sources()
    chains = {module: [module]}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        names = [entry.name for entry in imports(known[current]) if not entry.late]
        names += [current.rpartition(".")[0]] if "." in current else []  # its package runs first
        for name in names:
            target = name if name in known else name.rpartition(".")[0]
            target = target if target in known else name
            if target not in chains:
                chains[target] = [*chains[current], target]
                waiting += [target] if target in known else []
    return chains


def _walk(node: ast.AST, *, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (
                Import(f"{child.module}.{alias.name}", child.lineno, late) for alias in child.names
            )
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, late=late or inside or _is_type_checking(child))


def _is_type_checking(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )
