"""`uae run` with everything in an S3 store of one's own: data, records, checkpoints, artifacts."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from bucket_server import BucketServer
from tiny_run import write_data, write_recipe

from uae.fingerprints import file_sha256
from uae.records import StepRecord

pytestmark = pytest.mark.timeout(1500)
UAE = [sys.executable, "-m", "uae.cli", "run"]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with BucketServer(tmp_path_factory.mktemp("bucket")) as server:
        server.store().put_folder(write_data(server.folder / "pairs"), "pairs/today")
        yield server


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"))


def start(bucket, recipe, root, keys, *more):
    root.mkdir(exist_ok=True)
    where = ["--endpoint", bucket.endpoint, "--data", "s3://uae/pairs/today", "--run-root", root]
    command = [*UAE, "--recipe", recipe, *where, *more]
    log = (root / "console.txt").open("w")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | keys
    return subprocess.Popen(
        list(map(str, command)), stdout=log, stderr=log, cwd=root, env=environment
    )


def restart_between_steps(bucket, log):
    """Kill the server as soon as a stage has succeeded, and start it again where it was."""
    while '"succeeded", "step": "pretrain_decoder"' not in (
        log.read_text() if log.exists() else ""
    ):
        time.sleep(0.1)
    bucket.kill()
    time.sleep(2)
    bucket.start()


def test_whole_run_lies_in_the_bucket_though_the_server_is_restarted(bucket, recipe, tmp_path):
    process = start(bucket, recipe, tmp_path / "runs", bucket.environment())
    while not (folders := [p.parents[1] for p in (tmp_path / "runs").glob("*/logs/pipeline.log")]):
        assert process.poll() is None, (tmp_path / "runs" / "console.txt").read_text()
        time.sleep(0.1)
    (folder,) = folders
    log = folder / "logs" / "pipeline.log"
    chaos = threading.Thread(target=restart_between_steps, args=(bucket, log), daemon=True)
    chaos.start()
    assert process.wait() == 0, (tmp_path / "runs" / "console.txt").read_text()
    assert not chaos.is_alive()

    store, prefix = bucket.store(), f"runs/{folder.name}"
    records = [StepRecord(**store.get_json(key)) for key in store.list(f"{prefix}/steps")]
    assert len(records) == 15
    assert {record.status for record in records} == {"succeeded"}
    mirrored = [(record, name, uri) for record in records for name, uri in record.artifacts.items()]
    for record, name, uri in mirrored:
        key = uri.removeprefix("s3://uae/")
        (local,) = local_artifacts(folder, record.step, name)
        if local.is_dir():
            store.get_folder(key, tmp_path / "mirror" / record.step / name)
            for path in local.rglob("*"):
                twin = tmp_path / "mirror" / record.step / name / path.relative_to(local)
                assert path.is_dir() or file_sha256(path) == file_sha256(twin)
        else:
            store.get_file(key, tmp_path / "one")
            assert file_sha256(local) == file_sha256(tmp_path / "one") == record.digests[name]
    assert len(mirrored) >= 30
    assert not store.list(f"{prefix}/checkpoints"), "no stage is unfinished"
    assert store.exists(f"models/{folder.name}/MANIFEST.json")
    assert json.loads((folder / "metrics.json").read_text())["status"] == "succeeded"


def local_artifacts(folder: Path, step: str, name: str) -> list[Path]:
    """Return what kfp keeps of an output: below the task's name, the last run's newest."""
    task = step.split("/")[0].replace("_", "-")
    found = list((folder / "artifacts").glob(f"*/{task}*/{name}"))
    if "/" in step:  # Unified-Bench after one of four stages
        order = ("pretrain", "cold", "generation", "understanding")
        number = [step.split("/")[1].startswith(o) for o in order].index(True) + 1
        suffix = "" if number == 1 else f"-{number}"
        found = [p for p in found if p.parent.name == f"{task}{suffix}"]
    return found


@pytest.mark.parametrize(
    ("keys", "bucket_name", "says"),
    [
        ({"who": "owner", "secret": "wrong"}, "uae", "AccessDenied|SignatureDoesNotMatch|credent"),
        ({"who": "reader"}, "uae", "AccessDenied"),
        ({"who": "owner"}, "nowhere", "nowhere"),
    ],
    ids=["wrong-key", "read-only-key", "missing-bucket"],
)
def test_store_that_refuses_is_told_at_once(bucket, recipe, tmp_path, keys, bucket_name, says):
    before = bucket.store().list("")
    root = tmp_path / "runs"
    process = start(bucket, recipe, root, bucket.environment(**keys), "--bucket", bucket_name)
    assert process.wait(300) == 2
    text = (root / "console.txt").read_text()
    assert any(word in text for word in says.split("|")), text
    assert "Traceback" not in text
    assert "-secret" not in text
    assert "resume with" in text
    assert bucket.store().list("") == before
