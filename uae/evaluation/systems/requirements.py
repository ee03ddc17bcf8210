"""What a benchmark needs of a system, refused before anything is computed."""

from collections.abc import Collection

from uae.errors import EvaluationError
from uae.evaluation.systems.base import Finite, System


def require(
    system: System,
    benchmark: str,
    *,
    captions: bool = False,
    pictures: bool = False,
    places: Collection[str] = (),
) -> None:
    """Refuse a system that cannot do what a benchmark needs.

    Args:
        system: The system under test.
        benchmark: The module in `uae.evaluation`.
        captions: Whether captions are asked for.
        pictures: Whether pictures are asked for.
        places: Of all pictures, where a system may have them already.

    Raises:
        EvaluationError: Naming the system and what it lacks, or pictures too few or too many.
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
    if places and isinstance(system, Finite):
        system.check_places(benchmark, places)
