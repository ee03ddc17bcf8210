"""What each image holds, and why it lacks what it lacks: `contents.yaml`."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from uae.errors import UaeError
from uae.strict_yaml import read_yaml

CONTENTS_FILE = Path(__file__).parent / "contents.yaml"
REQUIREMENTS_FOLDER = Path(__file__).parent / "requirements"
ImageName: TypeAlias = Literal["control", "trainer", "evaluator"]
IMAGE_NAMES: tuple[ImageName, ...] = ("control", "trainer", "evaluator")
Some = Field(min_length=1)


class ContentsError(UaeError):
    """An image, or its description, that lacks something, or holds what it should not."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LeftOut(_Strict):
    """Packages that some images do without."""

    images: Annotated[list[ImageName], Field(alias="from", min_length=1)]
    because: Annotated[str, Some]
    packages: Annotated[list[str], Some]


class Contents(_Strict):
    """The whole file."""

    left_out: list[LeftOut]
    imports: dict[ImageName, Annotated[list[str], Some]]

    @classmethod
    def read(cls, path: Path = CONTENTS_FILE) -> Self:
        """Read the file.

        Raises:
            ContentsError: If it is malformed.
        """
        try:
            return cls.model_validate(read_yaml(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise ContentsError(
                f"{path} does not describe the images' contents: {error}"
            ) from error

    def left_out_of(self, image: ImageName) -> set[str]:
        """Return what the image does without, each name in its normal form."""
        return {
            normal(package)
            for entry in self.left_out
            if image in entry.images
            for package in entry.packages
        }


def normal(package: str) -> str:
    """Return the one form of a package's name, as PEP 503 defines it.

    >>> normal("Great_Expectations")
    'great-expectations'
    """
    return re.sub(r"[-_.]+", "-", package).lower()


def requirements_file(name: str) -> Path:
    """Return the closed list of what is installed in an image, or for making the wheel."""
    return REQUIREMENTS_FOLDER / f"{name}.txt"
