"""A TrainJob's processes start from base weights in the bucket, as a step on this machine does."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from launching.kubernetes_api import KubernetesApi
from launching.stage_step import STAGE, StageStep, launch
from stage_world import stage_recipe, weights

from uae.launch import job_follower, worker
from uae.recipe_files import dump_recipe
from uae.weights.recording import record_all


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_job_fetches_the_base_once_for_its_machine(
    api: KubernetesApi,
    stage_step: StageStep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    root = tmp_path / "weights"
    shutil.copytree(stage_step.world.bundle.parent, root)
    sha256 = record_all(root, {"autoencoder": "mit", "scorers/clip": "mit"})
    for path in (path for path in root.rglob("*") if path.is_file()):
        stage_step.store.put_file(f"base/{path.relative_to(root).as_posix()}", path)
    wanted = weights(Path(stage_step()["model"].path))

    recipe = stage_recipe(stage_step.world, STAGE, num_updates=2)
    models = {"base": "s3://uae/base/autoencoder", "manifest": sha256}
    models = recipe.models.model_copy(update=models)
    step = StageStep(
        stage_step.world, tmp_path / "job", f"{stage_step.run}-job", stage_step.store,
        stage_step.data,
    )  # fmt: skip
    step.recipe = dump_recipe(recipe.model_copy(update={"models": models}))

    def work_once(_: float) -> None:
        if "status" not in next(iter(api.jobs.values())):
            words = api.created[0]["spec"]["trainer"]["command"]
            assert worker.main(words[words.index(worker.__name__) + 1 :]) == 0
            api.condition("Complete")

    monkeypatch.setattr(job_follower, "time", SimpleNamespace(sleep=work_once))
    found = step(launch(num_nodes=1, accelerators=0))["model"]
    trained = weights(Path(found.path))
    assert trained.keys() == wanted.keys()
    assert all(trained[name].equal(wanted[name]) for name in wanted)
    assert found.metadata["parent_uri"] == "s3://uae/base/autoencoder"
    (fetched,) = (tmp_path / "temporary").glob(f"uae-weights-*/{sha256}/autoencoder")
    assert weights(fetched).keys() == weights(root / "autoencoder").keys()
    stage_step.store.delete("base")
