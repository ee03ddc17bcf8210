"""Keys made as manifests/README.md says reach one bucket, with all that a run does in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from manifests.rendering import MANIFESTS

from uae.errors import StoreError
from uae.store.embedded import EmbeddedStore
from uae.store.s3 import Store, parse_endpoint

WEED = Path(sys.executable).parent / "weed"
COMMANDS = re.search(
    r"```text\n(s3\.bucket\.create .*?)```",
    (MANIFESTS / "README.md").read_text(encoding="utf-8"),
    re.DOTALL,
)


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """The bucket `uae` opened with the limited keys, in a server that has another bucket too."""
    with EmbeddedStore(tmp_path_factory.mktemp("server"), bucket="others") as server:
        server.store().put_bytes("private", b"not yours")
        ports = {name: f"127.0.0.1:{server._ports[name]}" for name in ("master", "filer")}
        lines = COMMANDS[1].replace("ACCESS", "limitedkey").replace("SECRET", "limitedsecret")
        subprocess.run(
            [WEED, "shell", f"-master={ports['master']}", f"-filer={ports['filer']}"],
            input=lines,
            text=True,
            capture_output=True,
            timeout=60,
            check=True,
        )
        host, secure = parse_endpoint(server.endpoint)
        yield Store(host, "uae", "limitedkey", "limitedsecret", secure)


def test_the_keys_are_enough_for_a_run(limited):
    limited.check_bucket()
    limited.put_json("runs/1/steps/gate.json", {"status": "running"})
    read = limited.get_versioned("runs/1/steps/gate.json")
    limited.replace_json("runs/1/steps/gate.json", {"status": "done"}, replaces=read.etag)
    assert limited.get_json("runs/1/steps/gate.json") == {"status": "done"}
    assert limited.list("runs/") == ["runs/1/steps/gate.json"]
    limited.delete("runs/1/")
    assert limited.list("runs/") == []


def test_the_keys_reach_nothing_else(limited):
    others = limited.for_bucket("others")
    for attempt in (
        lambda: others.get_bytes("private"),
        lambda: others.list(""),
        lambda: others.put_bytes("private", b"mine"),
    ):
        with pytest.raises(StoreError):
            attempt()
