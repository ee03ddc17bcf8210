import json

import numpy as np
import pytest

from uae.errors import EvaluationError
from uae.evaluation.pictures import make_grid, write_png
from uae.evaluation.systems.base import Capabilities, CaptionRequest, Failure, PictureRequest
from uae.evaluation.systems.folder import FolderSystem
from uae.evaluation.systems.requirements import require
from uae.recipe import FolderSystemRecipe


def plain(value, side=4):
    return np.full((side, side, 3), value, dtype=np.uint8)


def system(path, missing="refuse"):
    recipe = {"kind": "folder", "name": "elsewhere", "path": str(path), "missing": missing}
    return FolderSystem(FolderSystemRecipe.model_validate(recipe))


def paint(tested, *places):
    return tested.generate([PictureRequest("a text", 0, place) for place in places])


def test_a_picture_is_found_by_its_place_whatever_its_suffix(tmp_path):
    write_png(plain(1), tmp_path / "geneval" / "00000" / "samples" / "0000.png")
    write_png(plain(2), tmp_path / "unified_bench" / "reconstruction" / "a.b.png")
    first, second = paint(
        system(tmp_path), "geneval/00000/samples/0000.png", "unified_bench/reconstruction/a.b.png"
    )
    assert (first == 1).all()
    assert (second == 2).all()


def test_the_published_generators_folder_is_taken_as_it_is(tmp_path):
    """Five digits, a grid and a row beside the samples."""
    for number in range(2):
        folder = tmp_path / "geneval" / f"{number:05d}"
        write_png(plain(9), folder / "grid.png")
        (folder / "metadata.jsonl").write_text("{}")
        for image in range(4):
            write_png(plain(10 * number + image), folder / "samples" / f"{image:05d}.png")
    places = [f"geneval/{n:05d}/samples/{image:04d}.png" for n in range(2) for image in range(4)]
    tested = system(tmp_path)
    assert tested.root == tmp_path
    require(tested, "geneval", pictures=True, places=places)
    assert [int(picture.max()) for picture in paint(tested, *places)] == [
        0,
        1,
        2,
        3,
        10,
        11,
        12,
        13,
    ]
    with pytest.raises(EvaluationError, match=r"1 superfluous: geneval/00001/samples/00003\.png"):
        require(tested, "geneval", pictures=True, places=places[:-1])
    more = [*places, "geneval/00001/samples/0004.png"]
    with pytest.raises(EvaluationError, match=r"1 missing: geneval/00001/samples/0004\.png"):
        require(tested, "geneval", pictures=True, places=more)


def test_only_dpg_bench_has_grids(tmp_path):
    write_png(plain(1), tmp_path / "text_fidelity" / "drawn.png")
    write_png(plain(1), tmp_path / "dpg_bench" / "drawn.png")
    tested = system(tmp_path)
    place = "text_fidelity/drawn/0.png"
    assert paint(tested, place) == [Failure(f"no picture {place}")]
    assert paint(tested, "dpg_bench/drawn/0.png")[0].shape == (2, 2, 3)


def dpg_places(*items):
    return [f"dpg_bench/{item}/{crop}.png" for item in items for crop in range(4)]


@pytest.mark.parametrize("missing", ["refuse", "count"])
def test_pictures_of_dpg_bench_have_one_size_in_grids_and_alone(tmp_path, missing):
    write_png(plain(1, side=8), tmp_path / "dpg_bench" / "a.png")
    for crop in range(4):
        write_png(plain(1, side=4), tmp_path / "dpg_bench" / "b" / f"{crop}.png")
    tested, places = system(tmp_path, missing), dpg_places("a", "b")
    require(tested, "dpg_bench", pictures=True, places=places)
    write_png(plain(1, side=4), tmp_path / "dpg_bench" / "a.png")  # a single picture
    says = r"in dpg_bench/a\.png they have 2 x 2 pixels, in dpg_bench/b/0\.png 4 x 4"
    with pytest.raises(EvaluationError, match=says):
        require(tested, "dpg_bench", pictures=True, places=places)


def test_a_broken_grid_has_no_size(tmp_path):
    write_png(plain(1), tmp_path / "dpg_bench" / "a.png")
    (tmp_path / "dpg_bench" / "b.png").write_bytes(b"no picture")
    places = dpg_places("a", "b")
    require(system(tmp_path, "count"), "dpg_bench", pictures=True, places=places)
    with pytest.raises(EvaluationError, match=r"cannot read the image .*b\.png"):
        require(system(tmp_path), "dpg_bench", pictures=True, places=places)


@pytest.mark.parametrize("item", ["item-7", "0"])  # an item may be called like a crop
def test_a_grid_is_cut_into_its_crops(tmp_path, item):
    write_png(
        make_grid([plain(value) for value in range(4)]), tmp_path / "dpg_bench" / f"{item}.png"
    )
    crops = paint(system(tmp_path), *[f"dpg_bench/{item}/{crop}.png" for crop in range(4)])
    assert [int(crop.max()) for crop in crops] == [0, 1, 2, 3]
    assert {crop.shape for crop in crops} == {(4, 4, 3)}


def test_fewer_or_more_pictures_than_asked_for_are_refused_by_name(tmp_path):
    write_png(plain(1), tmp_path / "geneval" / "00000" / "samples" / "0000.png")
    write_png(plain(1), tmp_path / "geneval" / "00009" / "samples" / "0000.png")
    places = ["geneval/00000/samples/0000.png", "geneval/00001/samples/0000.png"]
    with pytest.raises(EvaluationError) as caught:
        require(system(tmp_path), "geneval", pictures=True, places=places)
    assert "1 missing: geneval/00001/samples/0000.png" in str(caught.value)
    assert "1 superfluous: geneval/00009/samples/0000.png" in str(caught.value)


def test_missing_pictures_may_be_counted_instead(tmp_path):
    write_png(plain(1), tmp_path / "geneval" / "00000" / "samples" / "0000.png")
    (tmp_path / "geneval" / "00000" / "samples" / "0001.png").write_bytes(b"no picture")
    places = [f"geneval/00000/samples/{number:04d}.png" for number in range(3)]
    tested = system(tmp_path, "count")
    require(tested, "geneval", pictures=True, places=places)
    found = paint(tested, *places)
    assert isinstance(found[1], Failure)
    assert found[1].reason.startswith(
        "cannot read the image geneval/00000/samples/0001.png: cannot identify image file"
    )
    assert str(tmp_path) not in found[1].reason  # results are the same on every machine
    assert found[2] == Failure("no picture geneval/00000/samples/0002.png")


def test_a_broken_picture_is_an_error_unless_it_is_counted(tmp_path):
    path = tmp_path / "geneval_2" / "0.png"
    path.parent.mkdir()
    path.write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match=rf"cannot read the image {path}"):
        paint(system(tmp_path), "geneval_2/0.png")


def test_a_grid_of_odd_size_is_refused(tmp_path):
    write_png(plain(1, side=5), tmp_path / "dpg_bench" / "x.png")
    with pytest.raises(EvaluationError, match=r"x\.png is 5 x 5 pixels, not a 2 x 2 grid"):
        paint(system(tmp_path), "dpg_bench/x/0.png")


def captions(folder, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "captions.jsonl").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")


def ask(tested, image_id):
    return tested.caption([CaptionRequest(plain(0), 0, f"unified_bench/{image_id}")])


def test_captions_are_found_by_their_picture(tmp_path):
    captions(tmp_path / "unified_bench", {"image_id": "a/1", "caption": "a red cat"}, "")
    tested = system(tmp_path)
    assert tested.capabilities == Capabilities(captions=True, pictures=False)
    assert ask(tested, "a/1") == ["a red cat"]
    assert ask(tested, "b") == [Failure("no caption of 'b' in unified_bench/captions.jsonl")]
    with pytest.raises(EvaluationError, match="can paint pictures: 'elsewhere' cannot"):
        require(tested, "geneval", pictures=True)


def test_a_benchmark_without_captions_is_an_error_unless_they_are_counted(tmp_path):
    captions(tmp_path / "text_fidelity", {"image_id": "a", "caption": "a red cat"})
    with pytest.raises(EvaluationError, match=r"no captions at .*unified_bench"):
        ask(system(tmp_path), "a")
    assert isinstance(ask(system(tmp_path, "count"), "a")[0], Failure)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["{"], ":1: not a caption row"),
        ([{"image_id": "a"}], ":1: not a caption row"),
        (['{"image_id": "a", "caption": "b", "caption": "c"}'], ":1: .*stand twice: caption"),
        (["[]"], ":1: not a caption row: .*got list"),
        (
            [{"image_id": 3, "caption": "a"}],
            ":1: not a caption row: .*image_id and caption must be texts",
        ),
        ([{"image_id": "a", "caption": "b"}] * 2, ":2: repeats line 1"),
    ],
)
def test_wrong_captions_are_refused_by_line(tmp_path, rows, says):
    captions(tmp_path / "unified_bench", *rows)
    with pytest.raises(EvaluationError, match=says):
        ask(system(tmp_path), "a")


def test_a_caption_may_hold_any_separator_but_a_line_feed(tmp_path):
    caption = "one\u2028two\u0085three\x0bfour"
    text = json.dumps({"image_id": "a", "caption": caption}, ensure_ascii=False)
    captions(tmp_path / "unified_bench", text)
    assert ask(system(tmp_path), "a") == [caption]


def test_captions_that_are_not_utf_8_are_refused(tmp_path):
    captions(tmp_path / "unified_bench")
    row = json.dumps({"image_id": "a", "caption": "caf\u00e9"}, ensure_ascii=False)
    (tmp_path / "unified_bench" / "captions.jsonl").write_bytes(row.encode("latin-1"))
    with pytest.raises(EvaluationError, match=r"captions\.jsonl is not UTF-8 text"):
        ask(system(tmp_path), "a")


def test_identity_changes_with_a_picture(tmp_path):
    write_png(plain(1), tmp_path / "geneval" / "a.png")
    before = system(tmp_path).identity
    write_png(plain(2), tmp_path / "geneval" / "a.png")
    assert system(tmp_path).identity["sha256"] != before["sha256"]
    with pytest.raises(EvaluationError, match="no folder"):
        system(tmp_path / "none")
