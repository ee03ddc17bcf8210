"""The shipped suites, systems and judges are complete examples."""

import pytest
import yaml

from uae.cli import main
from uae.errors import RecipeError
from uae.recipe_files import (
    PAIRWISE_FOLDER,
    SUITES_FOLDER,
    SYSTEMS_FOLDER,
    load_pairwise,
    load_suite,
    load_system_recipe,
    recipe_names,
)


@pytest.mark.parametrize("name", recipe_names(SUITES_FOLDER))
def test_suites_are_valid_and_name_every_benchmark(name):
    suite = load_suite(name)
    assert suite.name == name
    text = (SUITES_FOLDER / f"{name}.yaml").read_text()
    assert set(yaml.safe_load(text)["benchmarks"]) == set(type(suite.benchmarks).model_fields)


def test_there_is_an_example_of_every_kind_of_system():
    kinds = {load_system_recipe(name).kind for name in recipe_names(SYSTEMS_FOLDER)}
    assert kinds == {"uae", "janus", "emu3", "chameleon", "composed", "server", "folder"}


def test_judges_are_valid():
    assert [len(load_pairwise(name).judges) for name in recipe_names(PAIRWISE_FOLDER)] == [2]


def test_faults_are_named_by_key_whatever_the_kind(tmp_path):
    path = tmp_path / "mine.yaml"
    text = (SYSTEMS_FOLDER / "janus-pro.yaml").read_text()
    path.write_text(text.replace("guidance_scale: 5.0", "guidance_scale: 0.5\ncfg: 3"))
    with pytest.raises(RecipeError) as caught:
        load_system_recipe(str(path))
    assert "guidance_scale: Input should be greater than or equal to 1, got 0.5" in str(
        caught.value
    )
    assert "cfg: unknown key (value 3)" in str(caught.value)
    path.write_text(text.replace("kind: janus", "kind: januss"))
    with pytest.raises(RecipeError, match="januss"):
        load_system_recipe(str(path))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(RecipeError, match=r"no suite 'offical': give a .yaml file or one of offic"):
        load_suite("offical")
    with pytest.raises(RecipeError, match=r"no system .gpt.: .*chameleon, composed"):
        load_system_recipe("gpt")


def test_a_key_in_an_address_is_refused_and_not_shown(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    text = (SYSTEMS_FOLDER / "server.yaml").read_text()
    path.write_text(text.replace("https://api", "https://user:topsecret@api"))
    assert main(["evaluate", "--system", str(path), "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert "base_url" in shown.err
    assert "topsecret" not in shown.err + shown.out
