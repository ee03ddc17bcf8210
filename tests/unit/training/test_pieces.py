import pytest
import torch
from safetensors.torch import save_file

from uae.errors import TrainingError
from uae.training.pieces import joined, own_pieces, rows_of


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (8, [(0, 2), (2, 4), (4, 6), (6, 8)]),
        (5, [(0, 2), (2, 4), (4, 5), (5, 5)]),
        (1, [(0, 1), (1, 1), (1, 1), (1, 1)]),
    ],
)
def test_rows_are_cut_as_torch_cuts_chunks(length, expected):
    found = [rows_of(length, 4, part) for part in range(4)]
    assert found == expected
    chunks = torch.arange(length).chunk(4)
    assert [last - first for first, last in found if last > first] == [len(c) for c in chunks]


def test_what_all_hold_is_written_once_by_whom_has_least_to_write():
    sizes = {"a": 6, "b": 5, "c": 4, "d": 3}  # a and d, b and c: 9 each
    tensors = {name: torch.arange(size) for name, size in sizes.items()}
    found = [own_pieces(tensors, rank, 2)["whole"].tensors for rank in (0, 1)]
    assert [set(one) for one in found] == [{"a", "d"}, {"b", "c"}]
    assert torch.equal(found[1]["c"], torch.arange(4))


def test_pieces_are_copies():
    tensor = torch.zeros(2)
    pieces = own_pieces({"w": tensor}, 0, 1)["whole"]
    tensor += 1
    assert pieces.tensors["w"].tolist() == [0, 0]
    assert pieces.entries == {"w": {"shape": [2], "rows": None}}


@pytest.fixture
def cut(tmp_path):
    """A tensor of 5 rows in three files, the middle one with rows 2 and 3."""
    whole = torch.arange(10.0).reshape(5, 2)
    files = {}
    for first, last in ((0, 2), (2, 4), (4, 5)):
        name = f"{first}.safetensors"
        save_file({"w": whole[first:last].clone()}, tmp_path / name)
        files[name] = {"w": {"shape": [5, 2], "rows": [first, last]}}
    return whole, files, tmp_path


def test_rows_are_joined_in_order_whatever_the_order_of_files(cut):
    whole, files, folder = cut
    reverse = dict(reversed(files.items()))
    assert torch.equal(joined("w", None, reverse, lambda name: folder / name), whole)


def test_rows_that_nobody_has_are_an_error(cut):
    _, files, folder = cut
    del files["2.safetensors"]
    with pytest.raises(TrainingError, match="no file of the checkpoint has row 2 of w"):
        joined("w", None, files, lambda name: folder / name)
    with pytest.raises(TrainingError, match="no file of the checkpoint has v"):
        joined("v", None, files, lambda name: folder / name)


def test_a_damaged_file_is_named(cut):
    _, files, folder = cut
    (folder / "4.safetensors").write_bytes(b"x")
    with pytest.raises(TrainingError, match=r"cannot read .*4\.safetensors of the checkpoint"):
        joined("w", None, files, lambda name: folder / name)
