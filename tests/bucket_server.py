"""An S3 server as a cluster has one: it outlives runs, keeps its address and its keys."""

import json
import os
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from uae.errors import StoreError
from uae.store.faults import Backoff
from uae.store.ports import HOST, free_ports
from uae.store.s3 import Store

ACTIONS = {"owner": ["Admin", "Read", "List", "Write", "Tagging"], "reader": ["Read", "List"]}


class BucketServer:
    """SeaweedFS with two keys: `owner` may do everything, `reader` may only read."""

    def __init__(
        self,
        folder: Path,
        bucket: str = "uae",
        host: str = HOST,
        before: Sequence[str] = (),
        **more: object,
    ) -> None:
        """`host` is an address of the machine; the words `before` start the server elsewhere."""
        self.folder, self.bucket, self.host = folder, bucket, host
        self._before, self.more = before, more
        self._ports = free_ports()
        self.endpoint = f"http://{host}:{self._ports['s3']}"
        folder.mkdir(parents=True, exist_ok=True)
        identities = [
            {
                "name": name,
                "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}],
                "actions": actions,
            }
            for name, actions in ACTIONS.items()
        ]
        (folder / "keys.json").write_text(json.dumps({"identities": identities}))

    def environment(self, who: str = "owner", secret: str | None = None) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": who, "AWS_SECRET_ACCESS_KEY": secret or f"{who}-secret"}

    def store(self, who: str = "owner", *, attempts: int | None = None) -> Store:
        host = self.endpoint.removeprefix("http://")
        patience = {"backoff": Backoff(attempts=attempts)} if attempts else {}
        return Store(host, self.bucket, who, f"{who}-secret", False, **patience)

    def start(self) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        options = {
            "dir": data, "ip": self.host, "ip.bind": self.host, "bucket": self.bucket,
            "admin.ui": "false", "webdav": "false", "s3.port.iceberg": 0, "s3.port.lance": 0,
            "s3.autoCreateBucket": "false", "s3.config": self.folder / "keys.json",
            "master.telemetry": "false", "volume.preStopSeconds": 0,
            **{f"{name}.port": port for name, port in self._ports.items()}, **self.more,
        }  # fmt: skip
        weed = Path(sysconfig.get_path("scripts")) / "weed"
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._before, weed, "-logtostderr=true", "mini",
                 *(f"-{k}={v}" for k, v in options.items())],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"HOME": str(self.folder), "PATH": os.environ["PATH"], "GOMEMLIMIT": "256MiB"},
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.store(attempts=1).check_bucket()
            except StoreError:
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()[-3000:]
                time.sleep(0.1)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
