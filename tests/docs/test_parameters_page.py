"""The table of pipeline parameters is the compiled package's."""

import json
import re
from pathlib import Path

import yaml

from uae_pipelines.compile import PACKAGE

PAGE = Path(__file__).parents[2] / "docs" / "parameters.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| ", re.MULTILINE)


def test_every_parameter_stands_there_with_type_and_default():
    package = next(yaml.safe_load_all(PACKAGE.read_text(encoding="utf-8")))
    parameters = package["root"]["inputDefinitions"]["parameters"]
    wanted = {
        name: (values["parameterType"], shown(values["defaultValue"]))
        for name, values in parameters.items()
    }
    found = {name: (kind, default) for name, kind, default in ROW.findall(PAGE.read_text("utf-8"))}
    assert found == wanted


def shown(default: object) -> str:
    if default == "":
        return "empty"
    number = isinstance(default, float) and default.is_integer()
    value = int(default) if number else default  # type: ignore[arg-type]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
