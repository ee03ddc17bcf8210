"""No pickle on the way of data and models, no words that the repository's reader cannot place."""

import ast
import re
from pathlib import Path

import pytest
from architecture.imports import imports, sources

ROOT = Path(__file__).parents[2]
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
TEXT_SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".j2", ".css", ".cfg", ".sh", ".txt"}
TEXT_FOLDERS = (
    "uae", "components", "pipelines", "manifests", "images", "tests", "benchmarks", "docs", ".ci",
)  # fmt: skip
WORDS = (
    r"\bTODO\b(?! #\d)", r"\bFIXME\b", r"\bXXX\b", r"/work/", r"\bsubagent", r"\bCONTRACT\b",
    r"\bissue \d", r"\bissue #\d", r"\bDESIGN\.md", r"\bFACTS\.md", r"\bSTYLE\.md",
    r"\bin this session\b", r"\b(an?|other|the) (engineer|session|agent)\b",
)  # fmt: skip


def texts() -> list[Path]:
    inside = [path for folder in TEXT_FOLDERS for path in (ROOT / folder).rglob("*")]
    files = [*inside, *ROOT.glob("*.md"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    return [
        path
        for path in sorted(files)
        if path.is_file()
        and (path.suffix in TEXT_SUFFIXES or path.name in {"Makefile", "run"})
        and path != Path(__file__)
        and "assets" not in path.parts
    ]


def test_nothing_is_unpickled():
    imported = [
        f"{module} line {entry.line}: {entry.name}"
        for module, path in sources().items()
        for entry in imports(path)
        if entry.name.partition(".")[0] in PICKLES
    ]
    called = [
        f"{module} line {node.lineno}: {ast.unparse(node.func)}"
        for module, path in sources().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and is_unsafe(node)
    ]
    assert imported + called == []


def is_unsafe(call: ast.Call) -> bool:
    keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
    match ast.unparse(call.func):
        case "torch.load":
            return keywords.get("weights_only") != "True"
        case "torch.save" | "yaml.load" | "yaml.unsafe_load":
            return True
        case "np.load" | "numpy.load":
            return keywords.get("allow_pickle", "False") != "False"
    return False


@pytest.mark.parametrize(
    ("code", "unsafe"),
    [
        ("torch.load(p)", True),
        ("torch.load(p, weights_only=True)", False),
        ("np.load(p, allow_pickle=True)", True),
        ("np.load(p)", False),
        ("yaml.safe_load(t)", False),
    ],
)
def test_unsafe_calls_are_seen(code, unsafe):
    assert is_unsafe(ast.parse(code, mode="eval").body) is unsafe


def test_commands_in_readmes_run_without_an_active_environment():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in [*ROOT.glob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r" {4}(uae|python3?) ", line)
    ]
    assert found == []


def test_every_text_is_for_the_repository_s_reader():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if any(re.search(word, line) for word in WORDS)
    ]
    assert not found, "\n".join(found)
