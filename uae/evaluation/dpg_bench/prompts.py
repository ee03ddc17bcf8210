"""DPG-Bench's prompt file (official columns), and the same question graphs from known scenes.

The published reader keeps one dictionary for each item and skips the file's first row. Under
"official" a file is read as it does: where an item's rows stand in several places only the last
place counts, a proposition_id that stands twice keeps its first place with its last content, and
dependencies may name what is not there. Under "fixed" such a file is refused, every fault by name.
"""

import csv
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from uae.data.facts import SceneFacts
from uae.data.starter.captions import complete_caption
from uae.errors import EvaluationError
from uae.evaluation.claims import Claim, true_claims
from uae.evaluation.dpg_bench.rules import NO_PARENT, Item, Protocol, Question, level_1, level_2
from uae.fingerprints import json_sha256

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
_FILLED = ("item_id", "text", "tuple", "question_natural_language")
_MAX_SHOWN = 20
_MAX_ID_BYTES = 200  # a file's name has 255 at most, with its suffixes


class Row(NamedTuple):
    """One question as it stands in the file."""

    item_id: str
    text: str
    question: Question


def read_rows(text: str, *, source: str) -> list[Row]:
    """Read a prompt file with DPG-Bench's columns.

    Args:
        text: Content of the file.
        source: Its name, for errors.

    Raises:
        EvaluationError: If a column is missing or stands twice, or there is no row; or naming the
            line with too few or too many cells, an empty cell, a bad number, or an item_id that
            cannot be the name of a picture; or two item_ids that differ only by case.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        names = list(reader.fieldnames or ())
        odd = [name for name in COLUMNS if names.count(name) != 1]
        if odd:
            raise EvaluationError(f"{source} must have each of these columns once: {odd}")
        rows = [_row(cells, f"{source}:{reader.line_num}") for cells in reader]
    except csv.Error as error:
        raise EvaluationError(f"{source}: not CSV after line {reader.line_num}: {error}") from error
    if not rows:
        raise EvaluationError(f"{source} holds no DPG-Bench prompt")
    _check_case(rows, source)
    return rows


def scene_rows(scenes: Sequence[tuple[str, SceneFacts]], num_items: int) -> list[Row]:
    """Make rows from (id, facts): the complete caption is the prompt, every fact is a question.

    Raises:
        EvaluationError: If there are too few scenes.
    """
    if len(scenes) < num_items:
        raise EvaluationError(
            f"{num_items} DPG-Bench prompts need as many benchmark scenes, there are "
            f"{len(scenes)}: add scenes or lower dpg_bench.num_prompts"
        )
    return [
        Row(scene_id, complete_caption(facts), question)
        for scene_id, facts in scenes[:num_items]
        for question in _graph(true_claims(facts))
    ]


def items_of(rows: Sequence[Row], protocol: Protocol, *, source: str) -> list[Item]:
    """Group rows into items, in the order in which they first appear.

    Raises:
        EvaluationError: Under "fixed", naming every item whose rows stand in several places, have
            several texts, a proposition_id below 1 or a repeated one, or a dangling or cyclic
            dependency.
    """
    if protocol == "official":
        return _items_as_published(rows)
    faults = list(_faults(rows))
    if faults:
        shown = "; ".join(faults[:_MAX_SHOWN]) + (" ..." if len(faults) > _MAX_SHOWN else "")
        raise EvaluationError(
            f"{source}: {len(faults)} faults: {shown}. Mend the file, or use the protocol "
            f'"official", which treats them as the published script does'
        )
    return [
        Item(item_id, part[0].text, tuple(row.question for row in part))
        for item_id, part in _runs(rows)
    ]


def first_items(items: Sequence[Item], num_prompts: int | None, *, source: str) -> list[Item]:
    """Return the items that are asked for: the first ones, or all where `num_prompts` is None.

    Raises:
        EvaluationError: If there are fewer.
    """
    if num_prompts is not None and num_prompts > len(items):
        raise EvaluationError(
            f"dpg_bench.num_prompts is {num_prompts}, but {source} holds {len(items)} prompts: "
            f"give at most as many, or null for all"
        )
    return list(items[:num_prompts])


def rows_sha256(rows: Sequence[Row], items: Sequence[Item]) -> str:
    """Return the hash of these items' rows; the same whatever the protocol makes of them."""
    used = {item.item_id for item in items}
    return json_sha256([_cells(row) for row in rows if row.item_id in used])


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows in the official columns, so that the published script can be run on them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(_cells(row) for row in rows)
    os.replace(partial, path)


def _row(cells: dict[Any, Any], where: str) -> Row:
    if None in cells or None in cells.values():
        raise EvaluationError(f"{where}: the row has not as many cells as there are columns")
    empty = [name for name in _FILLED if not cells[name].strip()]
    if empty:
        raise EvaluationError(f"{where}: {empty} must not be empty")
    item_id = cells["item_id"]
    if not _is_file_name(item_id):
        raise EvaluationError(f"{where}: item_id {item_id!r} cannot be the name of a picture")
    try:
        number = int(cells["proposition_id"])
        parents = tuple(int(part) for part in cells["dependency"].split(","))
    except ValueError as error:
        raise EvaluationError(f"{where}: bad proposition_id or dependency: {error}") from error
    real = tuple(parent for parent in parents if parent != NO_PARENT)
    question = Question(number, cells["question_natural_language"], cells["tuple"], real)
    return Row(item_id, cells["text"], question)


def _is_file_name(item_id: str) -> bool:
    plain = item_id.isprintable() and not any(sign in item_id for sign in "/\\")
    return plain and not item_id.startswith(".") and len(item_id.encode()) <= _MAX_ID_BYTES


def _check_case(rows: Sequence[Row], source: str) -> None:
    """Refuse ids whose pictures would be one file where file names have no case."""
    seen: dict[str, str] = {}
    for row in rows:
        first = seen.setdefault(row.item_id.casefold(), row.item_id)
        if first != row.item_id:
            raise EvaluationError(
                f"{source}: the items {first!r} and {row.item_id!r} differ only by case, so that "
                f"their pictures may be one file: rename one of them"
            )


def _cells(row: Row) -> dict[str, str | int]:
    question = row.question
    category = level_2(question.label)
    values: tuple[str | int, ...] = (
        row.item_id,
        row.text,
        "",
        question.number,
        ",".join(map(str, question.parents or (NO_PARENT,))),
        level_1(category),
        category.partition("-")[2].strip(),
        question.label,
        question.text,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _runs(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    grouped = itertools.groupby(rows, key=lambda row: row.item_id)
    return [(item_id, list(group)) for item_id, group in grouped]


def _items_as_published(rows: Sequence[Row]) -> list[Item]:
    texts: dict[str, str] = {}
    for row in rows:
        texts.setdefault(row.item_id, row.text)
    questions: dict[str, dict[int, Question]] = {item_id: {} for item_id in texts}
    for item_id, part in _runs(rows[1:]):
        questions[item_id] = {row.question.number: row.question for row in part}
    return [
        Item(item_id, text, tuple(questions[item_id].values())) for item_id, text in texts.items()
    ]


def _faults(rows: Sequence[Row]) -> Iterator[str]:
    seen: set[str] = set()
    for item_id, part in _runs(rows):
        where = f"item {item_id!r}"
        if item_id in seen:
            yield f"{where} appears twice: its rows stand in several places"
            continue
        seen.add(item_id)
        if len({row.text for row in part}) > 1:
            yield f"{where} has several texts"
        numbers = [row.question.number for row in part]
        if low := [number for number in numbers if number < 1]:
            yield f"{where} has the proposition_id {low}: give numbers from 1, {NO_PARENT} is none"
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            yield f"{where} repeats the proposition_id {twice}"
            continue
        yield from _graph_faults({row.question.number: row.question.parents for row in part}, where)


def _graph_faults(parents: dict[int, tuple[int, ...]], where: str) -> Iterator[str]:
    dangling = {p for group in parents.values() for p in group} - parents.keys()
    if dangling:
        yield f"{where} depends on questions that do not exist: {sorted(dangling)}"
    left = dict(parents)
    while left:
        free = [number for number, group in left.items() if not set(group) & left.keys()]
        if not free:
            yield f"{where} has a cyclic dependency among {sorted(left)}"
            return
        for number in free:
            del left[number]


def _graph(claims: Sequence[Claim]) -> tuple[Question, ...]:
    number_of = {claim: number for number, claim in enumerate(claims, start=1)}
    questions = []
    for claim, number in number_of.items():
        parents = (number_of[Claim("entity", claim.name)],) if claim.name else ()
        questions.append(Question(number, claim.question, claim.label, parents))
    return tuple(questions)
