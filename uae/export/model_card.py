"""The model card: README.md of an exported model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from uae.export.gate import Decision
from uae.export.scores import TaskScores, UnifiedBenchScores

if TYPE_CHECKING:
    from uae.export.export_model import Lineage

HEADER_END = "\n---\n\n"
CONDITION_SOURCES = {
    "reencode_text": "The caption is decoded to text and read again without the picture: nothing "
    "but language passes from encoder to decoder.",
    "in_context": "The decoder reads hidden states of caption tokens that have seen the picture: "
    "more than language passes from encoder to decoder.",
}


def render_card(
    *,
    lineage: Lineage,
    bundle: Mapping[str, Any],
    scores: UnifiedBenchScores,
    tasks: Mapping[str, TaskScores],
    decision: Decision,
) -> str:
    """Return the card as Markdown with a YAML header.

    Args:
        lineage: Where the model comes from.
        bundle: The content of model.json.
        scores: Its Unified-Bench result.
        tasks: Other benchmarks by name.
        decision: What the gate said.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown needs no entities for quotes,
        finalize=_without_tags,  # but shows HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("model_card.md.j2").render(
        lineage=lineage,
        bundle=bundle,
        scores=scores,
        tasks=tasks,
        decision=decision,
        condition_source=CONDITION_SOURCES[bundle["condition_source"]],
    )


def card_body(card: str) -> str:
    """Return a card without its YAML header, which only a hub understands."""
    return card.partition(HEADER_END)[2]


def _without_tags(value: object) -> object:
    return value.replace("<", "&lt;") if isinstance(value, str) else value
