"""An image's content as a pod of the Pod Security level `restricted` sees it, without a cluster.

The image's root file system is mounted read-only, /tmp alone can be written (and what is asked
for), the user is the image's own, without capabilities and unable to gain any. Needs root.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NO_RIGHTS = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
# As a kubelet, it gives /dev and the files that say who is where on the network.
# $1 the root, $2 how many "from:to" follow, then the command
ENTER = """
root=$1 binds=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for device in null zero full random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
while [ "$binds" -gt 0 ]; do
  mount --bind "${1%%:*}" "$root${1#*:}"
  binds=$((binds - 1)); shift
done
for file in hosts hostname resolv.conf; do
  mount --bind "/etc/$file" "$root/etc/$file"
done
exec chroot "$root" "$@"
"""


@dataclass
class Finished:
    """How a command ended, and what it printed, both streams together."""

    code: int
    output: str
    started: datetime
    seconds: float
    first_line_seconds: float  # from its start to the end of the first line it printed


class Sandbox:
    """One image, mounted. Use `opened`."""

    def __init__(self, image: str, root: Path, config: dict[str, Any]) -> None:
        self.image, self.root = image, root
        self.labels: dict[str, str] = config.get("Labels", {})
        self.entry_point: list[str] = config["Entrypoint"]
        self.user: str = config["User"]
        self.environment = dict(line.split("=", 1) for line in config["Env"])
        self.folder: str = config["WorkingDir"]
        for name in ("hosts", "hostname", "resolv.conf"):  # to mount on
            (root / "etc" / name).touch()

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        writable: Mapping[str, Path] | None = None,
    ) -> Finished:
        """Run a command.

        Args:
            command: Program and arguments, without the entry point.
            environment: Variables beside the image's own.
            writable: Folders of this machine by where they are seen; /tmp is a fresh one if it is
                not among them.
        """
        user, _, group = self.user.partition(":")
        variables = self.environment | dict(environment or {})
        with tempfile.TemporaryDirectory() as temporary:
            places = {"/tmp": Path(temporary)} | dict(writable or {})
            for inside, outside in places.items():
                (self.root / inside.lstrip("/")).mkdir(exist_ok=True)
                outside.chmod(0o1777)
            binds = [f"{outside}:{inside}" for inside, outside in places.items()]
            enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", ENTER]
            limited = ["setpriv", f"--reuid={user}", f"--regid={group}", *NO_RIGHTS]
            given = [
                "env",
                "-i",
                f"--chdir={self.folder}",
                *(f"{k}={v}" for k, v in variables.items()),
            ]
            inside_command = [*limited, *given, *command]
            return _watch([*enter, "sh", str(self.root), str(len(binds)), *binds, *inside_command])

    def forget(self) -> None:
        """Let the kernel drop what it keeps of the image's files in memory, as on a new node."""
        for path in self.files():
            with (self.root / path.lstrip("/")).open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def files(self, *conditions: str) -> list[str]:
        """Return the regular files of the image for which `find` says yes."""
        found = subprocess.run(
            ["find", str(self.root), "-xdev", "-type", "f", *conditions],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [line.removeprefix(str(self.root)) for line in found.stdout.splitlines()]


@contextmanager
def opened(image: str) -> Iterator[Sandbox]:
    """Mount an image for as long as the block lasts."""
    container = _read("buildah", "from", "--pull-never", image)
    try:
        root = Path(_read("buildah", "mount", container))
        config = json.loads(_read("buildah", "inspect", container))["OCIv1"]["config"]
        yield Sandbox(image, root, config)
    finally:
        _read("buildah", "rm", container)


def _watch(command: Sequence[str]) -> Finished:
    now, started, first, lines = datetime.now(UTC), time.monotonic(), 0.0, []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            first = first or time.monotonic() - started
            lines.append(line)
    return Finished(process.returncode, "".join(lines), now, time.monotonic() - started, first)


def _read(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
