"""What a benchmark needs of a system, refused before anything is computed."""

from uae.errors import EvaluationError
from uae.evaluation.systems.base import System


def require(
    system: System, benchmark: str, *, captions: bool = False, pictures: bool = False
) -> None:
    """Refuse a system that cannot do what a benchmark needs.

    Raises:
        EvaluationError: Naming the system and what it lacks.
    """
    able = system.capabilities
    lacks = [
        what
        for what, needed, there in (
            ("write captions", captions, able.captions),
            ("paint pictures", pictures, able.pictures),
        )
        if needed and not there
    ]
    if lacks:
        name = system.identity["name"]
        raise EvaluationError(
            f"{benchmark} needs a system that can {' and '.join(lacks)}: {name!r} cannot"
        )
