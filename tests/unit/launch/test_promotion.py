"""Two runs and one champion: gate and export as steps, on a real embedded store."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from artifact_place import Place
from example_run import task_result, write_bench, write_json

from uae.errors import ModelError
from uae.export.metrics import collect_metrics
from uae.export.registry import read_champion
from uae.export.run_folder import RunFolder
from uae.launch.location import JOB_VARIABLE, RunLocation, run_location
from uae.launch.promotion import run_export, run_gate
from uae.launch.reporting import describe_run, fetch_run
from uae.recipe_files import dump_recipe, load_recipe
from uae.store.embedded import EmbeddedStore

RECIPE = dump_recipe(load_recipe("starter"))


class Run:
    """The end of one execution of a run: the steps `gate` and `export_model`."""

    def __init__(self, server: EmbeddedStore, inputs: Path, out: Path, run_id: str) -> None:
        self.inputs, self.out, self.run_id = inputs, out, run_id
        self.store = server.store()
        self.location = run_location(run_id, server.endpoint, server.bucket)

    def place(self, name: str) -> Place:
        return Place(str(self.out / self.run_id / name))

    def given(self, name: str) -> Place:
        return Place(str(self.inputs / name))

    def gate(self) -> None:
        run_gate(
            RECIPE,
            self.location,
            stage_1=self.given("stage_1"),
            candidate=self.given("candidate"),
            decision=self.place("decision"),
            page=self.place("page"),
            metrics=self.place("gate_metrics"),
        )

    def export(self) -> float:
        metrics = self.place("metrics")
        tasks = dict.fromkeys(("geneval", "dpg_bench"), self.given("task"))
        run_export(
            RECIPE,
            self.location,
            promote=True,
            model_registry="",
            data=self.given("data"),
            model=self.given("model"),
            evidence={"unified_bench": self.given("candidate"), **tasks},
            decision=self.place("decision"),
            exported=self.place("exported"),
            card=self.place("card"),
            metrics=metrics,
        )
        promoted: float = metrics.metadata["promoted"]
        return promoted

    def read(self, name: str) -> Any:
        return json.loads((self.out / self.run_id / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    for name, stage in (("stage_1", 0), ("candidate", 3)):
        (folder / name).mkdir()
        write_bench(folder / name, stage=stage, num_samples=2)
    write_json(folder / "task" / "results.json", task_result("geneval"))
    data = {"source": "starter", "revision": "r1", "licences": {"MIT": 12}}
    write_json(folder / "data" / "data.json", data)
    bundle = {"condition_source": "reencode_text", "condition_tokens": 32, "image_size": 32}
    write_json(folder / "model" / "model.json", bundle)
    return folder


@pytest.fixture
def start(inputs, tmp_path, monkeypatch):
    with EmbeddedStore(tmp_path / "store") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)

        def started(run_id: str, job: str = "1") -> Run:
            monkeypatch.setenv(JOB_VARIABLE, job)
            return Run(server, inputs, tmp_path / job, run_id)

        yield started


def decision_in_report(run: Run, folder: Path) -> Any:
    fetch_run(run.store, RunLocation.parse(run.location).prefix, folder)
    describe_run(folder, run.run_id, succeeded=True)
    return collect_metrics(RunFolder(folder)).gate


def test_decision_made_before_another_promotion_promotes_nothing(start, tmp_path):
    slow, quick = start("slow"), start("quick")
    slow.gate()
    quick.gate()
    assert slow.read("decision/gate.json")["decision"] == "promote"
    assert quick.export() == 1
    assert slow.export() == 0
    champion = read_champion(slow.store)
    assert champion.run_id == "quick"
    assert slow.store.exists("models/slow/MANIFEST.json")
    assert slow.read("exported/lineage.json")["parent"] is None, "the gate compared with none"
    reason = (
        f"stale: the gate compared with champion none, by now the champion is {champion.identity}"
    )
    assert reason in (tmp_path / "1" / "slow" / "card").read_text("utf-8")
    told = decision_in_report(slow, tmp_path / "report")
    assert told.decision == "reject"
    assert told.reasons[0].startswith(reason)

    again = start("slow", job="2")  # resumed: the champion that counts now is another one
    again.gate()
    compared = again.read("decision/gate.json")
    assert compared["champion"] == {"run_id": "quick", "promoted_at": champion.promoted_at}
    assert any("against the champion" in check["message"] for check in compared["checks"])
    assert again.export() == 1  # its scores are as good
    assert again.read("exported/lineage.json")["parent"] == "quick"
    assert read_champion(again.store).parent == "quick"
    assert decision_in_report(again, tmp_path / "report-2").decision == "promote"


def test_resume_of_the_champion_s_own_run_restores_its_decision(start):
    first = start("first")
    first.gate()
    first.export()
    promoted = read_champion(first.store)
    again = start("first", job="2")
    again.gate()
    assert again.read("decision/gate.json") == first.read("decision/gate.json")
    assert again.export() == 1
    assert read_champion(again.store) == promoted, "restored, not promoted again"


def test_promotion_that_was_cut_off_is_completed(start):
    first = start("first")
    first.gate()
    first.export()
    key = f"{RunLocation.parse(first.location).prefix}/steps/export_model.json"
    first.store.put_json(key, first.store.get_json(key) | {"status": "running"})
    again = start("first", job="2")
    again.gate()
    assert again.export() == 1
    assert read_champion(again.store).parent is None


def test_promoted_weights_are_never_replaced_by_others_of_the_same_run(start, inputs, tmp_path):
    first = start("first")
    first.gate()
    first.export()
    promoted = first.store.get_json("models/first/lineage.json")
    other = tmp_path / "other"
    shutil.copytree(inputs, other)
    write_json(other / "model" / "model.json", {
        "condition_source": "reencode_text", "condition_tokens": 32, "image_size": 64,
    })  # fmt: skip
    again = start("first", job="2")
    again.inputs = other
    again.gate()
    with pytest.raises(ModelError, match="another run_id"):
        again.export()
    assert first.store.get_json("models/first/lineage.json") == promoted
    assert first.store.get_json("models/first/model.json")["image_size"] == 32
    assert read_champion(first.store).run_id == "first"
