"""Every component's function on small real files: what it leaves, shows and records."""

import ast
import importlib
import inspect
import json
from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from uae.errors import DataError, RecipeError, RunError
from uae.export.scores import read_unified_bench
from uae.models.bundle import read_info
from uae.recipe_files import parse_recipe
from uae_components.validate_data.component import validate_data
from uae_pipelines import pipeline

COMPONENTS = sorted(
    path.parent for path in Path(pipeline.__file__).parents[1].glob("components/*/component.py")
)


def record(steps, name):
    return steps.store.get_json(f"runs/small/steps/{name}.json")


def text(artifact):
    return Path(artifact.path).read_text(encoding="utf-8")


def test_start_run_settles_recipe_location_and_revision(steps):
    recipe, run, revision = steps.started
    assert parse_recipe(recipe).seed == 7
    assert run == f"{steps.where['endpoint']}/uae/runs/small"
    assert len(revision) == 64
    assert steps.store.get_bytes("runs/small/recipe.yaml").decode() == recipe
    assert record(steps, "start_run")["metrics"] == {"seed": 7.0}


def test_start_run_names_a_wrong_recipe_key(steps):
    with pytest.raises(RecipeError, match="colour"):
        steps.start("bad-recipe", "name: x\ncolour: red\n", "starter")
    found = steps.store.get_json("runs/bad-recipe/steps/start_run.json")
    assert (found["status"], found["error"]["retryable"]) == ("failed", False)


def test_start_run_does_not_make_another_model_of_a_promoted_run(steps):
    champion = {
        "format": 1, "run_id": "champion", "model_prefix": "models/champion",
        "promoted_at": "2030-01-01T00:00:00.000+00:00", "recipe_name": "tiny",
        "recipe_sha256": "0" * 64, "data_revision": "r1", "code_version": "1", "parent": None,
        "unified_bench": read_unified_bench(Path(steps.first_bench["results"].path)).model_dump(),
    }  # fmt: skip
    key = "registry/history/2030-champion.json"
    steps.store.put_json(key, champion)
    try:
        with pytest.raises(RunError, match="another recipe"):
            steps.start("champion", steps.recipe_file.read_text(), "starter")
    finally:
        steps.store.delete(key)


def test_validate_data_leaves_data_set_and_report(steps):
    outputs = steps.validated
    assert (Path(outputs["dataset"].path) / "data.json").is_file()
    assert "<html" in text(outputs["report"])
    assert outputs["metrics"].metadata["num_heldout"] == 4
    assert record(steps, "validate_data")["status"] == "succeeded"


def test_validate_data_keeps_the_report_on_refused_data(steps, tmp_path):
    row = {
        "image_id": "a",
        "image": "a.png",
        "caption": "two words",
        "source": "x",
        "licence": "MIT",
    }
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "captions.jsonl").write_text(json.dumps(row) + "\n")
    started = steps.start("bad-data", steps.recipe_file.read_text(), str(tmp_path))
    kinds = {key: type(artifact) for key, artifact in steps.validated.items()}
    outputs = steps.outputs("validate_data-bad-data", **kinds)
    with pytest.raises(DataError, match="a"):
        validate_data.python_func(**started._asdict(), data=str(tmp_path), **outputs)
    assert steps.store.get_json("runs/bad-data/steps/validate_data.json")["status"] == "failed"
    stored = steps.store.get_bytes("runs/bad-data/artifacts/validate_data/report").decode()
    assert stored == text(outputs["report"])


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("pretrained", "pretrain_decoder"),
        ("cold_started", "cold_start"),
        ("gfu", "generation_for_understanding"),
        ("ufg", "understanding_for_generation"),
    ],
)
def test_stage_leaves_model_logs_and_curves(steps, name, stage):
    outputs = getattr(steps, name)
    assert read_info(Path(outputs["model"].path)).stage == stage
    rows = text_lines(Path(outputs["logs"].path) / "metrics.jsonl")
    assert [json.loads(row)["step"] for row in rows] == [0, 1]
    assert "<svg" in text(outputs["curves"])
    assert outputs["metrics"].metadata["num_updates"] == 2
    found = record(steps, stage)
    assert found["status"] == "succeeded"
    assert found["import_seconds"] < found["seconds"]
    assert steps.store.exists(f"runs/small/artifacts/{stage}/model/MANIFEST.json")
    assert not steps.store.list(f"runs/small/checkpoints/{stage}")


def text_lines(path):
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", ["first_bench", "last_bench", "geneval", "dpg_bench"])
def test_evaluation_leaves_scores_evidence_and_a_page(steps, name):
    outputs = getattr(steps, name)
    folder = Path(outputs["results"].path)
    assert (folder / "results.json").is_file()
    assert (folder / "samples.parquet").is_file()
    assert "<table" in text(outputs["page"])
    shown = outputs["metrics"].metadata
    assert ("overall" in shown and "slot/clip" in shown) or "score" in shown


def test_evaluation_shows_confusion_and_curve_as_the_user_interface_wants_them(steps):
    # none of the two prompts asks for a colour: the user interface shows nothing
    assert steps.geneval["colors_asked_and_seen"].metadata == {}
    for outputs in (steps.geneval, steps.dpg_bench):
        known = outputs["judge_self_test"].metadata["confusionMatrix"]
        assert [one["displayName"] for one in known["annotationSpecs"]] == ["yes", "no"]
    curve = steps.dpg_bench["judge_self_test"].metadata["confidenceMetrics"]
    keys = {"confidenceThreshold", "recall", "falsePositiveRate"}
    assert all(set(point) == keys for point in curve)
    assert json.loads(json.dumps(curve, allow_nan=False)) == curve
    assert "confidenceMetrics" not in steps.geneval["judge_self_test"].metadata


def test_results_and_exported_model_say_where_they_come_from(steps):
    data = json.loads((Path(steps.validated["dataset"].path) / "data.json").read_text())
    trained = steps.ufg["model"]
    for artifact in (steps.geneval["results"], steps.exported["exported"]):
        known = artifact.metadata
        assert known["data_revision"] == data["revision"]
        assert known["parent_uri"] == trained.metadata["stored_at"]
        assert known["parent_sha256"] == trained.metadata["sha256"]
        assert len(known["recipe_sha256"]) == 64
        assert known["code_version"]
        assert None not in known.values()  # kfp's launcher refuses null
    lineage = json.loads((Path(steps.exported["exported"].path) / "lineage.json").read_text())
    exported = steps.exported["exported"].metadata
    assert exported["recipe_sha256"] == lineage["recipe_sha256"]
    assert exported["promoted"] == bool(steps.exported["metrics"].metadata["promoted"])
    assert steps.store.exists(exported["model_uri"].partition("/uae/")[2] + "/MANIFEST.json")


def test_gate_decides_and_says_why(steps):
    decision = json.loads((Path(steps.gated["decision"].path) / "gate.json").read_text())
    assert decision["decision"] in {"promote", "reject"}
    assert decision["reasons"]
    assert steps.gated["metrics"].metadata["promote"] == float(decision["decision"] == "promote")


def test_export_pushes_model_and_card(steps):
    outputs = steps.exported
    folder = Path(outputs["exported"].path)
    assert (folder / "model_index.json").is_file()
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\nlibrary_name: uae\n")  # for a hub; the user interface shows it
    assert text(outputs["card"]).startswith("# ")
    assert readme.endswith(f"---\n\n{text(outputs['card'])}")
    assert steps.store.exists("models/small/MANIFEST.json")
    promoted = outputs["metrics"].metadata["promoted"]
    assert steps.store.exists("registry/champion.json") == bool(promoted)


def test_card_has_no_html_and_is_short_enough_to_be_shown_whole(steps):
    # github.com/kubeflow/pipelines, MarkdownViewer.tsx: disableParsingRawHTML, 400,000 characters
    card = text(steps.exported["card"])
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(card)
    inside = [inner for token in tokens for inner in [token, *(token.children or [])]]
    assert {"heading_open", "table_open", "fence"} <= {token.type for token in inside}
    assert [token.content for token in inside if token.type.startswith("html")] == []
    assert len(card) < 400_000


def test_report_run_reads_everything_from_the_store(steps):
    assert steps.exported
    outputs = steps.reported
    numbers = json.loads(text(outputs["numbers"]))
    assert numbers["run_id"] == "small"
    assert numbers["status"] == "succeeded"
    assert numbers["seconds"]["evaluate_unified_bench/pretrain_decoder"] > 0
    assert list(numbers["stages"]) == ["pretrain_decoder", "understanding_for_generation"]
    assert len(text(outputs["report"])) < 2_000_000
    assert outputs["metrics"].metadata["failed_steps"] == 0
    assert outputs["metrics"].metadata["unified_bench"] == pytest.approx(
        numbers["stages"]["understanding_for_generation"]["unified_bench"]["overall"]
    )


@pytest.mark.parametrize("folder", COMPONENTS, ids=lambda path: path.name)
def test_component_is_thin_and_described(folder):
    tree = ast.parse((folder / "component.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == [folder.name]
    assert len(functions[0].body) <= 12
    top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert top <= {"kfp", "typing", "uae_components.image"}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for argument in functions[0].args.args:
        assert f"`{argument.arg}`" in readme, f"README does not say what {argument.arg} is"


@pytest.mark.parametrize("folder", COMPONENTS, ids=lambda path: path.name)
def test_step_logs_metrics_and_the_user_interface_shows_all_of_it(folder):
    module = importlib.import_module(f"uae_components.{folder.name}.component")
    outputs = getattr(module, folder.name).component_spec.outputs
    kinds = Counter(output.type for output in outputs.values())
    assert kinds["system.Metrics@0.0.1"] == 1
    # of several pages of a step the user interface shows the first alone
    assert kinds["system.HTML@0.0.1"] <= 1
    assert kinds["system.Markdown@0.0.1"] <= 1


def test_pipeline_documents_every_parameter():
    built = pipeline.build_pipeline()
    documentation = inspect.getdoc(built.pipeline_func)
    for name in built.component_spec.inputs:
        assert f"{name}:" in documentation
