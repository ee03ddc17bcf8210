"""Promotion and rollback by hand, recorded in the same history as the gate's promotions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from uae.errors import RunError, StoreError
from uae.export.export_model import MODELS_PREFIX, Lineage
from uae.export.gate import read_decision
from uae.export.registry import (
    FORMAT,
    Champion,
    outdated,
    promote,
    promote_if_current,
    read_champion,
    read_history,
    replaced_by,
)
from uae.export.run_folder import BENCH_STEPS
from uae.export.scores import UnifiedBenchScores, read_unified_bench
from uae.store.folders import MANIFEST

if TYPE_CHECKING:
    from uae.store.s3 import Store

Value = TypeVar("Value")


def promote_by_hand(
    store: Store, run_id: str, *, force: bool = False, reason: str | None = None
) -> Champion:
    """Make a run's exported model the champion.

    Args:
        store: The bucket in which the run lies.
        run_id: The run.
        force: Whether to do it although the gate rejected the model, or compared it with a champion
            that no longer is. Needs a reason.
        reason: Goes into the history.

    Returns:
        The champion: the promoted model, or what it was if that is the champion already.

    Raises:
        RunError: If the run left no exported model or no scores, the gate's decision forbids it, or
            a reason is missing.
        StoreError: If the store fails.
    """
    if force and not reason:
        raise RunError("--force goes against the gate: say why with --reason, for the history")
    _check_model(store, run_id)
    before = read_champion(store)
    champion = _champion(store, run_id, before, reason)
    if before is not None and champion.is_model_of(before):
        return before
    refusal = _refusal(store, run_id)
    if refusal and not force:
        raise RunError(
            f"run {run_id} is not promoted: {refusal}; to do it all the same: --force with --reason"
        )
    if refusal:
        promote(store, champion.model_copy(update={"action": "force"}))
    elif overtaken := promote_if_current(store, champion, before.identity if before else None):
        raise RunError(f"run {run_id} is not promoted: {overtaken}")
    return _champion_now(store)


def roll_back(store: Store, run_id: str | None = None, *, reason: str | None = None) -> Champion:
    """Bring an earlier champion back. The later ones stay in the history, to roll forward to.

    Args:
        store: The bucket.
        run_id: A run of the history. None takes the model that the champion replaced when its run
            was promoted: again and again it walks back to the first.
        reason: Goes into the history.

    Returns:
        The champion.

    Raises:
        RunError: If there is no such model, or none before the champion.
        StoreError: If the store fails.
    """
    champion = read_champion(store)
    if champion is None:
        raise RunError(
            f"nothing was ever promoted in {store.bucket}: there is nothing to go back to"
        )
    target = _target(store, champion, run_id)
    _check_model(store, target.run_id)
    again = target.model_copy(
        update={
            "format": FORMAT,
            "promoted_at": _now(),
            "parent": champion.run_id,
            "action": "rollback",
            "reason": reason,
        }
    )
    if overtaken := promote_if_current(store, again, champion.identity):
        raise RunError(f"not rolled back to {target.run_id}: {overtaken}")
    return _champion_now(store)


def _target(store: Store, champion: Champion, run_id: str | None) -> Champion:
    history = read_history(store)
    if run_id is None:
        target = replaced_by(champion, history)
        if target is None:
            raise RunError(
                f"champion {champion.run_id} replaced none: name another run of the history with "
                "--to; `uae champion` lists it"
            )
        return target
    if run_id == champion.run_id:
        raise RunError(f"{run_id} is the champion already")
    found = [entry for entry in history if entry.run_id == run_id]
    if not found:
        known = ", ".join(dict.fromkeys(entry.run_id for entry in history))
        raise RunError(
            f"{run_id!r} was never champion, the history has {known}: "
            f"`uae promote {run_id}` promotes what never was"
        )
    return found[-1]


def _refusal(store: Store, run_id: str) -> str | None:
    decision = _read_export(store, run_id, "gate.json", read_decision)
    if not decision.promote:
        return "the gate rejected it: " + "; ".join(decision.reasons)
    return outdated(store, run_id, decision.champion)


def _champion(store: Store, run_id: str, before: Champion | None, reason: str | None) -> Champion:
    """Return what the run's model is as a champion."""
    lineage = _read_export(store, run_id, "lineage.json", _read_lineage)
    return Champion(
        run_id=run_id,
        model_prefix=_prefix(run_id),
        promoted_at=_now(),
        recipe_name=lineage.recipe_name,
        recipe_sha256=lineage.recipe_sha256,
        data_revision=lineage.data_revision,
        code_version=lineage.code_version,
        parent=before.run_id if before else None,
        unified_bench=_scores(store, run_id),
        action="hand",
        reason=reason,
    )


def _check_model(store: Store, run_id: str) -> None:
    if not store.exists(f"{_prefix(run_id)}/{MANIFEST}"):
        prefix = f"{MODELS_PREFIX}/"
        found = sorted(
            {key.removeprefix(prefix).split("/")[0] for key in store.list(MODELS_PREFIX)}
        )
        raise RunError(
            f"run {run_id!r} has no complete model at s3://{store.bucket}/{_prefix(run_id)}: "
            f"there is {', '.join(found) or 'none'}"
        )


def _read_export(store: Store, run_id: str, name: str, read: Callable[[Path], Value]) -> Value:
    """Read one of the small files beside the exported model."""
    with tempfile.TemporaryDirectory() as folder:
        store.get_file(f"{_prefix(run_id)}/{name}", Path(folder) / name)
        return read(Path(folder))


def _read_lineage(folder: Path) -> Lineage:
    try:
        return Lineage.model_validate_json((folder / "lineage.json").read_bytes())
    except ValidationError as error:
        raise StoreError(f"lineage.json is not valid: {error}") from error


def _scores(store: Store, run_id: str) -> UnifiedBenchScores:
    """Read the scores of the run's last stage, or those with which it was champion before."""
    place = f"runs/{run_id}/artifacts/{BENCH_STEPS[-1]}"
    keys = [key for key in store.list(place) if key.endswith("/results.json")]
    if keys:
        with tempfile.TemporaryDirectory() as folder:
            store.get_file(keys[0], Path(folder) / "results.json")
            return read_unified_bench(Path(folder))
    earlier = [entry for entry in read_history(store) if entry.run_id == run_id]
    if earlier:
        return earlier[-1].unified_bench
    raise RunError(
        f"run {run_id} has no scores: there is no results.json below s3://{store.bucket}/{place}; "
        "without them no later model could be compared with it"
    )


def _champion_now(store: Store) -> Champion:
    champion = read_champion(store)
    assert champion is not None, "just promoted"
    return champion


def _prefix(run_id: str) -> str:
    return f"{MODELS_PREFIX}/{run_id}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
