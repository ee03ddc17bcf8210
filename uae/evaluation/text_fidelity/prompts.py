"""Prompts whose quoted words are to be painted, each with a picture in which the words stand."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from uae.data.facts import SceneFacts
from uae.data.sample import BadRow, parse_json
from uae.data.starter.attributes import quoted_texts
from uae.data.starter.captions import complete_caption
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import load_benchmark_scenes, scene_picture
from uae.evaluation.context import Context
from uae.evaluation.pictures import Pixels
from uae.evaluation.prompt_files import PromptText, read_prompt_file
from uae.evaluation.results import PromptSet
from uae.evaluation.text_fidelity.rendering import can_render, render
from uae.evaluation.text_fidelity.words import fold_words
from uae.fingerprints import json_sha256
from uae.recipe import TextFidelityRecipe


class TextPrompt(NamedTuple):
    """One prompt."""

    prompt_id: str
    text: str
    asked: tuple[str, ...]  # the quoted texts
    known_picture: Callable[[], Pixels] | None  # with these texts; None: no font to draw them
    metadata: Mapping[str, Any]  # the prompt's own row


def load_prompts(
    settings: TextFidelityRecipe, context: Context
) -> tuple[list[TextPrompt], PromptSet]:
    """Make prompts from the scenes that carry a word, or read them from a file.

    Raises:
        EvaluationError: If there are fewer than asked for, or naming each line that is no
            {"prompt"} with a text in double quotes.
    """
    if settings.prompts == "scenes":
        scenes = load_benchmark_scenes(context.data)
        name, source = "scenes", scenes.source
        prompts = [_of_scene(image_id, facts) for image_id, facts in scenes.scenes if facts.word]
    else:
        content = read_prompt_file(settings.prompts, endpoint=context.endpoint)
        name, source = "text-prompts", content.source
        prompts = read_prompts(content)
    wanted = len(prompts) if settings.num_prompts is None else settings.num_prompts
    if wanted > len(prompts) or not prompts:
        raise EvaluationError(
            f"text_fidelity.num_prompts asks for {wanted} prompts with a text, {source} has "
            f"{len(prompts)}: lower the number, or give more"
        )
    chosen = prompts[:wanted]
    asked = [[p.prompt_id, p.text, list(p.asked), dict(p.metadata)] for p in chosen]
    return chosen, PromptSet(name=name, source=source, sha256=json_sha256(asked), count=len(chosen))


def read_prompts(content: PromptText) -> list[TextPrompt]:
    """Read JSON lines; empty ones are skipped.

    Raises:
        EvaluationError: Naming every wrong line.
    """
    prompts: list[TextPrompt] = []
    faults = []
    for number, line in enumerate(content.text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            prompts.append(_of_row(f"{len(prompts):05d}", parse_json(line.encode(), f"{number}")))
        except (BadRow, ValueError) as error:
            faults.append(f"line {number}: {error}")
    if faults:
        raise EvaluationError(
            f"{content.source} has {len(faults)} wrong lines: {'; '.join(faults[:20])}"
        )
    return prompts


def _of_row(prompt_id: str, row: dict[str, Any]) -> TextPrompt:
    text = row.get("prompt")
    if not isinstance(text, str):
        raise ValueError(f"has no text under 'prompt': {row!r:.200}")
    asked = tuple(quoted_texts(text))
    if not asked or not all(fold_words([quoted]) for quoted in asked):
        raise ValueError(f"every prompt needs words in double quotes: {text!r:.200}")
    known = partial(render, asked) if can_render(asked) else None
    return TextPrompt(prompt_id, text, asked, known, row)


def _of_scene(image_id: str, facts: SceneFacts) -> TextPrompt:
    return TextPrompt(
        image_id,
        complete_caption(facts),
        (facts.word or "",),
        partial(scene_picture, facts),
        facts.to_json(),
    )
