"""`uae run` with a store of one's own that refuses. tests/e2e has a whole run in such a store."""

import os
import subprocess
import sys

import pytest
from bucket_server import BucketServer
from tiny_run import write_data, write_recipe

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


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"who": "owner", "secret": "wrong"}, "AccessDenied|SignatureDoesNotMatch|credent"),
        ({"who": "reader"}, "AccessDenied"),
    ],
    ids=["wrong-key", "read-only-key"],
)
def test_store_that_refuses_is_told_at_once(bucket, recipe, tmp_path, keys, says):
    before = bucket.store().list("")
    root = tmp_path / "runs"
    process = start(bucket, recipe, root, bucket.environment(**keys))
    assert process.wait(300) == 2
    text = (root / "console.txt").read_text()
    assert any(word in text for word in says.split("|")), text
    assert "Traceback" not in text
    assert "-secret" not in text
    assert "resume with" in text
    assert bucket.store().list("") == before
