"""The self-test of detector and colour classifier, on pictures whose verdict is known.

The starter's models are tested on drawn scenes. Those of the official vocabulary are tested on
photographs, put side by side for what needs more than one object; and, because no photograph's
colours are as certain, on plain coloured shapes whose outlines are given.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from uae.data.facts import SceneFacts
from uae.data.geneval import Exclude, Include, Prompt, Task
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.geneval.colors import OUTSIDE
from uae.evaluation.geneval.judging import Evidence, judge_objects
from uae.evaluation.geneval.models import GenevalModels, check_vocabulary
from uae.evaluation.geneval.rules import Detection, judge, keep_objects, mask_box
from uae.evaluation.known_pictures import KnownPicture, known_photographs
from uae.evaluation.pictures import Pixels
from uae.evaluation.self_test import SelfTest

JUDGED = "detector and colour classifier"
COUNTED = ("cat", "person")  # large in their photographs: counting asks for a score above 0.9
SQUARE_SIDE = 384  # the photographs' longest
SHAPE_CLASSES = ("frisbee", "suitcase")  # what a disc and a rectangle may be
SHAPE_SIDE = 224
SHAPE_COLORS = {  # sRGB
    "red": (215, 25, 30),
    "orange": (250, 140, 20),
    "yellow": (250, 225, 30),
    "green": (30, 150, 50),
    "blue": (30, 70, 210),
    "purple": (125, 40, 165),
    "pink": (250, 150, 190),
    "brown": (115, 70, 35),
    "black": (15, 15, 15),
    "white": (248, 248, 248),
}


class Case(NamedTuple):
    """A picture and whether it fulfils a prompt."""

    prompt: Prompt
    picture: Pixels
    expected: bool


def scenes_self_test(models: GenevalModels, pairs: Sequence[tuple[Prompt, SceneFacts]]) -> SelfTest:
    """Compare the verdicts with the true ones: on each prompt's own scene, and on another's.

    The other scene is the next one that, by its facts, does not fulfil the prompt; one that holds
    all its classes, wrong in colour, number or place, where there is any.
    """
    cases: list[Case] = []
    for number, (prompt, own) in enumerate(pairs):
        others = [facts for _, facts in [*pairs[number + 1 :], *pairs[:number]]]
        false = [facts for facts in others if not true_verdict(prompt, facts)]
        near = (facts for facts in false if _classes(prompt) <= {o.name for o in facts.objects})
        wrong = next(near, false[0] if false else None)
        cases.append(Case(prompt, scene_picture(own), True))
        if wrong is not None:
            cases.append(Case(prompt, scene_picture(wrong), False))
    return _test(models, cases)


def true_verdict(prompt: Prompt, facts: SceneFacts) -> bool:
    """Return whether a scene fulfils a prompt, by its facts alone."""
    truth = [Detection(o.name, 1.0, o.box, color=o.color) for o in facts.objects]
    objects = keep_objects(truth, prompt.tag)
    return judge(objects, prompt).correct


def _classes(prompt: Prompt) -> set[str]:
    return {wanted.name for wanted in prompt.include}


def photographs_self_test(models: GenevalModels, tasks: Collection[str]) -> SelfTest:
    """Compare the verdicts with the true ones on photographs and on coloured shapes.

    Args:
        models: Of the official vocabulary.
        tasks: Which groups are tested; "single_object" always is, everything rests on it.
    """
    photographs = [known._replace(picture=_square(known.picture)) for known in known_photographs()]
    makers: dict[Task, Callable[[Sequence[KnownPicture]], Iterator[Case]]] = {
        "single_object": _present_and_absent,
        "two_object": _two_classes,
        "counting": _counts,
        "position": _positions,
    }
    wanted = {"single_object", *tasks}
    cases = [case for task, make in makers.items() if task in wanted for case in make(photographs)]
    test = _test(models, cases)
    colored = [case for case in _colored_shapes() if case.prompt.tag in wanted]
    evidence = judge_objects(
        models.colors,
        [case.picture for case in colored],
        [_shapes() for _ in colored],
        [case.prompt for case in colored],
    )
    return _record(test, colored, evidence)


def _present_and_absent(photographs: Sequence[KnownPicture]) -> Iterator[Case]:
    for known in photographs:
        for name in (*known.classes, *known.absent):
            prompt = Prompt("single_object", name, (Include(name, 1),))
            yield Case(prompt, known.picture, name in known.classes)


def _two_classes(photographs: Sequence[KnownPicture]) -> Iterator[Case]:
    for a, b in itertools.combinations(photographs, 2):
        prompt = Prompt("two_object", "both", (_one(a), _one(b)))
        yield Case(prompt, np.hstack([a.picture, b.picture]), True)
    for known in photographs:
        prompt = Prompt("two_object", "one", (_one(known), Include(known.absent[0], 1)))
        yield Case(prompt, np.hstack([known.picture] * 2), False)


def _counts(photographs: Sequence[KnownPicture]) -> Iterator[Case]:
    for known in photographs:
        name = known.classes[0]
        if name in COUNTED:
            one, two = known.picture, np.hstack([known.picture] * 2)
            for asked, picture, true in ((2, two, True), (3, two, False), (2, one, False)):
                exclude = (Exclude(name, asked + 1),)
                prompt = Prompt("counting", name, (Include(name, asked),), exclude)
                yield Case(prompt, picture, true)


def _positions(photographs: Sequence[KnownPicture]) -> Iterator[Case]:
    for first, second in itertools.combinations(photographs, 2):
        both = [first.picture, second.picture]
        for picture, before, after in (
            (np.hstack(both), "left of", "right of"),
            (np.vstack(both), "above", "below"),
        ):
            for thing, target, true, false in (
                (first, second, before, after),
                (second, first, after, before),
            ):
                for relation in (true, false):
                    placed = Include(thing.classes[0], 1, None, relation, 0)
                    prompt = Prompt("position", relation, (_one(target), placed))
                    yield Case(prompt, picture, relation == true)


def _one(known: KnownPicture) -> Include:
    return Include(known.classes[0], 1)


def _square(photograph: Pixels) -> Pixels:
    """Return a photograph in the middle of a gray square, so that any two fit together."""
    height, width = photograph.shape[:2]
    square = np.full((SQUARE_SIDE, SQUARE_SIDE, 3), OUTSIDE, dtype=np.uint8)
    y, x = (SQUARE_SIDE - height) // 2, (SQUARE_SIDE - width) // 2
    square[y : y + height, x : x + width] = photograph
    return square


def _colored_shapes() -> Iterator[Case]:
    disc, rectangle = SHAPE_CLASSES
    colors = list(SHAPE_COLORS)
    for color, other in zip(colors, colors[1:] + colors[:1], strict=True):
        picture = _shapes_picture(color, other)
        for asked in (color, other):
            prompt = Prompt("colors", asked, (Include(disc, 1, asked),))
            yield Case(prompt, picture, asked == color)
        for one, two in ((color, other), (other, color)):
            include = (Include(disc, 1, one), Include(rectangle, 1, two))
            yield Case(Prompt("color_attr", f"{one} {two}", include), picture, one == color)


def _shapes() -> list[Detection]:
    """Return the outlines of a disc on the left and a rectangle on the right."""
    y, x = np.mgrid[:SHAPE_SIDE, : 2 * SHAPE_SIDE]
    half, reach = SHAPE_SIDE / 2, SHAPE_SIDE * 0.4
    disc = (y - half) ** 2 + (x - half) ** 2 < reach**2
    rectangle = (abs(y - half) < reach * 0.7) & (abs(x - 3 * half) < reach)
    return [
        Detection(name, 1.0, mask_box(mask), mask)
        for name, mask in zip(SHAPE_CLASSES, (disc, rectangle), strict=True)
    ]


def _shapes_picture(disc: str, rectangle: str) -> Pixels:
    picture = np.full((SHAPE_SIDE, 2 * SHAPE_SIDE, 3), 255, dtype=np.uint8)
    for shape, color in zip(_shapes(), (disc, rectangle), strict=True):
        picture[shape.mask] = SHAPE_COLORS[color]
    return picture


def _test(models: GenevalModels, cases: Sequence[Case]) -> SelfTest:
    """Detect once in each picture, pictures of one size together, and apply each prompt."""
    check_vocabulary(models, [case.prompt for case in cases])
    pictures = {id(case.picture): case.picture for case in cases}
    found: dict[int, list[Detection]] = {}
    for size in dict.fromkeys(picture.shape for picture in pictures.values()):
        group = {key: one for key, one in pictures.items() if one.shape == size}
        found |= zip(group, models.detector.detect(list(group.values())), strict=True)
    evidence = judge_objects(
        models.colors,
        [case.picture for case in cases],
        [found[id(case.picture)] for case in cases],
        [case.prompt for case in cases],
    )
    return _record(SelfTest(JUDGED), cases, evidence)


def _record(test: SelfTest, cases: Sequence[Case], evidence: Sequence[Evidence]) -> SelfTest:
    for case, found in zip(cases, evidence, strict=True):
        test.add(case.prompt.tag, expected=case.expected, answered=found.verdict.correct)
    return test
