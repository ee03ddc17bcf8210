"""DPG-Bench's arithmetic as pure functions on answers: the dependency rule and two protocols.

"official" repeats the published script (github.com/TencentQQGYLab/ELLA, compute_dpg_bench.py) with
three quirks: the file's first question is lost; category scores use the last crop only, before
the dependency rule; an item that fails is dropped. "fixed" counts every question, scores categories
over all crops after the rule, and has no score while an item is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
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

    @property
    def category(self) -> str:
        """Level 2, such as `attribute - color`."""
        return self.label.split("(")[0].strip()


@dataclass(frozen=True)
class Item:
    """A prompt with its question graph, questions in file order."""

    item_id: str
    text: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class ItemScore:
    """What became of one item; `score` is None for one that was dropped, with the reason."""

    item_id: str
    score: float | None
    crop_scores: tuple[float, ...] = ()
    category_values: tuple[tuple[str, float], ...] = ()  # (level-2 category, 0 or 1)
    reason: str | None = None


def level_1(category: str) -> str:
    """Return the broad category of a level-2 one: `attribute - color` -> `attribute`."""
    return category.split("-")[0].strip()


def apply_dependencies(questions: Sequence[Question], answers: Mapping[int, bool]) -> list[bool]:
    """Return the answers after the dependency rule, in question order.

    A question whose parent counts as "no" becomes "no" itself; because questions are visited in
    order, a zeroed question zeroes its own children further down.

    Raises:
        KeyError: If a parent does not exist.
    """
    values = {question.number: answers[question.number] for question in questions}
    for question in questions:
        if not all(values[parent] for parent in question.parents):
            values[question.number] = False
    return list(values.values())


def score_item(
    item: Item, crop_answers: Sequence[Mapping[int, bool]], protocol: Protocol
) -> ItemScore:
    """Score one item from the answers about each of its crops.

    Under "official" an item whose questions refer to the lost first one is dropped, because
    the published script fails on it.
    """
    ruled = []
    for answers in crop_answers:
        try:
            ruled.append(apply_dependencies(item.questions, answers))
        except KeyError as error:
            if protocol == "fixed":
                raise
            return ItemScore(item.item_id, None, reason=f"no parent question {error}")
    crop_scores = tuple(sum(values) / len(values) for values in ruled)
    categories = [question.category for question in item.questions]
    if protocol == "official":
        counted = [[crop_answers[-1][question.number] for question in item.questions]]
    else:
        counted = ruled
    pairs = tuple(
        (category, float(value))
        for values in counted
        for category, value in zip(categories, values, strict=True)
    )
    return ItemScore(item.item_id, sum(crop_scores) / len(crop_scores), crop_scores, pairs)


def lose_first_question(items: Sequence[Item]) -> list[Item]:
    """Drop the file's first question, as the published reader does."""
    first, *others = items
    rest = first.questions[1:]
    return [Item(first.item_id, first.text, rest), *others] if rest else others


def category_scores(scores: Iterable[ItemScore]) -> dict[str, dict[str, float]]:
    """Return {"level_1": {category: points}, "level_2": {...}}, 0 to 1, over all questions."""
    values: dict[str, dict[str, list[float]]] = {"level_1": {}, "level_2": {}}
    for score in scores:
        for category, value in score.category_values:
            values["level_2"].setdefault(category, []).append(value)
            values["level_1"].setdefault(level_1(category), []).append(value)
    return {
        level: {name: sum(of) / len(of) for name, of in sorted(groups.items())}
        for level, groups in values.items()
    }
