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
    assert "cannot read the image" in found[1].reason
    assert found[2] == Failure("no picture geneval/00000/samples/0002.png")


def test_a_broken_picture_is_an_error_unless_it_is_counted(tmp_path):
    path = tmp_path / "geneval" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match=r"cannot read the image .*a\.png"):
        paint(system(tmp_path), "geneval/a.png")


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
        ([{"image_id": 3, "caption": "a"}], ":1: image_id and caption must be texts"),
        ([{"image_id": "a", "caption": "b"}] * 2, ":2: image_id 'a' stands twice"),
    ],
)
def test_wrong_captions_are_refused_by_line(tmp_path, rows, says):
    captions(tmp_path / "unified_bench", *rows)
    with pytest.raises(EvaluationError, match=says):
        ask(system(tmp_path), "a")


def test_identity_changes_with_a_picture(tmp_path):
    write_png(plain(1), tmp_path / "geneval" / "a.png")
    before = system(tmp_path).identity
    write_png(plain(2), tmp_path / "geneval" / "a.png")
    assert system(tmp_path).identity["sha256"] != before["sha256"]
    with pytest.raises(EvaluationError, match="no folder"):
        system(tmp_path / "none")
