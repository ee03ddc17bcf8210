import io
import json
import re

import pytest
from PIL import Image

from uae.data.dataset import load_dataset
from uae.data.validate import split_samples, validate_data
from uae.errors import DataError
from uae.recipe_files import load_recipe


@pytest.fixture
def validate(folder, recipe, tmp_path):
    """Validate the test's folder into tmp_path/out with a report in tmp_path/report.html."""

    def run(source=None):
        return validate_data(
            recipe, source or str(folder.path), tmp_path / "out", tmp_path / "report.html"
        )

    return run


FACTS = {
    "objects": [
        {
            "class": "cat",
            "color": "red",
            "size": "small",
            "place": "center",
            "box": [24, 24, 40, 41],
        }
    ],
    "background": "tan",
    "word": None,
}


@pytest.fixture
def small_recipe(recipe):
    """A recipe whose benchmarks need one prompt each."""
    return with_prompts(recipe, geneval=1, dpg_bench=1)


def with_prompts(recipe, **counts):
    evaluation = recipe.evaluation
    few = {
        name: getattr(evaluation, name).model_copy(update={"num_prompts": count})
        for name, count in counts.items()
    }
    return recipe.model_copy(update={"evaluation": evaluation.model_copy(update=few)})


def animated(name):
    frames = [Image.new("RGB", (48, 48), color) for color in ("red", "green")]
    file = io.BytesIO()
    frames[0].save(file, name, save_all=True, append_images=frames[1:])
    return file.getvalue()


def test_good_data_is_split_and_written_as_shards(validate, tmp_path, folder):
    metrics = validate()
    assert metrics["num_samples"] == 6
    assert (metrics["num_train"], metrics["num_heldout"], metrics["num_benchmark"]) == (5, 1, 0)
    assert metrics["caption_words/median"] == 5
    train, heldout = (load_dataset(tmp_path / "out" / name) for name in ("train", "heldout"))
    assert sorted(train.image_ids + heldout.image_ids) == [f"good-{n}" for n in range(6)]
    original = {f"good-{n}": (folder.path / f"good-{n}.png").read_bytes() for n in range(6)}
    assert all(sample.read_bytes() == original[sample.image_id] for sample in train)
    assert {sample.split for sample in heldout} == {"heldout"}
    described = json.loads((tmp_path / "out" / "data.json").read_text())
    assert described["counts"] == {"train": 5, "heldout": 1}
    assert described["has_facts"] is False
    assert re.fullmatch("[0-9a-f]{64}", described["revision"])


def test_shards_are_a_source_too(validate, recipe, tmp_path):
    validate()
    again = tmp_path / "again"
    merged = tmp_path / "merged"
    merged.mkdir()
    for name in ("train", "heldout"):
        shard = tmp_path / "out" / name / f"{name}-000000.tar"
        (merged / shard.name).write_bytes(shard.read_bytes())
    validate_data(recipe, str(merged), again, tmp_path / "again.html")
    first, second = (json.loads((p / "data.json").read_text()) for p in (tmp_path / "out", again))
    assert second["revision"] == first["revision"]


def test_named_splits_are_kept(folder, small_recipe, tmp_path):
    folder.add("test-scene", split="benchmark", facts=FACTS)
    validate_data(small_recipe, str(folder.path), tmp_path / "out", tmp_path / "report.html")
    assert load_dataset(tmp_path / "out" / "benchmark").image_ids == ["test-scene"]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (None, "has no facts"),
        (FACTS | {"background": "mauve"}, "background 'mauve' is none of white, gray"),
        (FACTS | {"word": "TAXI"}, "word 'TAXI' is none of SUN"),
        (
            FACTS | {"objects": [FACTS["objects"][0] | {"class": "tram", "place": "left"}]},
            "objects.0.class 'tram' is none of cat, .*; objects.0.place 'left' is none of top left",
        ),
        (
            FACTS | {"objects": [FACTS["objects"][0] | {"box": [24, 24, 400, 410]}]},
            r"objects.0.box \[24, 24, 400, 410\] leaves the picture of 64 x 64",
        ),
    ],
    ids=["none", "background", "word", "object", "box"],
)
def test_benchmark_row_beyond_the_starters_domain_is_named(
    folder, small_recipe, tmp_path, facts, says
):
    folder.add("odd", split="benchmark", facts=facts)
    folder.add("free", split="train", facts=facts)
    paths = tmp_path / "out", tmp_path / "report.html"
    with pytest.raises(DataError, match=rf"1 fault:\n  odd: benchmark facts are of .*\({says}"):
        validate_data(small_recipe, str(folder.path), *paths)
    assert not paths[0].exists()
    assert "<b>odd</b>" in paths[1].read_text(encoding="utf-8")


def test_too_few_benchmark_rows_for_the_prompts_are_refused(validate, folder):
    folder.add("test-scene", split="benchmark", facts=FACTS)
    with pytest.raises(DataError) as error:
        validate()
    assert "1 benchmark scenes give 1 prompts for single_object, 8 are needed" in str(error.value)
    assert "24 DPG-Bench prompts need as many scenes, there are 1" in str(error.value)


def test_too_many_prompts_for_the_shipped_scenes_are_refused(folder, recipe, tmp_path):
    many = with_prompts(recipe, dpg_bench=100_000)
    with pytest.raises(DataError, match=r"shipped benchmark scenes.*100000 DPG-Bench prompts"):
        validate_data(many, str(folder.path), tmp_path / "out", tmp_path / "report.html")


def test_jpeg_with_odd_exif_is_named_only_if_it_cannot_be_decoded(
    validate, folder, encode_image, tmp_path
):
    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg = encode_image(Image.new("RGB", (48, 64), "red"), "JPEG", exif=exif)
    folder.add("turned", jpeg, split="heldout")
    folder.add("cut", jpeg[:-300])
    with pytest.raises(DataError, match="1 fault:\n  cut: image decodes"):
        validate()


def test_split_depends_on_ids_and_seed_not_on_order(folder, recipe):
    samples = list(load_dataset(folder.path))
    ids = [sample.image_id for sample in split_samples(samples, recipe)["heldout"]]
    assert ids == [s.image_id for s in split_samples(samples[::-1], recipe)["heldout"]]
    seeds = [recipe.model_copy(update={"seed": seed}) for seed in range(8)]
    assert len({split_samples(samples, seed)["heldout"][0].image_id for seed in seeds}) > 1


def test_a_single_sample_cannot_be_split(recipe, folder):
    with pytest.raises(DataError, match="no sample is left for train"):
        split_samples(list(load_dataset(folder.path))[:1], recipe)


@pytest.mark.parametrize(("num_added", "enough"), [(4, False), (5, True)])
def test_too_few_pictures_for_early_stopping_are_refused_before_training(
    folder, tmp_path, num_added, enough
):
    for index in range(num_added):  # of the 6 without a split, one is held out
        folder.add(f"more-{index}", split="train")
    arguments = (load_recipe("starter"), str(folder.path), tmp_path / "out", tmp_path / "r.html")
    if enough:
        assert validate_data(*arguments)["num_train"] == 10
        return
    with pytest.raises(DataError, match="takes 10 or more; there are only 9; add pictures"):
        validate_data(*arguments)
    assert not arguments[2].exists()


def test_occupied_output_is_left_alone(validate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(DataError, match="already exists"):
        validate()
    assert (tmp_path / "out" / "precious").read_text() == "x"


def test_empty_folder_and_missing_folder(validate, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        validate(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="no data at"):
        validate(str(tmp_path / "nowhere"))


BAD = {
    "0 bytes": ({"image": b""}, "image decodes", "0 bytes"),
    "text": ({"image": b"a text file"}, "image decodes", "not a PNG"),
    "gif": ({"image": animated("GIF")}, "image decodes", "not a PNG"),
    "animated png": ({"image": animated("PNG")}, "image is not animated", "num_frames is 2"),
    "animated webp": ({"image": animated("WEBP")}, "image is not animated", "num_frames is 2"),
    "small": ({"side": (64, 31)}, "shorter side is at least 32", "min_side is 31"),
    "wide": ({"side": (8193, 40)}, "longer side is at most 8192", "max_side is 8193"),
    "bomb": ({"claims": 30_000}, "image decodes", "too many pixels"),
    "truncated": ({"cut": 60}, "image decodes", "broken"),
    "empty caption": ({"caption": ""}, "caption has at least 2 words", "caption_words is 0"),
    "endless": ({"caption": "a " * 50_000}, "caption has at most 4000", "is 100000"),
    "control": ({"caption": "a \x00 \x1b[2J cat"}, "no control characters", "is 2"),
    "licence": ({"licence": "all rights reserved"}, "licence is one of", "all rights"),
    "source": ({"source": ""}, "source is named", "source is ''"),
    "split": ({"split": "valid"}, "split is one of train", "split is 'valid'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sample_is_named_with_its_rule(
    case, validate, folder, tmp_path, encode_image, png, bomb
):
    changes, rule, detail = BAD[case]
    changes = dict(changes)
    image = changes.pop("image", None)
    if "claims" in changes:
        image = bomb(changes.pop("claims"))
    if "side" in changes:
        image = encode_image(Image.new("1", changes.pop("side")))
    if "cut" in changes:
        image = png(9)[: changes.pop("cut")]
    folder.add("bad", image if image is not None else png(9), **changes)
    with pytest.raises(DataError) as error:
        validate()
    lines = [line for line in str(error.value).splitlines() if line.startswith("  ")]
    assert all(line.startswith("  bad: ") for line in lines), lines
    assert any(rule in line and detail in line for line in lines), lines
    assert not (tmp_path / "out").exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Refused" in page
    assert "<b>bad</b>" in page


def test_everything_wrong_is_told_at_once(validate, folder, tmp_path):
    folder.add("twin", (folder.path / "good-0.png").read_bytes())
    folder.add("good-1")
    folder.add("gone", image=b"", caption="x")
    (folder.path / "gone.png").unlink()
    folder.add_line("{broken")
    with pytest.raises(DataError) as error:
        validate()
    for says in (
        "good-0: no two files are equal",
        "twin: no two files are equal",
        "good-1: image_id is unique",
        "gone: image file exists",
        "captions.jsonl line 10: is one JSON object",
    ):
        assert says in str(error.value)
    assert "captions.jsonl line 10" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_only_unreadable_rows_still_give_a_report(validate, tmp_path):
    source = tmp_path / "broken"
    source.mkdir()
    (source / "captions.jsonl").write_text("{\n")
    with pytest.raises(DataError, match="line 1"):
        validate(str(source))
    assert "line 1" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "image",
    [
        Image.new("CMYK", (48, 48), (9, 8, 7, 6)),
        Image.new("P", (48, 48), 3),
        Image.new("I;16", (48, 48), 999),
        Image.new("RGBA", (48, 48), (9, 8, 7, 6)),
        Image.new("LA", (48, 48), (9, 8)),
        Image.new("1", (48, 48), 1),
    ],
    ids=lambda image: image.mode,
)
def test_unusual_modes_are_accepted(image, validate, folder, encode_image, tmp_path):
    data = encode_image(image, "JPEG" if image.mode == "CMYK" else "PNG")
    folder.add("unusual", data, split="heldout")
    validate()
    heldout = load_dataset(tmp_path / "out" / "heldout")
    index = heldout.image_ids.index("unusual")
    assert heldout.pixels([index], 16).shape == (1, 3, 16, 16)


def test_other_scripts_are_accepted(validate, folder):
    folder.add("scripts", caption="一只红色的猫 · рыжая кошка · قطة 👩‍👩‍👧")
    assert validate()["num_samples"] == 7


def test_report_is_one_page_without_network(validate, folder, tmp_path):
    folder.add("markup", caption="<script>alert(1)</script> & more")
    validate()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Accepted" in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "http:" not in page
    assert "https:" not in page
    assert page.count("data:image/webp;base64,") == 7
    assert page.count("<svg") == 3
    assert len(page) < 200_000
