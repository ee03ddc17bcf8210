"""The registry of promoted models: the champion and everything that was champion before.

In the store: `registry/champion.json`, and `registry/history/<promoted_at>-<run_id>.json` for each
promotion. A promotion first keeps the champion that it replaces in the history, then replaces it if
it still is the same (a conditional write, so that of two promotions at once one sees the other's),
then keeps itself. Every write may be repeated: a promotion that was cut off is completed by
promoting again. A rollback is one more promotion, of a model that was champion before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from uae.errors import StoreError
from uae.export.scores import UnifiedBenchScores
from uae.store.conditional import ChangedObject, UnconditionalStore

if TYPE_CHECKING:
    from uae.store.s3 import Store

CHAMPION_KEY = "registry/champion.json"
HISTORY_PREFIX = "registry/history"
FORMAT: Literal[2] = 2
ATTEMPTS = 10  # of a promotion that others overtake


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

    format: Literal[1, 2] = FORMAT  # 1: without action and reason, always the gate
    run_id: str = Field(min_length=1)
    model_prefix: str = Field(min_length=1)  # in the same bucket
    promoted_at: str  # ISO 8601, UTC
    recipe_name: str
    recipe_sha256: str
    data_revision: str
    code_version: str
    parent: str | None  # run_id of the champion that this one replaced
    unified_bench: UnifiedBenchScores
    action: Literal["gate", "hand", "force", "rollback"] = "gate"  # who decided; force: against it
    reason: str | None = None  # given by hand

    @property
    def identity(self) -> ChampionIdentity:
        """The promotion that this is."""
        return ChampionIdentity(self.run_id, self.promoted_at)

    def is_model_of(self, other: Champion) -> bool:
        """Whether both are promotions of one model, when and however they came about."""
        about_promotion = {"format", "promoted_at", "parent", "action", "reason"}
        return self.model_dump(exclude=about_promotion) == other.model_dump(exclude=about_promotion)


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
    return replaced_by(champion, read_history(store))


def replaced_by(champion: Champion, history: Sequence[Champion]) -> Champion | None:
    """Return the champion that this one's run replaced when it was promoted, None if none was.

    A rollback does not count: the model that was rolled back to replaced another one long before.

    Raises:
        StoreError: If the history lacks its entry.
    """
    own = [entry for entry in history if entry.run_id == champion.run_id]
    first = next((entry for entry in reversed(own) if entry.action != "rollback"), champion)
    if first.parent is None:
        return None
    replaced = [entry for entry in history if entry.run_id == first.parent]
    if not replaced:
        raise StoreError(
            f"{HISTORY_PREFIX} has no entry of {first.parent}, which champion {champion.run_id} "
            "replaced: bring its file back"
        )
    return replaced[-1]


def outdated(store: Store, run_id: str, opponent: ChampionIdentity | None) -> str | None:
    """Say why a decision against this opponent no longer counts; None if it still does.

    Raises:
        StoreError: If the store fails or holds a champion of another format.
    """
    return _stale(run_id, opponent, read_champion(store))


def read_history(store: Store) -> list[Champion]:
    """Return every promotion, oldest first; the last is the champion.

    Raises:
        StoreError: If the store fails or holds an entry of another format.
    """
    champion = read_champion(store)
    entries = [_parse(key, store.get_json(key)) for key in store.list(HISTORY_PREFIX)]
    distinct = {entry.identity: entry for entry in entries}
    if champion:  # stands there too, unless its promotion was cut off
        distinct.pop(champion.identity, None)
    return [
        *sorted(distinct.values(), key=lambda entry: entry.promoted_at),
        *filter(None, [champion]),
    ]


def promote(store: Store, champion: Champion) -> None:
    """Make this model the champion, whoever is. The champion, promoted again, stays as it is.

    Raises:
        StoreError: If the store fails or holds a champion of another format.
    """
    _promote(store, champion, lambda _: None)


def promote_if_current(
    store: Store, champion: Champion, opponent: ChampionIdentity | None
) -> str | None:
    """Make this model the champion if the one that it was compared with still is.

    Args:
        store: The bucket.
        champion: The model. The champion, promoted again, stays as it is.
        opponent: The champion that it was compared with; None if there was none.

    Returns:
        Why it did not become champion; None if it is champion.

    Raises:
        StoreError: If the store fails or holds a champion of another format.
    """
    return _promote(store, champion, partial(_stale, champion.run_id, opponent))


def _promote(
    store: Store, champion: Champion, refuse: Callable[[Champion | None], str | None]
) -> str | None:
    for _ in range(ATTEMPTS):
        found = store.get_versioned(CHAMPION_KEY)
        before = _parse(CHAMPION_KEY, _read_json(found.data)) if found else None
        if before is not None:
            _keep(store, before)
            if champion.is_model_of(before):
                return None
        if refusal := refuse(before):
            return refusal
        try:
            _replace(store, champion, found.etag if found else None)
        except ChangedObject:
            continue  # by another promotion, or by this one, whose answer was lost
        _keep(store, champion)
        return None
    raise StoreError(
        f"{CHAMPION_KEY} was changed by others {ATTEMPTS} times in a row: find out who promotes, "
        f"then promote {champion.run_id} again"
    )


def _stale(run_id: str, opponent: ChampionIdentity | None, champion: Champion | None) -> str | None:
    now = champion.identity if champion else None
    if now == opponent or (champion is not None and champion.run_id == run_id):
        return None
    return (
        f"stale: the gate compared with champion {opponent or 'none'}, by now the champion is "
        f"{now or 'none'}; resume run {run_id} to compare anew"
    )


def _replace(store: Store, champion: Champion, etag: str | None) -> None:
    values = champion.model_dump(mode="json")
    try:
        store.replace_json(CHAMPION_KEY, values, replaces=etag)
    except UnconditionalStore as error:
        print(f"{error}: of two promotions at the same moment the later one stays, both are kept")
        store.put_json(CHAMPION_KEY, values)


def _keep(store: Store, champion: Champion) -> None:
    """Keep a promotion in the history, unless it stands there."""
    key = _history_key(champion)
    if not store.exists(key):
        values = champion.model_copy(update={"format": FORMAT})
        store.put_json(key, values.model_dump(mode="json"))


def _history_key(champion: Champion) -> str:
    moment = champion.promoted_at.replace("+00:00", "Z").replace(":", "")
    return f"{HISTORY_PREFIX}/{moment}-{champion.run_id}.json"


def _read_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise StoreError(f"{CHAMPION_KEY} is not JSON: {error}") from error


def _parse(key: str, values: Any) -> Champion:
    try:
        return Champion.model_validate(values)
    except ValidationError as error:
        raise StoreError(f"{key} is not a valid registry entry: {error}") from error
