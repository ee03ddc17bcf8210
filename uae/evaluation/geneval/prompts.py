"""GenEval's prompts: the official file, rewritten texts for it, or made from known scenes.

The official file is JSON lines: {"tag", "include": [{"class", "count", "color"?, "position"?}],
"exclude"?: [{"class", "count"}], "prompt"}. A row must ask for what its tag says, as every row of
the published generator (prompts/create_prompts.py in github.com/djghosh13/geneval) does.
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from uae.data.facts import SceneFacts
from uae.data.geneval import RELATIONS, TASKS, Exclude, Include, Prompt
from uae.data.starter.prompts import scene_prompts
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import load_benchmark_scenes
from uae.evaluation.context import Context
from uae.evaluation.geneval.vocabulary import VOCABULARIES, Vocabulary
from uae.evaluation.json_lines import parse_object, read_json_lines
from uae.evaluation.prompt_files import PromptText, read_prompt_file
from uae.evaluation.results import PromptSet
from uae.fingerprints import json_sha256
from uae.recipe import GenevalRecipe


class Demands(NamedTuple):
    """What a row must ask for, given its tag."""

    objects: int  # entries of include, at least
    color: bool = False  # of each object
    position: bool = False  # of the last object
    exclude: bool = False  # one object more of each class


DEMANDS: dict[str, Demands] = {
    "single_object": Demands(1),
    "two_object": Demands(2),
    "counting": Demands(1, exclude=True),
    "colors": Demands(1, color=True),
    "position": Demands(2, position=True),
    "color_attr": Demands(2, color=True),
}


@dataclass(frozen=True)
class GenevalPrompts:
    """What is asked of a system."""

    prompts: tuple[Prompt, ...]
    texts: tuple[str, ...]  # that are painted: the prompts' own, or rewritten ones
    scenes: tuple[SceneFacts, ...]  # that the prompts were made from, one for each; else empty
    described: PromptSet


def load_prompts(settings: GenevalRecipe, context: Context) -> GenevalPrompts:
    """Read or make the prompts, and check them wholly.

    Raises:
        EvaluationError: If a file cannot be read or used, naming the line; if there are fewer
            prompts than asked for; or if settings do not go together.
    """
    if settings.prompts == "scenes":
        return _from_scenes(settings, context)
    file = read_prompt_file(settings.prompts, endpoint=context.endpoint)
    rewritten = None
    if settings.rewritten is not None:
        rewritten = read_prompt_file(settings.rewritten, endpoint=context.endpoint)
    return of_files(settings, file, rewritten)


def of_files(
    settings: GenevalRecipe, file: PromptText, rewritten: PromptText | None
) -> GenevalPrompts:
    """Read the prompts that `settings` choose from what their files hold.

    Raises:
        EvaluationError: If a file cannot be used, naming the line; or if it holds fewer prompts
            than asked for.
    """
    prompts = parse_prompts(file, VOCABULARIES[settings.vocabulary])
    texts, name, source = [prompt.text for prompt in prompts], "geneval", file.source
    if rewritten is not None:
        texts = parse_texts(rewritten, prompts)
        name, source = "geneval-rewritten", rewritten.source
    count = settings.num_prompts or len(prompts)
    if count > len(prompts):
        raise EvaluationError(
            f"num_prompts is {count}, but {file.source} holds {len(prompts)} prompts"
        )
    return _described(prompts[:count], texts[:count], name=name, source=source)


def check_scene_settings(settings: GenevalRecipe) -> None:
    """Refuse what cannot go with prompts made from scenes.

    Raises:
        EvaluationError: If the vocabulary is another than the starter's, or texts are rewritten.
    """
    if settings.vocabulary != "starter" or settings.rewritten:
        raise EvaluationError(
            f'prompts "scenes" are in the starter\'s words and are not rewritten: vocabulary is '
            f"{settings.vocabulary!r}, rewritten {settings.rewritten!r}"
        )


def _from_scenes(settings: GenevalRecipe, context: Context) -> GenevalPrompts:
    check_scene_settings(settings)
    assert settings.num_prompts is not None  # the recipe counts scenes
    benchmark = load_benchmark_scenes(context.data)
    pairs = scene_prompts([facts for _, facts in benchmark.scenes], settings.num_prompts)
    prompts, scenes = [prompt for prompt, _ in pairs], [facts for _, facts in pairs]
    texts = [prompt.text for prompt in prompts]
    return _described(prompts, texts, name="scenes", source=benchmark.source, scenes=scenes)


def _described(
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    *,
    name: str,
    source: str,
    scenes: Sequence[SceneFacts] = (),
) -> GenevalPrompts:
    rows = [
        prompt.to_json() | ({} if text == prompt.text else {"rewritten": text})
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    described = PromptSet(name=name, source=source, sha256=json_sha256(rows), count=len(rows))
    return GenevalPrompts(tuple(prompts), tuple(texts), tuple(scenes), described)


def parse_prompts(file: PromptText, vocabulary: Vocabulary) -> list[Prompt]:
    """Read a prompt file in the official format.

    Raises:
        EvaluationError: Naming the line whose JSON, keys, tag, class, colour, count or relation is
            wrong, which does not ask for what its tag says, or which repeats an earlier line.
    """
    parse = partial(parse_prompt, vocabulary=vocabulary)
    return read_json_lines(file.text, parse, source=file.source, what="a GenEval prompt")


def parse_texts(file: PromptText, prompts: Sequence[Prompt]) -> list[str]:
    """Read other texts for the same prompts, one in a line: JSON lines {"prompt"}, or plain.

    Further keys of a JSON line that a prompt's row has too must be those of its prompt.

    Raises:
        EvaluationError: Naming the line that is empty, no such row or of another prompt; or if
            there are not as many texts as prompts.
    """
    lines = file.text.rstrip().split("\n")
    if len(lines) != len(prompts):
        raise EvaluationError(
            f"{file.source} holds {len(lines)} lines for {len(prompts)} prompts: give one text for "
            f"each prompt, in their order"
        )
    in_json = lines[0].lstrip().startswith("{")
    texts = []
    for number, (line, prompt) in enumerate(zip(lines, prompts, strict=True), start=1):
        try:
            text = _json_text(line, prompt) if in_json else line.strip()
            _check_text(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(
                f"{file.source}:{number}: no text for {prompt.text!r}: {error!r}"
            ) from error
        texts.append(text)
    return texts


def _json_text(line: str, prompt: Prompt) -> str:
    row = parse_object(line)
    known = prompt.to_json()
    for key in ("tag", "include", "exclude"):
        if key in row and row[key] != known.get(key):
            raise ValueError(f"{key} is another prompt's: {row[key]!r}")
    text: str = row["prompt"]
    return text


def parse_prompt(row: dict[str, Any], vocabulary: Vocabulary) -> Prompt:
    """Check one row of the official format.

    Raises:
        ValueError: For a key, tag, class, colour, count or relation that does not exist, or for
            what the tag demands and the row does not ask for.
        KeyError: For a missing key.
    """
    _check_keys(row, "tag", "include", "exclude", "prompt")
    _check("tag", row["tag"], TASKS)
    include: list[Include] = []
    for wanted in row["include"]:
        _check_keys(wanted, "class", "count", "color", "position")
        name, count = _class_and_count(wanted, vocabulary)
        if "color" in wanted:
            _check("color", wanted["color"], vocabulary.colors)
        relation, target = _position(wanted, len(include))
        include.append(Include(name, count, wanted.get("color"), relation, target))
    if not include:
        raise ValueError("include is empty")
    exclude = tuple(
        Exclude(*_class_and_count(_check_keys(unwanted, "class", "count"), vocabulary))
        for unwanted in row.get("exclude", ())
    )
    _check_text(row["prompt"])
    prompt = Prompt(row["tag"], row["prompt"], tuple(include), exclude)
    _check_demands(prompt)
    return prompt


def _position(wanted: dict[str, Any], num_before: int) -> tuple[str | None, int | None]:
    """Return the relation and the earlier entry that it refers to, if the row names any."""
    if "position" not in wanted:
        return None, None
    relation, target = wanted["position"]
    _check("relation", relation, RELATIONS)
    if type(target) is not int or not 0 <= target < num_before:
        raise ValueError(
            f"unknown position target {target!r}; known: the {num_before} entries before it"
        )
    return relation, target


def _check_demands(prompt: Prompt) -> None:
    demands, include = DEMANDS[prompt.tag], prompt.include
    tag = f"a prompt of {prompt.tag}"
    if len(include) < demands.objects:
        raise ValueError(f"{tag} includes {demands.objects} objects, got {len(include)}")
    if demands.color and any(wanted.color is None for wanted in include):
        raise ValueError(f"{tag} names the color of each object")
    if demands.position and include[-1].relation is None:
        raise ValueError(f"{tag} names the position of its last object")
    limits: dict[str, int] = {}
    for unwanted in prompt.exclude:
        limits[unwanted.name] = min(unwanted.count, limits.get(unwanted.name, unwanted.count))
    for wanted in include:
        if demands.exclude and wanted.name not in limits:
            raise ValueError(f"{tag} excludes more of {wanted.name!r} than it includes")
        if limits.get(wanted.name, wanted.count + 1) <= wanted.count:
            raise ValueError(
                f"{wanted.count} of {wanted.name!r} are included, "
                f"{limits[wanted.name]} excluded: no picture can be right"
            )


def _check_text(text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"prompt must be a text, got {text!r}")


def _class_and_count(row: dict[str, Any], vocabulary: Vocabulary) -> tuple[str, int]:
    _check("class", row["class"], vocabulary.classes)
    count = row["count"]
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"count must be a positive integer, got {count!r}")
    return row["class"], count


def _check_keys(row: dict[str, Any], *known: str) -> dict[str, Any]:
    """Refuse what would be passed over: a rule under a misspelt key would never be applied."""
    unknown = sorted(row.keys() - set(known))
    if unknown:
        raise ValueError(f"unknown keys {unknown}; known: {', '.join(known)}")
    return row


def _check(what: str, value: object, allowed: Collection[object]) -> None:
    if value not in allowed:
        known = ", ".join(map(str, itertools.islice(allowed, 100)))
        raise ValueError(f"unknown {what} {value!r}; known: {known}")
