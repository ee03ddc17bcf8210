"""A recipe that names weights which do not exist is refused in an instant, by their files alone."""

import subprocess
import sys

import pytest

from uae import cli
from uae.errors import RecipeError
from uae.launch.validation import settle_recipe
from uae.models.bundle import REQUIRED, BundleInfo
from uae.recipe_files import RECIPES_FOLDER

STARTER = (RECIPES_FOLDER / "starter.yaml").read_text(encoding="utf-8")
OPEN_CLIP = ("open_clip_config.json", "open_clip_model.safetensors")
TRANSFORMERS = ("config.json", "preprocessor_config.json")


@pytest.fixture
def base(tmp_path):
    """Empty files where a base's weights would be."""
    files = [f"autoencoder/{name}" for name in REQUIRED]
    files += [f"scorers/{name}/{file}" for name in ("clip", "longclip") for file in OPEN_CLIP]
    files += [f"scorers/ssl/{file}" for file in TRANSFORMERS]
    files += ["detector/config.json", "judge/config.json"]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    info = BundleInfo(
        stage="base",
        condition_source="reencode_text",
        condition_tokens=32,
        image_size=64,
        parent=None,
    )
    (tmp_path / "autoencoder/model.json").write_text(info.model_dump_json())
    return tmp_path / "autoencoder"


def test_weights_are_found_by_their_files(base):
    assert settle_recipe(STARTER, base_model=str(base)).models.base == str(base)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("\n  scorer: clip\n", "\n  scorer: clipp\n", r"cold_start\.scorer: scorer 'clipp': .*"),
        (
            "    scorer: clip\n",
            "    scorer: ssl\n",
            r"generation_for_understanding\.rewards\.scorer: scorer 'ssl': .*\['clip', 'long",
        ),
        (
            "{scorer: clip}",
            "{scorer: cilp}",
            r"understanding_for_generation\.rewards\.scorer: scorer 'cilp'",
        ),
        (
            "dinov2: ssl",
            "dinov2: sssl",
            r"evaluation\.slots\.dinov2: scorer 'sssl': .*'ssl', 'efficientnet-lite0'\]",
        ),
        ("base: starter", "base: sarter", "models.base 'sarter': no model bundle"),
    ],
)
def test_misspelt_name_is_named_with_its_key(before, after, says):
    assert before in STARTER
    with pytest.raises(RecipeError, match=says):
        settle_recipe(STARTER.replace(before, after, 1))


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("autoencoder/vae/config.json", "is not a model bundle: vae/config.json missing"),
        ("scorers/clip/open_clip_model.safetensors", "the colours of GenEval: scorer 'clip'"),
        ("scorers/ssl/preprocessor_config.json", r"slots\.dinov2: .*lacks preprocessor_config"),
        ("detector/config.json", "GenEval: no detector in"),
        ("judge/config.json", "DPG-Bench: no judge in"),
    ],
)
def test_missing_file_is_named(base, missing, says):
    (base.parent / missing).unlink()
    with pytest.raises(RecipeError, match=says):
        settle_recipe(STARTER, base_model=str(base))


def test_everything_missing_is_told_at_once(base):
    (base.parent / "detector/config.json").unlink()
    with pytest.raises(RecipeError) as error:
        settle_recipe(STARTER.replace("scorer: clip", "scorer: clipp"), base_model=str(base))
    assert len(str(error.value).splitlines()) == 5


def test_validate_refuses_a_misspelt_scorer(capsys, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(STARTER.replace("scorer: clip", "scorer: clipp"))
    assert cli.main(["validate", "--recipe", str(mine), "--data", "nowhere"]) == 2
    assert "scorer 'clipp'" in capsys.readouterr().err


def test_looking_them_up_needs_no_torch():
    script = (
        "import sys; from uae.launch.validation import settle_recipe; settle_recipe('starter'); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
