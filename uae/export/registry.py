"""The registry of promoted models: the champion and everything that was champion before.

In the store: `registry/history/<run_id>.json` for each promotion and `registry/champion.json`, a
copy of the newest. History is written first, and both writes may be repeated: a promotion that
was cut off in the middle is completed by promoting again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from uae.errors import StoreError
from uae.export.scores import UnifiedBenchScores

if TYPE_CHECKING:
    from uae.store.s3 import Store

CHAMPION_KEY = "registry/champion.json"
HISTORY_PREFIX = "registry/history"


class Champion(BaseModel):
    """A promoted model: where it lies, where it comes from, how good it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    run_id: str = Field(min_length=1)
    model_prefix: str = Field(min_length=1)  # in the same bucket
    promoted_at: str  # ISO 8601, UTC
    recipe_name: str
    recipe_sha256: str
    data_revision: str
    code_version: str
    parent: str | None  # run_id of the champion that this one replaced
    unified_bench: UnifiedBenchScores


def read_champion(store: Store) -> Champion | None:
    """Return the model promoted last, or None if none was.

    Raises:
        StoreError: If the store fails or holds a champion of another format.
    """
    if not store.exists(CHAMPION_KEY):
        return None
    return _parse(CHAMPION_KEY, store.get_json(CHAMPION_KEY))


def read_history(store: Store) -> list[Champion]:
    """Return every promotion, oldest first.

    Raises:
        StoreError: If the store fails or holds an entry of another format.
    """
    keys = store.list(HISTORY_PREFIX)
    entries = [_parse(key, store.get_json(key)) for key in keys]
    return sorted(entries, key=lambda entry: entry.promoted_at)


def promote(store: Store, champion: Champion) -> None:
    """Make this model the champion.

    Raises:
        StoreError: If the store fails.
    """
    values = champion.model_dump(mode="json")
    store.put_json(f"{HISTORY_PREFIX}/{champion.run_id}.json", values)
    store.put_json(CHAMPION_KEY, values)


def _parse(key: str, values: Any) -> Champion:
    try:
        return Champion.model_validate(values)
    except ValidationError as error:
        raise StoreError(f"{key} is not a valid registry entry: {error}") from error
