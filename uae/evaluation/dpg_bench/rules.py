"""DPG-Bench's arithmetic as pure functions on answers: the dependency rule and two protocols.

"official" repeats the published script (github.com/TencentQQGYLab/ELLA, dpg_bench/
compute_dpg_bench.py) with its quirks: the file's first question is lost; category scores use the
last crop only, before the dependency rule; an item on which the script fails is dropped. "fixed"
counts every question, scores categories over all crops after the rule, and has no score while an
item lacks a verdict.

Where both differ from the script: the judge is the recipe's, and says yes where p(yes) > 1/2 (the
script's mPLUG must write the word "yes"); a crop is a quarter of the picture, which the script must
be told with --resolution and --pic-num 4; category scores are those of one process. (With several,
the script gathers categories in the order of each process's own set, and so mixes them up.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Protocol = Literal["official", "fixed"]
NO_PARENT = 0


@dataclass(frozen=True)
class Question:
    """One yes/no question; `parents` are numbers of questions of the same item."""

    number: int  # proposition_id
    text: str
    label: str  # the "tuple" column: category (arguments)
    parents: tuple[int, ...] = ()


@dataclass(frozen=True)
class Item:
    """A prompt with its question graph, questions in file order."""

    item_id: str
    text: str
    questions: tuple[Question, ...]  # none where "official" lost the only one


@dataclass(frozen=True)
class ItemScore:
    """What became of one item; `score` is None for one that is dropped, with the reason."""

    score: float | None
    crop_scores: tuple[float, ...] = ()
    answers: tuple[tuple[bool, ...], ...] = ()  # of each crop, after the dependency rule
    reason: str = ""


def level_2(label: str) -> str:
    """Return the category of a tuple: `attribute - color (cat, red)` -> `attribute - color`."""
    return label.split("(")[0].strip()


def level_1(category: str) -> str:
    """Return the broad category of a level-2 one: `attribute - color` -> `attribute`."""
    return category.split("-")[0].strip()


def apply_dependencies(
    questions: Sequence[Question], answers: Mapping[int, bool]
) -> tuple[bool, ...]:
    """Return the answers after the dependency rule, in question order.

    A question with a parent that counts as "no" becomes "no" itself. Questions are visited in their
    order: a zeroed one zeroes its own children further down, but none before it.

    Raises:
        KeyError: If a parent does not exist and none before it is "no": nothing looks further then.
    """
    values = {question.number: answers[question.number] for question in questions}
    for question in questions:
        if not all(values[parent] for parent in question.parents):
            values[question.number] = False
    return tuple(values.values())


def score_item(
    item: Item, crop_answers: Sequence[Mapping[int, bool]], protocol: Protocol
) -> ItemScore:
    """Score one item from the answers about each of its crops.

    Under "official" an item that the published script fails on is dropped: one that lost its only
    question, or whose questions depend on one that is not there.

    Raises:
        KeyError: Under "fixed", if a parent does not exist.
    """
    if not item.questions:
        return ItemScore(None, reason="dropped: the published reader loses its only question")
    ruled = []
    for answers in crop_answers:
        try:
            ruled.append(apply_dependencies(item.questions, answers))
        except KeyError as error:
            if protocol == "fixed":
                raise
            reason = f"dropped: the published script fails, as there is no question {error}"
            return ItemScore(None, reason=reason)
    crop_scores = tuple(sum(values) / len(values) for values in ruled)
    return ItemScore(sum(crop_scores) / len(crop_scores), crop_scores, tuple(ruled))


def category_answers(
    labels: Sequence[str],
    before: Sequence[Sequence[bool]],
    after: Sequence[Sequence[bool]],
    protocol: Protocol,
) -> dict[str, list[bool]]:
    """Return the answers of one item that count for each level-2 category.

    Args:
        labels: The "tuple" of each question.
        before: Crop -> answers as the judge gave them, in question order.
        after: Crop -> answers after the dependency rule.
        protocol: "official" takes `before` of the last crop, "fixed" `after` of all crops.
    """
    counted = before[-1:] if protocol == "official" else after
    found: dict[str, list[bool]] = {}
    for values in counted:
        for label, value in zip(labels, values, strict=True):
            found.setdefault(level_2(label), []).append(value)
    return found
