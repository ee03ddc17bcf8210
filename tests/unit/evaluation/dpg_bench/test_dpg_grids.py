import numpy as np
import pytest
from PIL import ExifTags, Image

from uae.errors import EvaluationError
from uae.evaluation.dpg_bench.grids import (
    check_grids,
    item_seed,
    paint_grids,
    picture_size,
    places,
    read_grids,
)
from uae.evaluation.dpg_bench.rules import Item
from uae.evaluation.pictures import cut_grid, make_grid, read_png, write_png
from uae.evaluation.systems.base import Failure
from uae.evaluation.systems.folder import FolderSystem
from uae.recipe import FolderSystemRecipe
from uae.seeds import derive_seed

ITEMS = [Item("a", "first", ()), Item("b", "second", ())]


class Numbering:
    """Paints the position of a request; in `failing` and `tall` are positions."""

    def __init__(self, failing=(), tall=()):
        self.failing, self.tall, self.requests = failing, tall, []

    def generate(self, requests):
        self.requests += requests
        return [
            Failure("refused")
            if index in self.failing
            else np.full((6 if index in self.tall else 4, 6, 3), index, dtype=np.uint8)
            for index in range(len(requests))
        ]


def test_a_grid_is_cut_as_it_was_tiled():
    crops = [np.full((4, 6, 3), index, dtype=np.uint8) for index in range(4)]
    grid = make_grid(crops)
    assert grid.shape == (8, 12, 3)
    assert grid[0, 11, 0] == 1  # second: top right
    assert all((a == b).all() for a, b in zip(cut_grid(grid, name="g"), crops, strict=True))
    with pytest.raises(EvaluationError, match=r"g\.png is 12 x 7"):
        cut_grid(grid[:7], name="g.png")


def test_four_pictures_of_an_item_become_one_grid_and_come_back(tmp_path):
    system = Numbering()
    rows = paint_grids(system, ITEMS, 3, tmp_path)
    assert [row["image"] for row in rows] == ["images/a.png", "images/b.png"]
    assert read_png(tmp_path / "images" / "b.png")[[0, 0, 4, 4], [0, 6, 0, 6], 0].tolist() == [
        4, 5, 6, 7,
    ]  # fmt: skip
    grids = read_grids(rows, tmp_path)
    assert [[int(crop[0, 0, 0]) for crop in grid] for grid in grids] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_every_picture_has_its_own_place_and_seed(tmp_path):
    system = Numbering()
    paint_grids(system, ITEMS, 3, tmp_path)
    assert [request.place for request in system.requests[:4]] == places(ITEMS[0])
    assert places(ITEMS[0])[3] == "dpg_bench/a/3.png"
    seeds = [request.seed for request in system.requests]
    assert len(set(seeds)) == 8
    assert seeds[5] == derive_seed(item_seed(3, "b"), 1)


def test_one_refused_picture_leaves_the_item_without_a_grid(tmp_path):
    rows = paint_grids(Numbering(failing=(1, 3)), ITEMS, 0, tmp_path)
    reason = "picture 1: refused; picture 3: refused"
    assert rows[0] == {"image": "images/a.png", "state": "missing", "reason": reason}
    assert rows[1]["state"] == "painted"
    assert not (tmp_path / "images" / "a.png").exists()
    assert read_grids(rows, tmp_path)[0] == reason


def test_pictures_of_several_sizes_make_no_grid_and_the_sizes_are_named(tmp_path):
    rows = paint_grids(Numbering(tall=(2,)), ITEMS, 0, tmp_path)
    assert rows[0]["state"] == "missing"
    assert rows[0]["reason"] == "pictures of 6 x 4, 6 x 4, 6 x 6, 6 x 4 pixels make no grid"


def test_grids_of_several_sizes_are_refused_and_both_named(tmp_path):
    paint_grids(Numbering(failing=(5,)), ITEMS, 0, tmp_path)
    check_grids(ITEMS, tmp_path)  # the second is missing
    paint_grids(Numbering(tall=(0, 1, 2, 3)), [ITEMS[1]], 0, tmp_path)
    says = r"in images/a\.png they have 6 x 4 pixels, in images/b\.png 6 x 6"
    with pytest.raises(EvaluationError, match=says):
        check_grids(ITEMS, tmp_path)


def test_a_turned_photograph_has_the_size_in_which_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert picture_size(tmp_path / "turned.jpg") == (4, 6)
    Image.new("RGB", (6, 4)).save(tmp_path / "plain.jpg")
    assert picture_size(tmp_path / "plain.jpg") == (6, 4)
    with pytest.raises(EvaluationError, match=r"cannot read the image .*none\.png"):
        picture_size(tmp_path / "none.png")


def test_a_grid_of_odd_size_is_the_items_fault_a_lost_one_an_error(tmp_path):
    rows = paint_grids(Numbering(), ITEMS, 0, tmp_path)
    write_png(np.zeros((7, 12, 3), dtype=np.uint8), tmp_path / "images" / "a.png")
    wrong, right = read_grids(rows, tmp_path)
    assert wrong == "a.png is 12 x 7 pixels, not a 2 x 2 grid"
    assert len(right) == 4
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(EvaluationError, match=r"a\.png"):
        read_grids(rows, tmp_path)


@pytest.mark.parametrize(
    ("shape", "state", "reason"),
    [
        ((8, 12, 3), "painted", ""),
        ((7, 12, 3), "missing", "picture 0: a.png is 12 x 7 pixels, not a 2 x 2 grid"),
        ((8, 11, 3), "missing", "picture 0: a.png is 11 x 8 pixels, not a 2 x 2 grid"),
    ],
)
def test_grids_made_elsewhere_are_taken_whatever_their_size_if_it_is_even(
    tmp_path, shape, state, reason
):
    write_png(np.zeros(shape, dtype=np.uint8), tmp_path / "theirs" / "dpg_bench" / "a.png")
    recipe = FolderSystemRecipe(
        kind="folder", name="theirs", path=str(tmp_path / "theirs"), missing="count"
    )
    (row,) = paint_grids(FolderSystem(recipe), ITEMS[:1], 0, tmp_path / "out")
    assert row["state"] == state
    assert row["reason"].startswith(reason)
