"""YAML without surprises: a key may stand once, and 1e-4 is a number.

PyYAML keeps the last of two equal keys without a word, and by YAML 1.1's rules takes a number with
an exponent and no dot for a text.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    pass


class _Dumper(yaml.SafeDumper):
    """Puts a text that looks like such a number in quotes."""


for kind in (_Loader, _Dumper):
    kind.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def read_yaml(text: str) -> Any:
    """Read one YAML document.

    Raises:
        yaml.YAMLError: If it is not YAML; or naming every key that stands twice, with its line.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        if twice := list(_repeated_keys(root)):
            raise yaml.YAMLError("keys stand twice, keep one of each:\n" + "\n".join(twice))
        return loader.construct_document(root)
    finally:
        loader.dispose()


def write_yaml(values: Any) -> str:
    """Return YAML from which `read_yaml` makes equal values, keys in their order."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False)
    return text


def _repeated_keys(root: yaml.Node) -> Iterator[str]:
    """Describe every key that its mapping holds already. `<<` may add keys that it holds."""
    waiting, seen = [("", root)], set[int]()
    while waiting:
        path, node = waiting.pop(0)
        if id(node) in seen:  # an alias is the same node again
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(path, item) for item in node.value]
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                name, line = f"{path}{key.value}", key.start_mark.line + 1
                if (key.tag, name) in lines:
                    before = lines[key.tag, name]
                    yield f"  {name}: in line {line}, and in line {before} before"
                lines[key.tag, name] = line
                waiting.append((f"{name}.", value))
