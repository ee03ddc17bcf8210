"""Tensors of older files under the names that the class has, without reading the tensors.

Qwen2.5-VL is published with the names of its first code: `visual.` and `model.` for what is
`model.visual.` and `model.language_model.` today. transformers renames them whenever it loads; a
bundle has one set of names, so that headers can be compared with the class.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
from pathlib import Path

from uae.models.bundle import write_json
from uae.weights.headers import INDEX, read_header, shards

_OLD = (
    (re.compile(r"^visual\."), "model.visual."),
    (re.compile(r"^model\.(?!language_model\.|visual\.)"), "model.language_model."),
)
_CHUNK = 16 * 2**20
_ALIGNMENT = 8  # of the first tensor's bytes, as the safetensors library writes it


def current_name(name: str) -> str:
    """Return the name that Qwen2.5-VL's class has for a tensor of a published file."""
    for pattern, replacement in _OLD:
        name = pattern.sub(replacement, name)
    return name


def rename_tensors(folder: Path) -> None:
    """Give all files of an encoder's folder the class's names; files that have them stay.

    Raises:
        ModelError: If a file is cut off or no safetensors file.
    """
    for path in sorted(folder.glob("*.safetensors")):
        _rename(path)
    for index in sorted(folder.glob(f"*.safetensors{INDEX}")):
        content = json.loads(index.read_text("utf-8"))
        content["weight_map"] = {current_name(n): file for n, file in shards(index).items()}
        write_json(index, content)


def _rename(path: Path) -> None:
    header = read_header(path)
    names = {name: current_name(name) for name in header.values}
    if all(name == new for name, new in names.items()):
        return
    text = json.dumps({names[name]: value for name, value in header.values.items()}).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    fresh = path.with_suffix(".renamed")
    with path.open("rb") as old, fresh.open("wb") as new_file:
        old.seek(header.size)
        new_file.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(old, new_file, _CHUNK)
    fresh.replace(path)  # not written in place: the source may share its file
