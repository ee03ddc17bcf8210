"""Prompts whose quoted words are to be painted, each with a picture in which the words stand."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from uae.data.facts import SceneFacts
from uae.data.starter.attributes import quoted_texts
from uae.data.starter.captions import complete_caption
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import load_benchmark_scenes, scene_picture
from uae.evaluation.context import Context
from uae.evaluation.json_lines import read_json_lines
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
        EvaluationError: Naming the wrong lines, and those whose text stands in an earlier line.
    """
    prompts = read_json_lines(
        content.text,
        _of_row,
        source=content.source,
        what="a prompt with a quoted text",
        same=lambda prompt: prompt.text,
    )
    return [prompt._replace(prompt_id=f"{n:05d}") for n, prompt in enumerate(prompts)]


def _of_row(row: dict[str, Any]) -> TextPrompt:
    text = row.get("prompt")
    if not isinstance(text, str):
        raise ValueError(f"has no text under 'prompt': {row!r:.200}")
    asked = tuple(quoted_texts(text))
    if not asked or not all(fold_words([quoted]) for quoted in asked):
        raise ValueError(f"every prompt needs words in double quotes: {text!r:.200}")
    known = partial(render, asked) if can_render(asked) else None
    return TextPrompt("", text, asked, known, row)


def _of_scene(image_id: str, facts: SceneFacts) -> TextPrompt:
    return TextPrompt(
        image_id,
        complete_caption(facts),
        (facts.word or "",),
        partial(scene_picture, facts),
        facts.to_json(),
    )
