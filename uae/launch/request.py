"""What a run on this machine was asked for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from uae.errors import RunError
from uae.replacement import replaced_file


@dataclass(frozen=True)
class Request:
    """What a run was asked for; kept in the run's folder, so that it can be resumed."""

    recipe: str  # settled, as YAML text
    data: str
    endpoint: str  # empty: the embedded store
    bucket: str

    def write(self, folder: Path) -> None:
        """Keep the request in the run's folder."""
        with replaced_file(folder / "request.json") as fresh:
            fresh.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Request:
        """Read the request of an earlier run.

        Raises:
            RunError: If there is no such run.
        """
        path = folder / "request.json"
        if not path.is_file():
            known = sorted(found.parent.name for found in folder.parent.glob("*/request.json"))
            raise RunError(
                f"no run {folder.name!r} in {folder.parent}: there is {', '.join(known) or 'none'}"
            )
        return cls(**json.loads(path.read_text(encoding="utf-8")))
