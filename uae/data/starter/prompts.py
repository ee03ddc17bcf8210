"""GenEval's prompts from known scenes, in the words of the starter captions.

A scene gives a prompt by leaving out all of its facts but the ones that the task asks for.
"""

import itertools
from collections.abc import Callable, Sequence

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.geneval import TASKS, Exclude, Include, Prompt, Task, relative_position
from uae.data.starter.vocabulary import NUMBERS, PLURALS
from uae.errors import EvaluationError


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
                f"{wanted} are needed: add scenes or lower evaluation.geneval.num_prompts"
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
