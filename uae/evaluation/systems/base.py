"""What a system under test is: one small interface for every model, server and folder.

A system reads its weights at the first request, and lets go of them on `close()` when it has
painted.
"""

from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from uae.evaluation.pictures import Pixels

Overlong = Literal["error", "truncate"]


class Capabilities(NamedTuple):
    """What a system can be asked for; a benchmark that needs more is refused before it begins."""

    captions: bool
    pictures: bool


class Failure(NamedTuple):
    """No caption or no picture, and why; the sample is "missing", never a zero."""

    reason: str


class CaptionRequest(NamedTuple):
    """A picture to describe."""

    picture: Pixels  # 8-bit RGB, any size
    seed: int  # matters only where captions are sampled
    place: str  # "<benchmark>/<sample id>": where a folder of results keeps it


class PictureRequest(NamedTuple):
    """A text to paint."""

    text: str
    seed: int
    place: str  # path of the picture, such as "geneval/00000/samples/0000.png"
    overlong: Overlong = "error"  # a system's own caption may be truncated: it is lost to it


@runtime_checkable
class Finite(Protocol):
    """A system that has its pictures already, and can say beforehand whether they are all there."""

    def check_places(self, benchmark: str, places: Collection[str]) -> None:
        """Refuse pictures that do not fit what will be asked for, fewer or more."""
        ...


class System(Protocol):
    """A unified model as the benchmarks see it.

    Requests come in the batches that the evaluation cuts; answers are in their order. What fails
    for one request alone is a `Failure`; what is wrong with the system itself is an error.
    """

    @property
    def identity(self) -> dict[str, str]:
        """Name, kind and hash of the weights; stamped into results. Needs no weights in memory."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can be asked for."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """How it writes and paints; JSON, stamped into results."""
        ...

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        """Return one caption for each picture."""
        ...

    def generate(self, requests: Sequence[PictureRequest]) -> list[Pixels | Failure]:
        """Return one picture for each text; it depends on its own text and seed only."""
        ...

    def close(self) -> None:
        """Let go of the weights; a later request reads them again."""
        ...
