"""The gate: may this candidate replace the model promoted last?

Thresholds come from the recipe. Against a champion nothing that the reward did not see may get
worse: each slot under another scorer, their mean, and the transcription of text. Each slot has a
tolerance, the means have none, so that a nightly run cannot walk downhill one tolerance at a time.
The reward's own scorer never decides alone: every gain must show on the other scorers too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from uae.errors import DataError
from uae.export.registry import Champion, ChampionIdentity
from uae.export.scores import UnifiedBenchScores
from uae.recipe import Recipe

GATE_FORMAT = 1
SAMPLING_SETTINGS = ("max_new_tokens", "temperature", "sampler")  # the seed may differ


@dataclass(frozen=True)
class Check:
    """One condition, and what was found."""

    passed: bool
    message: str


@dataclass(frozen=True)
class Decision:
    """All conditions that were checked. Every one must hold."""

    checks: tuple[Check, ...]
    champion: ChampionIdentity | None = None  # the one compared with

    @property
    def promote(self) -> bool:
        """Whether the candidate becomes the champion."""
        return all(check.passed for check in self.checks)

    @property
    def decision(self) -> Literal["promote", "reject"]:
        """The decision as it stands in `metrics.json`."""
        return "promote" if self.promote else "reject"

    @property
    def reasons(self) -> list[str]:
        """What failed; what held, if nothing failed."""
        return [check.message for check in self.checks if check.passed == self.promote]

    def refused(self, message: str) -> Decision:
        """Return the decision with one more condition, which does not hold."""
        return replace(self, checks=(*self.checks, Check(False, message)))

    def write(self, folder: Path) -> None:
        """Write `gate.json` into the folder."""
        checks = [asdict(check) for check in self.checks]
        values = {
            "format": GATE_FORMAT,
            "decision": self.decision,
            "reasons": self.reasons,
            "champion": asdict(self.champion) if self.champion else None,
            "checks": checks,
        }
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(values, indent=2, ensure_ascii=False)
        (folder / "gate.json").write_text(text + "\n", encoding="utf-8")


def read_decision(folder: Path) -> Decision:
    """Read `gate.json` from the folder.

    Raises:
        DataError: If it is missing or of another format.
    """
    path = folder / "gate.json"
    if not path.is_file():
        raise DataError(f"no gate decision at {path}: run the gate first")
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if values.get("format") != GATE_FORMAT:
        raise DataError(f"{path} has format {values.get('format')!r}, expected {GATE_FORMAT}")
    champion = values.get("champion")  # runs of earlier versions do not tell
    return Decision(
        tuple(Check(**check) for check in values["checks"]),
        ChampionIdentity(**champion) if champion else None,
    )


def decide(
    recipe: Recipe,
    *,
    stage_1: UnifiedBenchScores,
    candidate: UnifiedBenchScores,
    champion: Champion | None,
) -> Decision:
    """Compare the candidate with the thresholds, its own Stage 1, and the champion.

    Args:
        recipe: Says the thresholds and which scorer gave the reward.
        stage_1: The same run's result after `pretrain_decoder`.
        candidate: The result after the last trained stage.
        champion: The model promoted last. None checks the thresholds only.
    """
    heldout = candidate.heldout_slots(recipe.training_scorers)
    compared_with = champion.identity if champion else None
    minimum = recipe.gate.min_overall
    checks = [
        Check(
            candidate.overall >= minimum,
            f"overall {candidate.overall:.2f}, required {minimum:.2f}",
        ),
        Check(
            bool(heldout),
            f"slots not judged by a scorer that gave a loss or reward "
            f"({', '.join(sorted(recipe.training_scorers))}): {', '.join(heldout) or 'none'}",
        ),
    ]
    if not checks[-1].passed:
        return Decision(tuple(checks), compared_with)
    if recipe.gate.require_gain_over_stage_1:
        checks += _gain_checks(recipe, stage_1, candidate)
    if champion is not None:
        checks += _champion_checks(recipe, champion.unified_bench, candidate)
    return Decision(tuple(checks), compared_with)


def _gain_checks(
    recipe: Recipe, stage_1: UnifiedBenchScores, candidate: UnifiedBenchScores
) -> list[Check]:
    difference = _difference(stage_1, candidate)
    if difference:
        return [
            Check(
                False,
                f"scores are not comparable with Stage 1's, which differ in: {difference}; "
                "resume the run: it judges anew what was judged by other weights, or start a new "
                "one",
            )
        ]
    before = _heldout_mean(recipe, stage_1)
    after = _heldout_mean(recipe, candidate)
    checks = [
        Check(
            candidate.overall > stage_1.overall,
            f"overall against Stage 1: {_change(stage_1.overall, candidate.overall)}",
        ),
        Check(after > before, f"held-out scorers' mean against Stage 1: {_change(before, after)}"),
    ]
    return checks + _text_checks(recipe, "Stage 1", stage_1, candidate)


def _champion_checks(
    recipe: Recipe, champion: UnifiedBenchScores, candidate: UnifiedBenchScores
) -> list[Check]:
    difference = _difference(champion, candidate)
    if difference:
        return [
            Check(
                False,
                f"scores are not comparable with the champion's, which differ in: {difference}; "
                "start a new run in a bucket of its own, which has its own champion: "
                "`make run BUCKET=other`, `uae run --bucket other`, or on a cluster the "
                "parameter bucket",
            )
        ]
    before = _heldout_mean(recipe, champion)
    after = _heldout_mean(recipe, candidate)
    checks = [
        Check(
            candidate.overall >= champion.overall,
            f"overall against the champion: {_change(champion.overall, candidate.overall)}",
        ),
        Check(
            after >= before,
            f"held-out scorers' mean against the champion: {_change(before, after)}",
        ),
    ]
    allowed = recipe.gate.max_slot_regression
    for name, slot in candidate.heldout_slots(recipe.training_scorers).items():
        old = champion.slots[name].score
        change = f"{_change(old, slot.score)}, allowed drop {allowed:.2f}"
        checks.append(
            Check(
                slot.score >= old - allowed,
                f"{name} ({slot.scorer}) against the champion: {change}",
            )
        )
    return checks + _text_checks(recipe, "the champion", champion, candidate)


def _text_checks(
    recipe: Recipe, name: str, before: UnifiedBenchScores, candidate: UnifiedBenchScores
) -> list[Check]:
    """Compare text fidelity. No check where the truth is unknown on both sides."""
    old, new = before.text_fidelity, candidate.text_fidelity
    if old is None and new is None:
        return []
    if old is None or new is None:
        return [Check(False, f"text fidelity is known only for one of candidate and {name}")]
    allowed = recipe.gate.max_text_fidelity_drop
    message = f"text fidelity against {name}: {old:.3f} to {new:.3f}, allowed drop {allowed:.3f}"
    return [Check(new >= old - allowed, message)]


def _difference(a: UnifiedBenchScores, b: UnifiedBenchScores) -> str:
    """Name what makes two results incomparable; empty if nothing does."""
    pairs = {
        "protocol": (a.protocol, b.protocol),
        "version": (a.version, b.version),
        "slots": (sorted(a.slots), sorted(b.slots)),
        "scorers' weights": (a.judges, b.judges),
        "pictures": (a.prompts, b.prompts),
    } | {name: (a.settings.get(name), b.settings.get(name)) for name in SAMPLING_SETTINGS}
    return ", ".join(name for name, (first, second) in pairs.items() if first != second)


def _heldout_mean(recipe: Recipe, scores: UnifiedBenchScores) -> float:
    heldout = scores.heldout_slots(recipe.training_scorers)
    return fmean(slot.score for slot in heldout.values())


def _change(before: float, after: float) -> str:
    return f"{before:.2f} to {after:.2f} ({after - before:+.2f})"
