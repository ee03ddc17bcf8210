"""DPG-Bench's prompt file (official columns), and the same question graphs from known scenes."""

import csv
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from uae.data.facts import SceneFacts
from uae.data.starter.captions import complete_caption
from uae.errors import EvaluationError
from uae.evaluation.claims import Claim, true_claims
from uae.evaluation.dpg_bench.rules import NO_PARENT, Item, Question, level_1

COLUMNS = (
    "item_id",
    "text",
    "keywords",
    "proposition_id",
    "dependency",
    "category_broad",
    "category_detailed",
    "tuple",
    "question_natural_language",
)


def read_items(path: Path) -> list[Item]:
    """Read a prompt file with DPG-Bench's columns; an item's rows stand together.

    Raises:
        EvaluationError: If the file is missing, empty or lacks a column; or naming the line with a
            bad number, or the item with a duplicated id or a dangling or cyclic dependency.
    """
    if not path.is_file():
        raise EvaluationError(f"no DPG-Bench prompt file {path}")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise EvaluationError(f"{path} lacks the columns {missing}")
        rows = [(row, _question(row, f"{path}:{reader.line_num}")) for row in reader]
    items = [
        Item(item_id, part[0][0]["text"], tuple(question for _, question in part))
        for item_id, group in itertools.groupby(rows, key=lambda pair: pair[0]["item_id"])
        for part in [list(group)]
    ]
    check_items(items, source=str(path))
    return items


def write_items(items: Iterable[Item], path: Path) -> None:
    """Write items in the official columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for item in items:
            for question in item.questions:
                dependency = ",".join(map(str, question.parents or (NO_PARENT,)))
                values = (
                    item.item_id,
                    item.text,
                    "",
                    question.number,
                    dependency,
                    level_1(question.category),
                    question.category,
                    question.label,
                    question.text,
                )
                writer.writerow(dict(zip(COLUMNS, values, strict=True)))


def scene_items(scenes: Sequence[tuple[str, SceneFacts]], num_items: int) -> list[Item]:
    """Make items from (id, facts): the complete caption is the prompt, every fact is a question.

    Raises:
        EvaluationError: If there are too few scenes.
    """
    if len(scenes) < num_items:
        raise EvaluationError(
            f"{num_items} DPG-Bench prompts need as many benchmark scenes, there are "
            f"{len(scenes)}: add scenes or lower evaluation.dpg_bench.num_prompts"
        )
    return [
        Item(scene_id, complete_caption(facts), _graph(true_claims(facts)))
        for scene_id, facts in scenes[:num_items]
    ]


def check_items(items: Sequence[Item], *, source: str) -> None:
    """Refuse items that cannot be scored.

    Raises:
        EvaluationError: If there is none; or naming an item that appears twice, repeats a
            question's number, or has a dangling or cyclic dependency.
    """
    if not items:
        raise EvaluationError(f"{source} holds no DPG-Bench prompt")
    seen: set[str] = set()
    for item in items:
        if item.item_id in seen:
            raise EvaluationError(f"{source}: item {item.item_id!r} appears twice")
        seen.add(item.item_id)
        parents = {question.number: question.parents for question in item.questions}
        if len(parents) < len(item.questions):
            raise EvaluationError(f"{source}: item {item.item_id!r} repeats a proposition_id")
        _check_graph(parents, f"{source}: item {item.item_id!r}")


def _check_graph(parents: dict[int, tuple[int, ...]], where: str) -> None:
    left = dict(parents)
    dangling = {p for group in parents.values() for p in group} - parents.keys()
    if dangling:
        raise EvaluationError(f"{where} depends on questions that do not exist: {sorted(dangling)}")
    while left:
        free = [number for number, group in left.items() if not set(group) & left.keys()]
        if not free:
            raise EvaluationError(f"{where} has a cyclic dependency among {sorted(left)}")
        for number in free:
            del left[number]


def _question(row: dict[str, str], where: str) -> Question:
    try:
        number = int(row["proposition_id"])
        parents = tuple(int(part) for part in row["dependency"].split(","))
    except (ValueError, AttributeError) as error:
        raise EvaluationError(f"{where}: bad proposition_id or dependency: {error}") from error
    real = tuple(parent for parent in parents if parent != NO_PARENT)
    return Question(number, row["question_natural_language"], row["tuple"], real)


def _graph(claims: Sequence[Claim]) -> tuple[Question, ...]:
    number_of = {claim: number for number, claim in enumerate(claims, start=1)}
    questions = []
    for claim, number in number_of.items():
        parents = (number_of[Claim("entity", claim.name)],) if claim.name else ()
        questions.append(Question(number, claim.question, claim.label, parents))
    return tuple(questions)
