"""Safetensors files made by hand: what their first bytes tell."""

import json
import struct

import pytest

from uae.errors import ModelError
from uae.weights.headers import INDEX, TensorFacts, differences, read_folder, read_header
from uae.weights.licences import is_restricted
from uae.weights.places import HubName, wanted

HEADER = json.dumps(
    {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [24, 28]},
    }
).encode()


def write(path, *, header=HEADER, length=None, data=bytes(28)):
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def test_names_types_and_shapes(tmp_path):
    header = read_header(write(tmp_path / "model.safetensors"))
    assert header.size == 8 + len(HEADER)
    assert header.tensors == {"w": TensorFacts("F32", (2, 3)), "b": TensorFacts("BF16", (2,))}
    assert str(header.tensors["w"]) == "F32 [2, 3]"


WHOLE = 8 + len(HEADER) + 28
FAULTS = {
    "one byte short": ({"data": bytes(27)}, f"cut off: it has {WHOLE - 1} of {WHOLE} bytes"),
    "one byte long": ({"data": bytes(29)}, "1 more than its header says"),
    "cut in the header": (
        {"header": HEADER[:50], "length": len(HEADER), "data": b""},
        f"cut off: it has 58 of {8 + len(HEADER)} bytes",
    ),
    "a huge header": ({"length": 2**40}, "is no safetensors file"),
    "an empty header": ({"length": 0}, "is no safetensors file"),
    "no JSON": ({"header": b"{" * 40}, "has no safetensors header"),
    "no offsets": ({"header": b'{"w": {"dtype": "F32"}}'}, "has no safetensors header"),
    "another JSON": ({"header": b"[1, 2, 3]"}, "has no safetensors header"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_whole_file_is_told(tmp_path, fault):
    how, says = FAULTS[fault]
    with pytest.raises(ModelError, match=rf"model\.safetensors .*{says}"):
        read_header(write(tmp_path / "model.safetensors", **how))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        read_header(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"has no weights: none of .*model\.safetensors"):
        read_folder(tmp_path)
    (tmp_path / f"model.safetensors{INDEX}").write_text('{"weight_map": {"w": "../w.safetensors"}}')
    with pytest.raises(ModelError, match="a file outside the folder"):
        read_folder(tmp_path)


def test_differences_are_told_by_name_and_the_first_few_of_many():
    found = {"w": TensorFacts("F32", (2, 3)), "b": TensorFacts("BF16", (2,))}
    assert differences({"w": (2, 3), "b": (2,)}, found) == ""
    assert differences({"w": "F32 [2, 3]", "b": "BF16 [2]"}, found) == ""
    said = differences({"w": "BF16 [2, 3]", "c": "F32 [1]"}, found)
    assert said == (
        "missing: c; unexpected: b; of another shape or type: w F32 [2, 3] instead of BF16 [2, 3]"
    )
    many = {f"n{number}": (1,) for number in range(8)}
    assert differences(many, {}) == "missing: n0, n1, n2, n3, n4 and 3 more"


def test_only_weights_configurations_and_licences_are_wanted():
    taken = ("config.json", "vae/diffusion_pytorch_model.safetensors", "LICENSE", "NOTICE.txt")
    left = (
        "pytorch_model.bin",
        "model.fp16.safetensors",
        "run.py",
        "README.md",
        ".git/config.json",
    )
    assert [name for name in (*taken, *left) if wanted(name)] == [*taken]


def test_addresses_of_a_hub():
    assert HubName.parse("hub:org/a.b-c") == ("org/a.b-c", None, "")
    assert HubName.parse("hub:org/name@v1/some/folder/") == ("org/name", "v1", "some/folder")
    for wrong in ("hub:name", "hub:org/name/folder", "hub:org/name@"):
        with pytest.raises(ModelError, match="bad hub address"):
            HubName.parse(wrong)


def test_a_licence_that_nobody_knows_is_restricted():
    names = ("Apache-2.0", "mit", "cc-by-nc-4.0", "my-own")
    assert [is_restricted(name) for name in names] == [False, False, True, True]
