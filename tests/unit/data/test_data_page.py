"""docs/data.md names every rule that a data set can break, and its example is a valid data set."""

import ast
import json
import re
from pathlib import Path

import pytest

import uae.data
from uae.data.dataset import load_dataset
from uae.data.facts import SceneFacts
from uae.data.sample import OPTIONAL_KEYS, REQUIRED_KEYS

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
SOURCES = sorted(Path(uae.data.__file__).parent.glob("*.py"))


def rules() -> set[str]:
    """Return every rule in the sources: second argument of a fault, or key of the suite."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Fault", "BadRow"}:
                found |= texts(node.args[1:2])
            elif isinstance(node, ast.FunctionDef) and node.name == "data_expectations":
                suite = next(n for n in ast.walk(node) if isinstance(n, ast.Dict))
                found |= texts(suite.keys)
    return found


def texts(nodes) -> set[str]:
    """Return constants, and the constant parts of formatted strings."""
    found = set()
    for node in nodes:
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        found |= {p.value.strip() for p in parts if isinstance(p, ast.Constant) and p.value.strip()}
    return found


def test_every_rule_is_named():
    assert len(rules()) > 25
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    assert sorted(rule for rule in rules() if rule not in rows) == []


@pytest.mark.parametrize("key", [*REQUIRED_KEYS, "image", *OPTIONAL_KEYS])
def test_every_key_is_explained(key):
    needed = "optional" if key in OPTIONAL_KEYS else "required"
    assert f"| `{key}` | {needed} |" in PAGE


def examples() -> list[str]:
    return re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


def test_example_rows_are_a_data_set(tmp_path, png):
    rows = [json.loads(line) for line in examples()[0].splitlines()]
    for number, row in enumerate(rows):
        path = tmp_path / row["image"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(number))
    (tmp_path / "captions.jsonl").write_text(examples()[0], encoding="utf-8")
    assert load_dataset(tmp_path).image_ids == ["0001", "0002"]


def test_example_facts_are_complete():
    values = json.loads(examples()[1])
    assert SceneFacts.from_json(values).to_json() == values
