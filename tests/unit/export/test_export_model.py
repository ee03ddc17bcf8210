import json
import shutil

import pytest
import torch
from dict_store import DictStore
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)
from example_run import task_result, write_bench, write_json
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from uae.errors import DataError, ModelError
from uae.export.export_model import export_model, publish
from uae.export.gate import Check, Decision, read_decision
from uae.export.registry import CHAMPION_KEY, ChampionIdentity
from uae.export.scores import read_unified_bench
from uae.fingerprints import file_sha256
from uae.models.autoencoder import AutoEncoder
from uae.models.tiny import tiny_bundle, tiny_recipe

NO_TEXT_ENCODERS = dict.fromkeys(
    f"{kind}{number}" for kind in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")
)
OPPONENT = ChampionIdentity("run-0", "2026-03-04T05:06:07+00:00")
DECISION = Decision((Check(True, "overall 81.00, required 0.00"),), OPPONENT)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_json(folder / "geneval" / "results.json", task_result("geneval"))
    data = {"source": "starter", "revision": "r1", "licences": {"MIT": 12, "CC0-1.0": 3}}
    write_json(folder / "data" / "data.json", data)
    (folder / "bench").mkdir()
    return {
        "run_id": "run-1", "model": tiny_bundle(folder / "model"), "data": folder / "data",
        "unified_bench": write_bench(folder / "bench", stage=3, num_samples=2),
        "geneval": folder / "geneval", "dpg_bench": None, "decision": DECISION,
    }  # fmt: skip


@pytest.fixture(scope="module")
def exported(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "model"
    lineage = export_model(tiny_recipe(models={"base": "starter"}), **inputs, out=out)
    return out, lineage


def test_weights_are_copied_to_the_bit(inputs, exported):
    out, _ = exported
    weights = [path for path in inputs["model"].rglob("*") if path.is_file()]
    assert len(weights) > 8
    for path in weights:
        assert file_sha256(path) == file_sha256(out / path.relative_to(inputs["model"]))


def test_every_reader_loads_it(exported):
    out, _ = exported
    ours = AutoEncoder.load(out)
    theirs = Qwen2_5_VLForConditionalGeneration.from_pretrained(out / "encoder")
    pipeline = StableDiffusion3Pipeline.from_pretrained(out, **NO_TEXT_ENCODERS)
    for a, b in (
        (ours.encoder.model, theirs),
        (ours.decoder.transformer, pipeline.transformer),
        (ours.decoder.vae, pipeline.vae),
    ):
        states = a.state_dict(), b.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_diffusers_draws_from_our_condition(exported):
    out, _ = exported
    ours = AutoEncoder.load(out)
    pipeline = StableDiffusion3Pipeline.from_pretrained(out, **NO_TEXT_ENCODERS)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline(
        prompt_embeds=ours.condition_from_captions(["a large red apple"]),
        pooled_prompt_embeds=ours.decoder.pooled_D[None],
        num_inference_steps=2, guidance_scale=1.0, height=32, width=32,
    ).images[0]  # fmt: skip
    assert picture.size == (32, 32)


def test_card_says_scores_lineage_and_licences(exported):
    out, lineage = exported
    card = (out / "README.md").read_text()
    for text in ("run-1", "run-0", lineage.bundle_sha256, "| CC0-1.0 | 3 |", "| counting | 0.420 |",
                 "efficientnet-lite0", "holds: overall 81.00", "Fluent Emoji Flat",
                 "48 prompts from the shipped starter scenes"):  # fmt: skip
        assert text in card
    assert "MIT License" in (out / "LICENSES" / "fluent-emoji-flat-MIT.txt").read_text()
    assert json.loads((out / "lineage.json").read_text()) == lineage.model_dump(mode="json")
    assert lineage.parent == "run-0"
    assert read_decision(out) == DECISION


def test_card_says_how_long_a_caption_may_be_and_is_markdown(inputs, tmp_path):
    source = {"source": 'the shelter\'s "pets" & more', "revision": "r1", "licences": {"MIT": 1}}
    write_json(tmp_path / "data" / "data.json", source)
    changed = inputs | {"data": tmp_path / "data"}
    export_model(tiny_recipe(models={"base": "starter"}), **changed, out=tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    read = json.loads((tmp_path / "model" / "model.json").read_text())["condition_tokens"]
    assert f"the decoder reads {read} tokens: a caption's and" in card
    assert source["source"] in card


def test_card_shows_no_html_of_the_data(inputs, tmp_path):
    source = {"source": "<script>alert(1)</script>", "revision": "r1", "licences": {"MIT": 1}}
    write_json(tmp_path / "data" / "data.json", source)
    changed = inputs | {"data": tmp_path / "data"}
    export_model(tiny_recipe(models={"base": "starter"}), **changed, out=tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "<script" not in card
    assert "&lt;script" in card


def test_export_may_be_repeated_and_is_the_same(inputs, exported, tmp_path):
    again = tmp_path / "model"
    recipe = tiny_recipe(models={"base": "starter"})
    export_model(recipe, **inputs, out=again)
    export_model(recipe, **inputs, out=again)
    files = {path.relative_to(again): file_sha256(path) for path in again.rglob("*.*")}
    out, _ = exported
    assert files == {path.relative_to(out): file_sha256(path) for path in out.rglob("*.*")}


def test_licences_of_a_base_that_was_exported_are_kept(inputs, exported, tmp_path):
    base, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(exported[0], base)
    (base / "LICENSE").write_text("of the base")
    (base / "LICENSES" / "base-LICENSE").write_text("of the base's base")
    export_model(tiny_recipe(models={"base": str(base)}), **inputs, out=out)
    found = {path.name: path.read_text() for path in (out / "LICENSES").iterdir()}
    assert "MIT License" in found.pop("fluent-emoji-flat-MIT.txt")
    assert found == {"base-LICENSE": "of the base", "base-base-LICENSE": "of the base's base"}


def test_not_a_bundle_is_refused_and_nothing_is_left(inputs, tmp_path):
    with pytest.raises(ModelError, match=r"it has no model\.json"):
        export_model(tiny_recipe(), **{**inputs, "model": tmp_path}, out=tmp_path / "out")
    with pytest.raises(DataError, match=r"it has no data\.json"):
        export_model(tiny_recipe(), **{**inputs, "data": tmp_path}, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("promoted", [True, False])
def test_published_model_is_promoted_only_when_told(inputs, exported, promoted):
    out, lineage = exported
    store = RecordingStore()
    scores = read_unified_bench(inputs["unified_bench"])
    publication = publish(
        store, out, lineage, unified_bench=scores, opponent=None, promoted=promoted
    )
    assert publication.prefix == "models/run-1"
    assert store.folders == {"models/run-1": out}
    assert (CHAMPION_KEY in store.objects) is promoted


class RecordingStore(DictStore):
    """Keeps what it is given, folders by name."""

    def __init__(self):
        super().__init__()
        self.folders = {}

    def put_folder(self, folder, prefix):
        self.folders[prefix] = folder
