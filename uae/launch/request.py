"""What a run on this machine was asked for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from uae.errors import RunError
from uae.replacement import replaced_file

KFP_REPLACES = "python3"


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
            RunError: If there is no such run, or another version wrote its request.
        """
        path = folder / "request.json"
        if not path.is_file():
            known = sorted(found.parent.name for found in folder.parent.glob("*/request.json"))
            raise RunError(
                f"no run {folder.name!r} in {folder.parent}: there is {', '.join(known) or 'none'}"
            )
        return cls(**_read_texts(path, {field.name for field in fields(cls)}))

    def check_for_kfp(self, folder: Path) -> None:
        """Refuse what kfp would change on the way to a step.

        Its local runner replaces every `python3`, also inside a path, with the interpreter's path.

        Raises:
            RunError: Naming the folder, the data or the line of the recipe in which it stands.
        """
        handed = [("run folder", str(folder)), ("data", self.data)]
        handed += [("endpoint", self.endpoint), ("bucket", self.bucket)]
        handed += [("recipe, line", line.strip()) for line in self.recipe.splitlines()]
        for name, text in handed:
            if KFP_REPLACES in text:
                raise RunError(
                    f"{name} {text!r}: kfp's local runner would replace the {KFP_REPLACES!r} in "
                    "it; choose another name (--run-root for the run folder)"
                )


def _read_texts(path: Path, names: set[str]) -> dict[str, str]:
    """Read a JSON object that has exactly these names, each a text."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is no JSON ({error}): start a new run") from error
    found = set(values) if isinstance(values, dict) else set()
    wrong = found ^ names | {name for name in found if not isinstance(values[name], str)}
    if wrong:
        raise RunError(
            f"{path} was not written by this version of uae (missing, unknown or no text: "
            f"{', '.join(sorted(wrong))}): resume with the version that began the run, or start "
            "a new one"
        )
    return dict(values)
