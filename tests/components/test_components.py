"""Every component's function on small real files: what it leaves, shows and records."""

import ast
import inspect
import json
from pathlib import Path

import pytest

from uae.errors import DataError, RecipeError
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


def test_validate_data_settles_recipe_and_location(steps):
    outputs = steps.validated
    recipe, run = steps.settled
    assert parse_recipe(recipe).seed == 7
    assert run == f"{steps.where['endpoint']}/uae/runs/small#1"
    assert steps.store.get_bytes("runs/small/recipe.yaml").decode() == recipe
    assert (Path(outputs["dataset"].path) / "data.json").is_file()
    assert "<html" in text(outputs["report"])
    assert outputs["metrics"].metadata["num_heldout"] == 4
    assert record(steps, "validate_data")["status"] == "succeeded"


def refuse(steps, name, recipe, data):
    kinds = {key: type(artifact) for key, artifact in steps.validated.items()}
    outputs = steps.outputs(f"validate_data-{name}", **kinds)
    where = steps.where | {"run_id": name}
    with pytest.raises((RecipeError, DataError)) as caught:
        validate_data.python_func(
            recipe=recipe, data=data, seed=-1, base_model="", **where, **outputs
        )
    assert steps.store.get_json(f"runs/{name}/steps/validate_data.json")["status"] == "failed"
    return str(caught.value), outputs


def test_validate_data_names_a_wrong_recipe_key(steps):
    message, _ = refuse(steps, "bad-recipe", "name: x\ncolour: red\n", "starter")
    assert "colour" in message


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
    message, outputs = refuse(steps, "bad-data", steps.recipe_file.read_text(), str(tmp_path))
    assert "a" in message
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


def test_gate_decides_and_says_why(steps):
    decision = json.loads((Path(steps.gated["decision"].path) / "gate.json").read_text())
    assert decision["decision"] in {"promote", "reject"}
    assert decision["reasons"]
    assert steps.gated["metrics"].metadata["promote"] == float(decision["decision"] == "promote")


def test_export_pushes_model_and_card(steps):
    outputs = steps.exported
    folder = Path(outputs["exported"].path)
    assert (folder / "model_index.json").is_file()
    assert text(outputs["card"]) == (folder / "README.md").read_text(encoding="utf-8")
    assert steps.store.exists("models/small/MANIFEST.json")
    promoted = outputs["metrics"].metadata["promoted"]
    assert steps.store.exists("registry/champion.json") == bool(promoted)


def test_report_run_reads_everything_from_the_store(steps):
    assert steps.exported
    outputs = steps.reported
    numbers = json.loads(text(outputs["numbers"]))
    assert numbers["run_id"] == "small"
    assert numbers["status"] == "succeeded"
    assert numbers["seconds"]["evaluate_unified_bench/pretrain_decoder"] > 0
    assert list(numbers["stages"]) == ["pretrain_decoder", "understanding_for_generation"]
    assert len(text(outputs["report"])) < 5_000_000


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


def test_pipeline_documents_every_parameter():
    documentation = inspect.getdoc(pipeline.uae_pipeline.pipeline_func)
    for name in pipeline.uae_pipeline.component_spec.inputs:
        assert f"{name}:" in documentation
