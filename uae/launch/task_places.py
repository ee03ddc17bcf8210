"""Where a task lies, and how its inputs and outputs come and go: on this machine, or in the store.

A job's processes run on several machines. On each of them one process downloads the inputs for all;
rank 0 uploads the outputs, in the places and the format in which a step stores its own.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from uae.errors import StoreError
from uae.fingerprints import file_sha256
from uae.launch.task import Notes, StageTask
from uae.replacement import replaced_file

if TYPE_CHECKING:
    from uae.store.s3 import Store


class TaskPlace(Notes, Protocol):
    """A task's files, inputs and outputs."""

    @abstractmethod
    def fetch(self, task: StageTask, folder: Path) -> None:
        """Bring inputs that are not on this machine to `folder`."""

    @abstractmethod
    def inputs(self, task: StageTask, folder: Path) -> tuple[Path, Path | None]:
        """Return the paths of data and model; below `folder` what `fetch` brings."""

    @abstractmethod
    def outputs(self, task: StageTask, folder: Path) -> dict[str, Path]:
        """Return where outputs are to be written, by name; below `folder` what `send` takes."""

    @abstractmethod
    def send(self, task: StageTask, paths: Mapping[str, Path]) -> dict[str, str]:
        """Bring outputs to where the task wants them; return the digests of what was stored."""


class LocalPlace(TaskPlace):
    """A folder of this machine. Inputs and outputs are local, and the step stores the outputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, task: StageTask, folder: Path) -> None:
        """See `TaskPlace`."""

    def inputs(self, task: StageTask, folder: Path) -> tuple[Path, Path | None]:
        """See `TaskPlace`."""
        del folder
        return Path(task.data), Path(task.model_in) if task.model_in else None

    def outputs(self, task: StageTask, folder: Path) -> dict[str, Path]:
        """See `TaskPlace`."""
        del folder
        return {name: Path(path) for name, path in task.outputs.items()}

    def send(self, task: StageTask, paths: Mapping[str, Path]) -> dict[str, str]:
        """See `TaskPlace`."""
        del task, paths
        return {}

    def write(self, name: str, value: Any) -> None:
        """See `Notes`."""
        text = json.dumps(value, allow_nan=False)
        with replaced_file(self.folder / name) as partial:
            partial.write_text(text, encoding="utf-8")

    def read(self, name: str) -> Any:
        """See `Notes`."""
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def names(self) -> list[str]:
        """See `Notes`."""
        return sorted(path.name for path in self.folder.iterdir())

    def remove(self, name: str) -> None:
        """See `Notes`."""
        (self.folder / name).unlink(missing_ok=True)


class StoredPlace(TaskPlace):
    """A key prefix in the store, where inputs and outputs lie too."""

    def __init__(self, store: Store, prefix: str) -> None:
        self.store, self.prefix = store, prefix

    def fetch(self, task: StageTask, folder: Path) -> None:
        """See `TaskPlace`.

        Raises:
            StoreError: If an input is not there, or is another one than the step was given.
        """
        from uae.store.s3 import parse_uri

        for name, uri in (("data", task.data), ("model_in", task.model_in)):
            if uri is None:
                continue
            bucket, prefix = parse_uri(uri)
            found = self.store.for_bucket(bucket).get_folder(prefix, folder / name)
            if found != task.digests[name]:
                raise StoreError(
                    f"{uri} has sha256 {found}, the step was given {task.digests[name]}: it was "
                    "written again since; start the step again"
                )

    def inputs(self, task: StageTask, folder: Path) -> tuple[Path, Path | None]:
        """See `TaskPlace`."""
        return folder / "data", folder / "model_in" if task.model_in else None

    def outputs(self, task: StageTask, folder: Path) -> dict[str, Path]:
        """See `TaskPlace`."""
        return {name: folder / name for name in task.outputs}

    def send(self, task: StageTask, paths: Mapping[str, Path]) -> dict[str, str]:
        """See `TaskPlace`."""
        return {name: self._send(key, paths[name]) for name, key in task.outputs.items()}

    def write(self, name: str, value: Any) -> None:
        """See `Notes`."""
        self.store.put_json(f"{self.prefix}/{name}", value)

    def read(self, name: str) -> Any:
        """See `Notes`."""
        key = f"{self.prefix}/{name}"
        return self.store.get_json(key) if self.store.exists(key) else None

    def names(self) -> list[str]:
        """See `Notes`."""
        return [key.removeprefix(f"{self.prefix}/") for key in self.store.list(self.prefix)]

    def remove(self, name: str) -> None:
        """See `Notes`."""
        self.store.delete(f"{self.prefix}/{name}")

    def clear(self) -> None:
        """Remove what an earlier job left."""
        self.store.delete(self.prefix)

    def _send(self, key: str, path: Path) -> str:
        if path.is_dir():
            return self.store.put_folder(path, key)
        self.store.put_file(key, path)
        return file_sha256(path)
