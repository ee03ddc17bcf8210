"""Everything that is wrong with a recipe's weights is told by name, without torch."""

import json
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from unit.weights.conftest import LICENCES, recipe_of

from uae import cli
from uae.errors import ModelError
from uae.launch.weight_inputs import benchmark_weights, stage_weights
from uae.models.bundle import read_json
from uae.recipe_files import dump_recipe, load_recipe
from uae.weights.check import check_weights, verified_sha256
from uae.weights.expected import check_part
from uae.weights.licences import RESTRICTED, recognised
from uae.weights.manifest import MANIFEST, parse_manifest
from uae.weights.recording import record_all

CLIP = "scorers/clip/open_clip_model.safetensors"
TRANSFORMER = "published/transformer/diffusion_pytorch_model.safetensors"
SHARD = "published/encoder/model-00001-of-00002.safetensors"


def test_an_assembled_folder_is_in_order(assembled):
    assert check_weights(assembled.recipe, hashes=True, check_tensors=check_part) == []


def test_a_manifest_at_hand_must_be_named(copied):
    named, unnamed = copied.recipe.models.manifest, recipe_of(copied.bundle, None)
    (line,) = check_weights(unnamed)
    assert "models.manifest is null, so any weights would do: write its hash into the re" in line
    assert f"`manifest: {named}`" in line
    with pytest.raises(ModelError, match=f"`manifest: {named}`"):
        stage_weights(dump_recipe(unnamed), "pretrain_decoder", starts_from_base=True)
    with pytest.raises(ModelError, match=f"`manifest: {named}`"):
        benchmark_weights(dump_recipe(unnamed), "geneval")


def test_a_folder_without_a_manifest_is_checked_by_its_headers(copied):
    named = stage_weights(dump_recipe(copied.recipe), "pretrain_decoder", starts_from_base=True)
    (copied.root / MANIFEST).unlink()
    unnamed = recipe_of(copied.bundle, None)
    assert check_weights(unnamed, check_tensors=check_part) == []
    assert stage_weights(dump_recipe(unnamed), "pretrain_decoder", starts_from_base=True) == named


def test_the_starter_needs_no_manifest_and_no_licence():
    assert check_weights(load_recipe("starter"), check_tensors=check_part) == []


def spoil_tensors(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def lose(file):
    spoil_tensors(file, lambda tensors: tensors.pop(sorted(tensors)[0]))


def surplus(file):
    spoil_tensors(file, lambda tensors: tensors.update(surplus=torch.ones(2)))


def cut(file):
    file.write_bytes(file.read_bytes()[:-8])


def deepen(file):
    config = read_json(file)
    config["num_layers"] += 1
    file.write_text(json.dumps(config))


SPOILT = {  # file, what happens to it, what is told without a manifest
    "missing": (SHARD, lambda f: f.unlink(), r"lacks model-00001-of-00002\.safetensors"),
    "cut off": (TRANSFORMER, cut, r"safetensors is cut off: it has \d+ of \d+ bytes"),
    "a key lost": (TRANSFORMER, lose, "tensors missing: context_embedder.bias"),
    "a key too many": (TRANSFORMER, surplus, "tensors unexpected: surplus"),
    "a scorer's key too many": (CLIP, surplus, "rewards.scorer.*tensors unexpected: surplus"),
    "a deeper model": ("published/transformer/config.json", deepen, "configuration says 3"),
    "no configuration": (
        "published/vae/config.json",
        lambda f: f.write_text("[]"),
        r"vae/config\.json is no configuration, but a JSON list",
    ),
    "no safetensors": (CLIP, lambda f: f.write_bytes(b"pickle"), "is no safetensors file"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_what_is_wrong_is_told_by_name(copied, fault):
    name, spoil, says = SPOILT[fault]
    spoil(copied.root / name)
    by_manifest = check_weights(copied.recipe)
    assert any(name.rpartition("/")[2] in line for line in by_manifest)
    (copied.root / MANIFEST).unlink()
    alone = check_weights(recipe_of(copied.bundle, None), check_tensors=check_part)
    assert any(re.search(says, line) for line in alone), alone


def test_other_numbers_are_found_by_their_hash_alone(copied):
    file = copied.root / TRANSFORMER
    spoil_tensors(file, lambda tensors: tensors["context_embedder.bias"].add_(1))
    assert check_weights(copied.recipe) == []
    (line,) = check_weights(copied.recipe, hashes=True)
    assert line.startswith(f"models.base: {file} has sha256 ")
    text = dump_recipe(copied.recipe)
    with pytest.raises(ModelError, match="not as its manifest says: transformer/diffusion"):
        stage_weights(text, "pretrain_decoder", starts_from_base=True)
    assert benchmark_weights(text, "geneval").keys() == {"weights/detector", "weights/colours"}


def test_a_step_s_weights_have_the_hash_that_the_manifest_tells(assembled):
    found = verified_sha256(assembled.recipe.models, assembled.bundle)
    manifest = parse_manifest((assembled.root / MANIFEST).read_bytes(), "")
    assert found == manifest.sha256("published")


def test_files_that_the_manifest_does_not_name_are_told(copied):
    (copied.bundle / "encoder" / "notes.txt").write_text("?")
    (line,) = check_weights(copied.recipe)
    assert line.endswith("notes.txt is not in the manifest: remove it, or write the manifest anew")


def test_another_manifest_is_refused_with_both_hashes(copied):
    named = copied.recipe.models.manifest
    other = record_all(copied.root, {"scorers/clip": "apache-2.0"})
    assert other != named
    (line,) = check_weights(copied.recipe)
    assert named in line
    assert f"`manifest: {other}`" in line
    (copied.root / MANIFEST).unlink()
    assert "has no manifest.json" in check_weights(copied.recipe)[0]


def test_a_manifest_that_leaves_its_folder_is_refused(copied):
    text = (copied.root / MANIFEST).read_text()
    with pytest.raises(ModelError, match="would leave the weights folder"):
        parse_manifest(text.replace('"scorers/clip/', '"../clip/').encode(), "it")
    with pytest.raises(ModelError, match="is no manifest"):
        parse_manifest(b"{}", "it")


def test_licences_that_are_not_accepted_are_told_with_their_parts(assembled):
    manifest = assembled.recipe.models.manifest
    some = recipe_of(assembled.bundle, manifest, ["qwen-research"])
    first, what_to_write = check_weights(some)
    stability = RESTRICTED["stabilityai-ai-community"]
    assert stability.title in first
    assert stability.page in first
    assert "published/transformer" in first
    assert "published/vae" in first
    assert "encoder" not in first
    assert f"`accepted_licences: [{', '.join(LICENCES)}]`" in what_to_write


def test_restricted_models_are_known_by_their_configuration(copied):
    published = {
        "encoder": "qwen-research", "transformer": "stabilityai-ai-community", "vae": None
    }  # fmt: skip
    recipe = load_recipe("uae-qwen2.5-vl-3b-sd3.5-large")
    from uae.planning.configs import PUBLISHED

    folder = PUBLISHED / recipe.name
    found = {part: recognised(read_json(folder / part / "config.json")) for part in published}
    assert found == published
    assert recognised({"model_type": "dinov3_vit", "hidden_size": 1024}) == "dinov3-license"
    assert recognised({"model_type": "dinov2", "hidden_size": 1024}) is None
    # A copy without a manifest: a folder of the name that the recipe has for DINOv3.
    config = copied.root / "scorers" / "ssl" / "config.json"
    config.write_text(json.dumps({"model_type": "dinov3_vit", "hidden_size": 1024}))
    (copied.root / MANIFEST).unlink()
    lines = check_weights(recipe_of(copied.bundle, None, []))
    assert any("dinov3-license" in line and "scorers/ssl" in line for line in lines)


def test_a_manifest_that_cannot_be_written_leaves_the_earlier_one(copied):
    before = (copied.root / MANIFEST).read_bytes()
    cut(copied.root / TRANSFORMER)
    with pytest.raises(ModelError, match="is cut off"):
        record_all(copied.root, {})
    assert (copied.root / MANIFEST).read_bytes() == before


def test_a_configuration_that_no_licence_can_be_read_from_is_told(copied):
    (copied.root / "scorers" / "ssl" / "config.json").write_text("[]")
    (copied.root / MANIFEST).unlink()
    lines = check_weights(recipe_of(copied.bundle, None))
    assert any("scorers/ssl/config.json is no configuration" in line for line in lines)


def test_unknown_licences_are_asked_for(copied):
    (copied.root / MANIFEST).unlink()
    with pytest.raises(
        ModelError, match=r"no licence is known of detector, judge, published/encoder"
    ):
        record_all(copied.root, {})
    (copied.root / "empty").mkdir()
    with pytest.raises(ModelError, match="is no weights folder"):
        record_all(copied.root / "empty", {})


def test_checking_needs_no_torch(assembled, tmp_path):
    (tmp_path / "recipe.yaml").write_text(dump_recipe(assembled.recipe))
    script = (
        "import sys; from uae.recipe_files import load_recipe; "
        "from uae.weights.check import check_weights; "
        f"assert check_weights(load_recipe({str(tmp_path / 'recipe.yaml')!r})) == []; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_commands(copied, published, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(dump_recipe(copied.recipe))
    assert cli.main(["weights", "check", str(recipe), "--hashes"]) == 0
    (copied.root / TRANSFORMER).unlink()
    assert cli.main(["weights", "check", str(recipe)]) == 2
    assert f"{TRANSFORMER} is missing" in capsys.readouterr().out
    weights = tmp_path / "weights2"
    sources = ["--encoder", str(published.encoder), "--decoder", str(published.decoder)]
    named = ["--encoder-licence", "mit", "--decoder-licence", "mit", "--max-pixels", "1024"]
    assert cli.main(["weights", "assemble", str(weights / "base"), *sources, *named]) == 0
    assert cli.main(
        ["weights", "add", str(copied.root / "judge"), str(weights / "judge"), "--licence", "mit"]
    ) == 0  # fmt: skip
    assert cli.main(["weights", "manifest", str(weights), "--licence", "judge=cc0-1.0"]) == 0
    said = capsys.readouterr().out
    manifest = parse_manifest((weights / MANIFEST).read_bytes(), "it")
    assert manifest.parts["judge"].licence == "cc0-1.0"
    assert said.splitlines()[-1].startswith("manifest: ")
