"""`uae plan` prints a plan, writes it, and refuses what cannot work."""

import json

import pytest

from uae import cli
from uae.models.tiny import tiny_bundle, tiny_clip, tiny_recipe
from uae.recipe_files import dump_recipe, load_recipe, recipe_names

FULL = [name for name in recipe_names() if name.startswith("uae-qwen")]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    tiny_clip(folder / "scorers" / "clip")
    base = tiny_bundle(folder / "base")
    path = folder / "recipe.yaml"
    path.write_text(dump_recipe(tiny_recipe(models={"base": str(base)})))
    return str(path)


def test_a_plan_is_printed_and_written(recipe, tmp_path, capsys):
    out = tmp_path / "plan.json"
    code = cli.main(
        [
            *("plan", "--recipe", recipe, "--gpus-per-node", "2", "--gpu", "a100-80gb"),
            *("--price-per-gpu-hour", "2", "--out", str(out)),
        ]
    )
    assert code == 0
    text = capsys.readouterr().out
    for shown in (
        *("2 x a100-80gb", "weights: decoder", "add up gradients", "at 2.0 for a GPU hour"),
        *("2 x, while models are loaded", "longest wait after SIGTERM, s"),
    ):
        assert shown in text
    plan = json.loads(out.read_text())
    assert [stage["batches"]["samples_per_process"] for stage in plan["stages"]] == [1, 1, 1, 1]
    assert plan["cost"] == pytest.approx(plan["hours"] * 4)
    assert plan["refusals"] == []


def test_what_cannot_work_is_refused_after_it_is_printed(recipe, capsys):
    assert cli.main(["plan", "--recipe", recipe, "--gpus-per-node", "3"]) == 2
    found = capsys.readouterr()
    assert "uae: this cannot work:" in found.err
    assert found.err.count("2 processes can share out this batch") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu-memory", "24"], "--gpu-memory, --gpu-tflops and --gpu-bandwidth, all three"),
        (["--recipe", "none"], "no recipe 'none'"),
        (["--stored", "bfloat16"], "contradict: frozen blocks that are kept in bfloat16 compute"),
    ],
)
def test_contradictions_are_refused(recipe, arguments, message, capsys):
    assert cli.main(["plan", "--recipe", recipe, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--nodes", "--fraction", "--gpu-memory"])
def test_wrong_numbers_are_refused_by_option(option, capsys):
    with pytest.raises(SystemExit):
        cli.main(["plan", option, "-1"])
    assert option in capsys.readouterr().err


def test_own_numbers_of_a_gpu(recipe, capsys):
    own = ["--gpu-memory", "24", "--gpu-tflops", "100", "--gpu-bandwidth", "1"]
    assert cli.main(["plan", "--recipe", recipe, *own]) == 0
    assert "1 x custom (1 x 1), 22.1 GiB" in capsys.readouterr().out


def test_there_are_three_full_scale_recipes():
    assert [name.removeprefix("uae-qwen2.5-vl-3b-sd3.5-large") for name in FULL] == [
        "",
        "-fast",
        "-one-gpu",
    ]


@pytest.mark.parametrize("name", FULL)
def test_clip_ranges_are_those_of_full_latents(name):
    section = load_recipe(name).understanding_for_generation
    expected = 1e-4 if name == FULL[0] else 1e-5
    assert section.objective.clip_range == expected
    assert section.ratio_tolerance <= expected / 4


@pytest.mark.timeout(900)
def test_one_80_gb_gpu_holds_its_recipe_in_every_stage(capsys):
    assert cli.main(["plan", "--recipe", f"{FULL[0]}-one-gpu", "--gpu", "h100-80gb"]) == 0
    text = capsys.readouterr().out
    assert "frozen ones kept in bfloat16" in text
    assert "data streamed" in text
    assert "UfG" in text
