"""The program that builds images: buildah, podman or docker, whichever is there.

What they share is taken as it is; what differs is here. Nothing of this machine gets into an image:
an index's settings and certificates are given as secrets, which leave no trace in it.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from uae.errors import UaeError

ENGINES = ("buildah", "podman", "docker")


class EngineError(UaeError):
    """No program that builds images, or one that failed."""


class Build(NamedTuple):
    """What one image is built from."""

    containerfile: Path
    context: Path
    target: str
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    secrets: Mapping[str, Path]
    tag: str


class Engine(NamedTuple):
    """One of ENGINES, and where it is."""

    name: str
    program: str

    @classmethod
    def find(cls, name: str = "") -> Self:
        """Return the engine of this name, or the first that is installed.

        Raises:
            EngineError: If it is not known or not installed.
        """
        if name and name not in ENGINES:
            raise EngineError(f"{name!r} builds no images: ENGINE is one of {', '.join(ENGINES)}")
        for candidate in (name,) if name else ENGINES:
            if program := shutil.which(candidate):
                return cls(candidate, program)
        wanted = name or " or ".join(ENGINES)
        raise EngineError(f"{wanted} is not installed: install it, or name another with ENGINE=")

    def build(self, build: Build) -> None:
        """Build one image and give it its tag; the output goes to this process's.

        Raises:
            EngineError: If it fails.
        """
        # docker keeps intermediate layers by itself, and buildah only when asked
        command = [self.program, "build", *(["--layers"] if self.name == "buildah" else [])]
        command += ["--file", str(build.containerfile), "--target", build.target]
        for name, value in build.arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        for name, value in build.labels.items():
            command += ["--label", f"{name}={value}"]
        for name, path in build.secrets.items():
            command += ["--secret", f"id={name},src={path}"]
        self._call([*command, "--tag", build.tag, str(build.context)])

    def run(self, image: str, command: Sequence[str], *, user: str = "") -> str:
        """Run a command in an image without its entry point; return what it prints.

        Args:
            image: The image's name.
            command: Program and arguments.
            user: Who runs it; empty is the image's own user.

        Raises:
            EngineError: If it fails.
        """
        who = [f"--user={user}"] if user else []
        if self.name != "buildah":
            options = ["--rm", "--network=none", *who, "--entrypoint", command[0]]
            return self._read(["run", *options, image, *command[1:]])
        container = self._read(["from", "--pull-never", image]).strip()
        try:
            return self._read(["run", *who, container, "--", *command])
        finally:
            self._read(["rm", container])

    def size(self, image: str) -> int:
        """Return the bytes of an image's files, the base's included.

        Raises:
            EngineError: If there is no such image.
        """
        counted = ["du", "--summarize", "--bytes", "--one-file-system", "/"]
        return int(self.run(image, counted, user="0").split()[0])

    def _read(self, arguments: Sequence[str]) -> str:
        return self._call([self.program, *arguments], capture=True)

    def _call(self, command: Sequence[str], *, capture: bool = False) -> str:
        done = subprocess.run(command, capture_output=capture, text=True, check=False)
        if done.returncode:
            said = f": {done.stderr.strip()[-2000:]}" if capture else ", see above"
            raise EngineError(f"{' '.join(command[:2])} ended with {done.returncode}{said}")
        return done.stdout or ""
