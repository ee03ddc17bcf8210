"""A recipe that names weights which do not exist is refused in an instant, by their files alone."""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from artifact_place import Place

from uae import cli
from uae.errors import RecipeError
from uae.launch import evaluation, stage
from uae.launch.validation import settle_recipe
from uae.launch.weight_inputs import benchmark_weights, stage_weights
from uae.models.bundle import REQUIRED, BundleInfo
from uae.recipe_files import RECIPES_FOLDER, dump_recipe

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
        ("\n  scorer: clip\n", "\n  scorer: clipp\n", r"cold_start\.scorer: no scorer 'clipp' in "),
        (
            "    scorer: clip\n",
            "    scorer: ssl\n",
            r"generation_for_understanding\.rewards\.scorer: scorer 'ssl': .*\['clip', 'long",
        ),
        (
            "{scorer: clip}",
            "{scorer: cilp}",
            r"understanding_for_generation\.rewards\.scorer: no scorer 'cilp' in ",
        ),
        (
            "dinov2: ssl",
            "dinov2: sssl",
            r"slots\.dinov2: no scorer 'sssl' in .*; there are: .*, ssl, efficientnet-lite0;",
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
        ("scorers/clip/open_clip_model.safetensors", "evaluation.geneval.colors: scorer 'clip'"),
        ("scorers/ssl/preprocessor_config.json", r"slots\.dinov2: .*lacks preprocessor_config"),
        ("detector/config.json", "evaluation.geneval.detector: no detector in"),
        ("judge/config.json", "evaluation.dpg_bench.judge: no judge in"),
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


def test_folder_that_is_no_scorer_is_named(base):
    (base.parent / "scorers" / "empty").mkdir()
    with pytest.raises(RecipeError, match=r"scorer 'empty': .*empty has neither config\.json nor"):
        settle_recipe(STARTER.replace("dinov2: ssl", "dinov2: empty"), base_model=str(base))


def test_missing_ocr_package_is_named_before_anything_is_trained(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    guard = "transcription: {weight: 0.1, truth: facts}"
    assert guard in STARTER
    says = r"rewards\.transcription\.truth: .*needs rapidocr: .*-c constraints\.txt -e '\.\[ocr\]'"
    with pytest.raises(RecipeError, match=says):
        settle_recipe(STARTER.replace(guard, guard.replace("facts", "ocr")))
    settle_recipe(STARTER.replace(guard, "transcription: {weight: 0, truth: ocr}"))


def test_validate_refuses_a_misspelt_scorer(capsys, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(STARTER.replace("scorer: clip", "scorer: clipp"))
    assert cli.main(["validate", "--recipe", str(mine), "--data", "nowhere"]) == 2
    assert "scorer 'clipp'" in capsys.readouterr().err


def test_looking_them_up_and_hashing_them_needs_no_torch():
    script = (
        "import sys; from uae.launch.validation import settle_recipe; settle_recipe('starter'); "
        "from uae.launch.weight_inputs import benchmark_weights, stage_weights; "
        "from uae.recipe_files import dump_recipe, load_recipe; "
        "recipe = dump_recipe(load_recipe('starter')); "
        "stage_weights(recipe, 'cold_start', starts_from_base=True); "
        "benchmark_weights(recipe, 'unified_bench'); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_folders_are_settled_so_that_a_resume_may_come_from_elsewhere(base, monkeypatch, tmp_path):
    mine = tmp_path / "mine" / "longclip"
    shutil.copytree(base.parent / "scorers" / "longclip", mine)
    monkeypatch.chdir(tmp_path)
    text = STARTER.replace("\n  scorer: clip\n", "\n  scorer: mine/longclip\n", 1)
    text = text.replace("dinov2: ssl", "dinov2: mine/longclip", 1)
    settled = settle_recipe(text, base_model="autoencoder")
    assert settled.models.base == str(base)
    assert (
        settled.cold_start.scorer == settled.evaluation.unified_bench.slots["dinov2"] == str(mine)
    )
    assert settled.generation_for_understanding.rewards.scorer == "clip"
    monkeypatch.chdir("/")
    assert settle_recipe(dump_recipe(settled)) == settled


def test_recipe_file_may_have_a_colon_in_its_name(tmp_path):
    mine = tmp_path / "10:30.yaml"
    mine.write_text(STARTER)
    assert settle_recipe(str(mine)) == settle_recipe(STARTER)


BENCHMARKS = ("unified_bench", "geneval", "dpg_bench")
READS = {
    "pretrain_decoder": {"autoencoder"},
    "cold_start": {"scorers/clip"},
    "generation_for_understanding": {"scorers/clip"},
    "understanding_for_generation": {"scorers/clip"},
    "unified_bench": {"scorers/clip", "scorers/longclip", "scorers/ssl"},
    "geneval": {"scorers/clip", "detector"},
    "dpg_bench": {"judge"},
}


def hashes(base):
    recipe = dump_recipe(settle_recipe(STARTER, base_model=str(base)))
    first = "pretrain_decoder"
    return {
        name: benchmark_weights(recipe, name)
        if name in BENCHMARKS
        else stage_weights(recipe, name, starts_from_base=name == first)
        for name in READS
    }


@pytest.mark.parametrize("folder", sorted(set().union(*READS.values())))
def test_weights_count_in_the_steps_that_read_them(base, folder):
    before = hashes(base)
    (base.parent / folder / "notes.txt").write_text("other")
    after = hashes(base)
    changed = {name for name in READS if after[name] != before[name]}
    assert changed == {name for name, read in READS.items() if folder in read}


def test_weights_count_by_content_wherever_they_lie(base, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(base.parent, moved, ignore=lambda folder, names: {"moved"} & set(names))
    assert hashes(moved / "autoencoder") == hashes(base)


def test_steps_ask_for_the_weights_that_they_read(base, monkeypatch, tmp_path):
    asked = []
    (tmp_path / "data.json").write_text('{"revision": "r1"}')
    (tmp_path / "results.json").write_text('{"protocol": "geneval"}')

    @contextmanager
    def restored_step(name, run, *, inputs, outputs, metrics, late_inputs):
        del run, inputs, outputs, metrics
        asked.append((name, late_inputs(None)))
        yield SimpleNamespace(restored=True, output_uri=str)

    monkeypatch.setattr(stage, "step", restored_step)
    monkeypatch.setattr(evaluation, "step", restored_step)
    recipe, place = dump_recipe(settle_recipe(STARTER, base_model=str(base))), Place(str(tmp_path))
    trained = dict.fromkeys(("data", "model_out", "logs", "curves", "metrics"), place)
    here = {"launch": "", "tolerations": [], "node_selector": {}}
    judged = dict.fromkeys(("data", "model", "results", "page", "metrics"), place)
    stage.run_stage("pretrain_decoder", recipe, "run", model_in=None, **here, **trained)
    stage.run_stage("cold_start", recipe, "run", model_in=place, **here, **trained)
    evaluation.run_evaluation("evaluate_geneval", "geneval", recipe, "run", **judged)
    assert asked == [
        ("pretrain_decoder", stage_weights(recipe, "pretrain_decoder", starts_from_base=True)),
        ("cold_start", stage_weights(recipe, "cold_start", starts_from_base=False)),
        ("evaluate_geneval", benchmark_weights(recipe, "geneval")),
    ]
