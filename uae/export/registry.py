"""The registry of promoted models: the champion and everything that was champion before.

In the store: `registry/champion.json`, and `registry/history/<promoted_at>-<run_id>.json` for each
champion that was replaced. History is written first, and both writes may be repeated: a promotion
that was cut off in the middle is completed by promoting again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from uae.errors import StoreError
from uae.export.scores import UnifiedBenchScores

if TYPE_CHECKING:
    from uae.store.s3 import Store

CHAMPION_KEY = "registry/champion.json"
HISTORY_PREFIX = "registry/history"


@dataclass(frozen=True)
class ChampionIdentity:
    """Which promotion is meant; a run may be promoted more than once."""

    run_id: str
    promoted_at: str

    def __str__(self) -> str:
        return f"{self.run_id} (promoted {self.promoted_at})"


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

    @property
    def identity(self) -> ChampionIdentity:
        """The promotion that this is."""
        return ChampionIdentity(self.run_id, self.promoted_at)


def read_champion(store: Store) -> Champion | None:
    """Return the model promoted last, or None if none was.

    Raises:
        StoreError: If the store fails or holds a champion of another format.
    """
    if not store.exists(CHAMPION_KEY):
        return None
    return _parse(CHAMPION_KEY, store.get_json(CHAMPION_KEY))


def read_opponent(store: Store, run_id: str) -> Champion | None:
    """Return the model that a run's own has to beat, or None if there is none.

    That is the champion. Where the run itself is the champion already, because it was cut off
    after its promotion or is resumed, it is the one that the run replaced.

    Raises:
        StoreError: If the store fails, lacks an entry or holds one of another format.
    """
    champion = read_champion(store)
    if champion is None or champion.run_id != run_id:
        return champion
    if champion.parent is None:
        return None
    replaced = [entry for entry in read_history(store) if entry.run_id == champion.parent]
    if not replaced:
        raise StoreError(
            f"{HISTORY_PREFIX} has no entry of {champion.parent}, which champion {run_id} "
            "replaced: bring its file back"
        )
    return replaced[-1]


def outdated(store: Store, run_id: str, opponent: ChampionIdentity | None) -> str | None:
    """Say why a decision against this opponent no longer counts; None if it still does.

    Raises:
        StoreError: If the store fails or holds a champion of another format.
    """
    champion = read_champion(store)
    now = champion.identity if champion else None
    if now == opponent or (champion is not None and champion.run_id == run_id):
        return None
    return (
        f"stale: the gate compared with champion {opponent or 'none'}, by now the champion is "
        f"{now or 'none'}; resume run {run_id} to compare anew"
    )


def read_history(store: Store) -> list[Champion]:
    """Return every promotion, oldest first; the last is the champion.

    Raises:
        StoreError: If the store fails or holds an entry of another format.
    """
    keys = store.list(HISTORY_PREFIX)
    keys += [CHAMPION_KEY] if store.exists(CHAMPION_KEY) else []
    entries = [_parse(key, store.get_json(key)) for key in keys]
    distinct = {entry.identity: entry for entry in entries}  # the champion's may stand in both
    return sorted(distinct.values(), key=lambda entry: entry.promoted_at)


def promote(store: Store, champion: Champion) -> None:
    """Make this model the champion. The champion itself, promoted again, stays as it is.

    Raises:
        StoreError: If the store fails or holds a champion of another format.
    """
    before = read_champion(store)
    if before is not None:
        if champion == before.model_copy(update={"promoted_at": champion.promoted_at}):
            return
        store.put_json(_history_key(before), before.model_dump(mode="json"))
    store.put_json(CHAMPION_KEY, champion.model_dump(mode="json"))


def _history_key(champion: Champion) -> str:
    moment = champion.promoted_at.replace("+00:00", "Z").replace(":", "")
    return f"{HISTORY_PREFIX}/{moment}-{champion.run_id}.json"


def _parse(key: str, values: Any) -> Champion:
    try:
        return Champion.model_validate(values)
    except ValidationError as error:
        raise StoreError(f"{key} is not a valid registry entry: {error}") from error
