"""Which image a name stands for: `images.yaml`, the one file with every image reference.

A reference is `name:tag`, or `name@sha256:...` once it is pinned: only then do all pods run the
same content, and only then may a cluster take a step's earlier result for the same step.
"""

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from uae.errors import UaeError
from uae.replacement import replaced_file
from uae.strict_yaml import read_yaml

IMAGES_FILE = Path(__file__).parent / "images.yaml"
# The parts of a reference as the OCI distribution specification has them; a registry's address
# may hold capitals and a port.
_NAME = r"^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*$"
_TAG = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"
_DIGEST = r"^sha256:[0-9a-f]{64}$"


class ImageReferenceError(UaeError):
    """A file of image references that is missing, malformed or lacks an image."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ImageReference(_Strict):
    """One image: its name with or without a registry, its tag, and its digest once pinned."""

    name: Annotated[str, Field(pattern=_NAME)]
    tag: Annotated[str, Field(pattern=_TAG)]
    digest: Annotated[str, Field(pattern=_DIGEST)] | None

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else self.tagged

    @property
    def tagged(self) -> str:
        """Return `name:tag`, under which a registry tells the digest."""
        return f"{self.name}:{self.tag}"


class Bases(_Strict):
    """What our images stand on."""

    debian: ImageReference


class Images(_Strict):
    """The images that the steps run in."""

    control: ImageReference
    trainer: ImageReference
    evaluator: ImageReference


class ImageReferences(_Strict):
    """The whole file.

    >>> ImageReferences.read().image("control")
    'uae-control:0.1.0'
    """

    bases: Bases
    images: Images

    @classmethod
    def read(cls, path: Path = IMAGES_FILE) -> Self:
        """Read the file.

        Raises:
            ImageReferenceError: If it cannot be read, or naming every wrong key with its value.
        """
        try:
            return cls.model_validate(read_yaml(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ImageReferenceError(f"cannot read image references {path}: {error}") from error
        except yaml.YAMLError as error:
            raise ImageReferenceError(f"{path} is not valid YAML: {error}") from error
        except ValidationError as error:
            lines = "\n".join(_explain(dict(fault)) for fault in error.errors())
            raise ImageReferenceError(f"{path} holds no image references:\n{lines}") from error

    def image(self, name: str) -> str:
        """Return the reference of one of our images, as a pod names it.

        Raises:
            ImageReferenceError: If there is no such image.
        """
        return str(self._reference(self.images, name))

    def base(self, name: str) -> str:
        """Return the reference of a base image, as a Containerfile's BASE names it.

        Raises:
            ImageReferenceError: If there is no such base.
        """
        return str(self._reference(self.bases, name))

    @property
    def pinned(self) -> bool:
        """Whether every image of ours has a digest."""
        return all(reference.digest for _, reference in self.images)

    def write(self, path: Path) -> None:
        """Write the file; comments at its head stay as they are."""
        old = path.read_text(encoding="utf-8") if path.is_file() else ""
        head = [line for line in old.splitlines() if line.startswith("#")]
        with replaced_file(path) as fresh:
            fresh.write_text("\n".join([*head, *self._lines()]) + "\n", encoding="utf-8")

    def _lines(self) -> list[str]:
        lines = []
        for section, group in self:
            lines.append(f"{section}:")
            for name, one in group:
                digest = one.digest or "null"
                lines.append(f"  {name}: {{name: {one.name}, tag: {one.tag}, digest: {digest}}}")
        return lines

    @staticmethod
    def _reference(group: Bases | Images, name: str) -> ImageReference:
        references = dict(group)
        if name not in references:
            known = ", ".join(references)
            raise ImageReferenceError(f"no image {name!r} among the references: use one of {known}")
        reference: ImageReference = references[name]
        return reference


def _explain(fault: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "(whole file)"
    if fault["type"] == "extra_forbidden":
        return f"  {key}: unknown key (value {fault['input']!r}); remove it or correct its name"
    if fault["type"] == "missing":
        return f"  {key}: missing; every key must be given, an unknown digest as null"
    return f"  {key}: {fault['msg']}, got {fault['input']!r}"
