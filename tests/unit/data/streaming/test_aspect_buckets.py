import numpy as np
import pytest

from uae.data.streaming.buckets import BucketGrid
from uae.errors import DataError


def assigned(grid, *sizes):
    widths, heights = (np.array(column, dtype=np.int64) for column in zip(*sizes, strict=True))
    return [grid.sizes[place] for place in grid.assign(widths, heights)]


def test_sizes_of_512_by_512_pixels_by_hand():
    # 512^2 / 384 = 682.67 -> 640; 512^2 / 448 = 585.1 -> 576; 512^2 / 576 = 455.1 -> 448
    middle = ((384, 640), (448, 576), (512, 512), (576, 448), (640, 384))
    assert BucketGrid.of_budget(512).sizes == middle
    # 512^2 / 320 = 819.2 -> 768, whose own largest partner is 320 (341.3): the ratio is 2.4
    assert BucketGrid.of_budget(512, max_ratio=2.4).sizes == ((320, 768), *middle, (768, 320))


@pytest.mark.parametrize("side", [256, 512, 768, 1024])
def test_sizes_keep_the_budget_and_none_could_grow(side):
    for width, height in BucketGrid.of_budget(side, max_ratio=4).sizes:
        assert width % 64 == height % 64 == 0
        assert width * height <= side**2 < min((width + 64) * height, width * (height + 64))


def test_pictures_go_to_the_nearest_shape():
    grid = BucketGrid(((1, 2), (1, 1), (2, 1)))
    # The border between 1 and 2 is their geometric mean, 1.41421...: 141421 / 100000 is below it.
    assert assigned(grid, (141421, 100000), (141422, 100000)) == [(1, 1), (2, 1)]
    assert assigned(grid, (100000, 141421), (100000, 141422)) == [(1, 1), (1, 2)]
    assert assigned(grid, (9000, 10), (10, 9000), (7, 7)) == [(2, 1), (1, 2), (1, 1)]


def test_between_two_equally_near_the_squarer_is_taken():
    grid = BucketGrid(((1, 4), (1, 1), (4, 1)))
    assert assigned(grid, (2, 1), (1, 2)) == [(1, 1), (1, 1)]


def test_a_picture_and_the_same_on_its_side_are_treated_alike():
    grid = BucketGrid.of_budget(512, max_ratio=4)
    sizes = np.random.default_rng(0).integers(64, 4000, (500, 2)).tolist()
    lying = assigned(grid, *[(w, h) for w, h in sizes])
    standing = assigned(grid, *[(h, w) for w, h in sizes])
    assert standing == [(h, w) for w, h in lying]


def test_sizes_with_too_few_pictures_are_left_out_one_by_one():
    grid = BucketGrid(((1, 2), (2, 3), (1, 1), (2, 1)))
    widths = np.array([10, 20, 20, 10, 10, 10], dtype=np.int64)
    heights = np.array([20, 30, 30, 10, 10, 10], dtype=np.int64)
    # Counts 1, 2, 3, 0: first (2, 1) goes, then (1, 2), whose picture joins (2, 3).
    assert grid.fitted(widths, heights, 1).sizes == ((1, 2), (2, 3), (1, 1))
    assert grid.fitted(widths, heights, 3).sizes == ((2, 3), (1, 1))
    assert len(grid.fitted(widths, heights, 7).sizes) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 500}, "side=500 is no multiple of 64"),
        ({"side": 512, "max_ratio": 0.5}, "max_ratio=0.5"),
    ],
)
def test_a_wrong_budget_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        BucketGrid.of_budget(**options)


@pytest.mark.parametrize("sizes", [(), ((0, 1),), ((2, 1), (1, 1)), ((1, 1), (2, 2))])
def test_a_wrong_list_is_refused(sizes):
    with pytest.raises(DataError, match="aspect buckets"):
        BucketGrid(sizes)
