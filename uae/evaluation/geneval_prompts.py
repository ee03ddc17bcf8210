"""GenEval's prompt files, and prompts of the same six tasks made from known scenes.

The official file is JSON lines: {"tag", "include": [{"class", "count", "color"?, "position"?}],
"exclude"?: [{"class", "count"}], "prompt"}. A benchmark scene gives a prompt by leaving out all of
its facts but the ones that the task asks for.
"""

import itertools
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.vocabulary import NUMBERS, PLURALS
from uae.errors import EvaluationError
from uae.evaluation.geneval_rules import (
    RELATIONS,
    TASKS,
    Exclude,
    Include,
    Prompt,
    Task,
    relative_position,
)


def read_prompts(path: Path, *, classes: Collection[str], colors: Collection[str]) -> list[Prompt]:
    """Read a prompt file in the official format.

    Raises:
        EvaluationError: If the file is missing or empty; or naming the line whose JSON, tag, class,
            colour, count or relation is wrong, or which repeats an earlier line.
    """
    if not path.is_file():
        raise EvaluationError(f"no GenEval prompt file {path}")
    prompts: dict[Prompt, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            prompt = parse_prompt(json.loads(line), classes=classes, colors=colors)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(f"{path}:{number}: not a GenEval prompt: {error!r}") from error
        if prompt in prompts:
            raise EvaluationError(f"{path}:{number}: repeats line {prompts[prompt]}")
        prompts[prompt] = number
    if not prompts:
        raise EvaluationError(f"{path} holds no prompt")
    return list(prompts)


def parse_prompt(
    row: dict[str, Any], *, classes: Collection[str], colors: Collection[str]
) -> Prompt:
    """Check one row of the official format.

    Raises:
        ValueError: For a tag, class, colour, count or relation that does not exist.
        KeyError: For a missing key.
    """
    _check("tag", row["tag"], TASKS)
    include: list[Include] = []
    for wanted in row["include"]:
        name, count = _class_and_count(wanted, classes)
        color = wanted.get("color")
        if color is not None:
            _check("color", color, colors)
        relation, target = wanted.get("position", (None, None))
        if relation is not None:
            _check("relation", relation, RELATIONS)
            _check("position target", target, range(len(include)))
        include.append(Include(name, count, color, relation, target))
    if not include:
        raise ValueError("include is empty")
    exclude = tuple(Exclude(*_class_and_count(e, classes)) for e in row.get("exclude", ()))
    return Prompt(row["tag"], str(row["prompt"]), tuple(include), exclude)


def _class_and_count(row: dict[str, Any], classes: Collection[str]) -> tuple[str, int]:
    _check("class", row["class"], classes)
    count = row["count"]
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be a positive integer, got {count!r}")
    return row["class"], count


def _check(what: str, value: object, allowed: Collection[object]) -> None:
    if value not in allowed:
        known = ", ".join(map(str, itertools.islice(allowed, 100)))
        raise ValueError(f"unknown {what} {value!r}; known: {known}")


def scene_prompts(
    scenes: Sequence[SceneFacts], num_prompts: int
) -> list[tuple[Prompt, SceneFacts]]:
    """Make prompts from scenes, spread evenly over the six tasks, each beside its scene.

    Scenes are used in order, each once for a task at most; no two prompts are equal. Where
    num_prompts is no multiple of six, the first tasks get one prompt more.

    Raises:
        EvaluationError: If the scenes do not give enough different prompts, naming the task.
    """
    prompts: list[tuple[Prompt, SceneFacts]] = []
    for index, task in enumerate(TASKS):
        wanted = (num_prompts + len(TASKS) - 1 - index) // len(TASKS)
        made: dict[Prompt, SceneFacts] = {}
        for number, facts in enumerate(scenes):
            if choices := _MAKERS[task](facts):
                made.setdefault(choices[number % len(choices)], facts)
        if len(made) < wanted:
            raise EvaluationError(
                f"{len(scenes)} benchmark scenes give {len(made)} prompts for {task}, "
                f"{wanted} are needed: add scenes or lower evaluation.geneval_prompts"
            )
        prompts.extend(list(made.items())[:wanted])
    return prompts


def _single_object(facts: SceneFacts) -> list[Prompt]:
    return [
        Prompt("single_object", phrase(name=thing.name), (Include(thing.name, 1),))
        for thing in facts.objects
    ]


def _two_object(facts: SceneFacts) -> list[Prompt]:
    return [
        Prompt(
            "two_object",
            f"{phrase(name=a.name)}, {phrase(name=b.name)}",
            (Include(a.name, 1), Include(b.name, 1)),
        )
        for a, b in _different_pairs(facts)
    ]


def _counting(facts: SceneFacts) -> list[Prompt]:
    prompts = []
    for name in dict.fromkeys(thing.name for thing in facts.objects):
        count = sum(thing.name == name for thing in facts.objects)
        if count in NUMBERS:
            text = f"{NUMBERS[count]} {PLURALS[name]}"
            exclude = (Exclude(name, count + 1),)
            prompts.append(Prompt("counting", text, (Include(name, count),), exclude))
    return prompts


def _colors(facts: SceneFacts) -> list[Prompt]:
    return [
        Prompt(
            "colors",
            phrase(color=thing.color, name=thing.name),
            (Include(thing.name, 1, thing.color),),
        )
        for thing in facts.objects
        if _alone(thing, facts)
    ]


def _position(facts: SceneFacts) -> list[Prompt]:
    prompts = []
    for target, thing in _different_pairs(facts):
        relations = relative_position(thing.box, target.box)
        if len(relations) == 1:  # "above" and "right of" at once is two claims
            (relation,) = relations
            text = ", ".join(phrase(name=o.name, place=o.place) for o in (target, thing))
            include = (Include(target.name, 1), Include(thing.name, 1, None, relation, 0))
            prompts.append(Prompt("position", text, include))
    return prompts


def _color_attr(facts: SceneFacts) -> list[Prompt]:
    return [
        Prompt(
            "color_attr",
            ", ".join(phrase(color=o.color, name=o.name) for o in (a, b)),
            (Include(a.name, 1, a.color), Include(b.name, 1, b.color)),
        )
        for a, b in _different_pairs(facts)
        if a.color != b.color
    ]


_MAKERS: dict[Task, Callable[[SceneFacts], list[Prompt]]] = {
    "single_object": _single_object,
    "two_object": _two_object,
    "counting": _counting,
    "colors": _colors,
    "position": _position,
    "color_attr": _color_attr,
}


def phrase(*, name: str, color: str | None = None, place: str | None = None) -> str:
    """Return an object in the words of the starter captions: "a red cat at the top left"."""
    noun = f"{color} {name}" if color else name
    article = "an" if noun[0] in "aeiou" else "a"
    if place is None:
        return f"{article} {noun}"
    return f"{article} {noun} {'in the center' if place == 'center' else f'at the {place}'}"


def _different_pairs(facts: SceneFacts) -> list[tuple[ObjectFact, ObjectFact]]:
    """Return pairs of objects whose classes stand once in the scene: no doubt which is meant."""
    alone = [thing for thing in facts.objects if _alone(thing, facts)]
    return list(itertools.permutations(alone, 2))


def _alone(thing: ObjectFact, facts: SceneFacts) -> bool:
    return sum(other.name == thing.name for other in facts.objects) == 1
