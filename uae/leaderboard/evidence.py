"""What a sample's verdict rests on, in the form in which the page's scripts draw it.

Known keys of a sample's evidence become boxes, questions, words, verdicts; whatever else a
benchmark left, or left in another form, is shown as text. Nothing is dropped without a word.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from uae.evaluation.results import Sample
from uae.leaderboard.nested import as_text

Box = tuple[float, float, float, float]


AnyText = Annotated[str, BeforeValidator(as_text)]


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class DetectedObject(_Read):
    """An object on the generated picture, its box in that picture's pixels."""

    name: AnyText = Field(alias="class")
    score: float | None = None
    box: Box
    color: str | None = None


class Question(_Read):
    """A yes/no question with one probability and one answer for each picture or crop."""

    number: int
    question: AnyText
    tuple: AnyText = ""
    expected: AnyText = ""  # "" where "yes" is what the prompt asks for
    parents: list[int] = []
    p_yes: list[float | None] = []
    answers: list[bool | None] = []


class Verdict(_Read):
    """One judge's choice between two captions."""

    judge: AnyText = ""
    order: AnyText = ""
    reply: AnyText = ""
    choice: AnyText = ""  # "" where there is no verdict
    failure: AnyText = ""


class Words(_Read):
    """Words that should be in the picture, and those that were read there."""

    asked: list[AnyText]
    read: list[AnyText]


class Evidence(_Read):
    """Everything of a sample that is only shown when it is opened."""

    caption: AnyText = ""
    objects: list[DetectedObject] = []
    questions: list[Question] = []
    verdicts: list[Verdict] = []
    words: Words | None = None
    reply: str = ""
    scores: list[tuple[str, str]] = []
    facts: list[tuple[str, str]] = []


_FORMS: dict[str, TypeAdapter[Any]] = {
    "objects": TypeAdapter(list[DetectedObject]),
    "questions": TypeAdapter(list[Question]),
    "verdicts": TypeAdapter(list[Verdict]),
    "words": TypeAdapter(Words),
    "reply": TypeAdapter(AnyText),
}


def read_evidence(sample: Sample) -> Evidence:
    """Sort a sample's evidence into what can be drawn and what is shown as text."""
    drawn: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    facts: list[tuple[str, Any]] = list((sample.model_extra or {}).items())
    for key, value in sample.evidence.items():
        form = _FORMS.get(key)
        if value is None or value in ([], {}, ""):
            continue
        if form is not None:
            try:
                drawn[key] = form.validate_python(value)
            except ValidationError:
                facts.append((key, value))
        elif key == "scores" and isinstance(value, Mapping):
            scores |= value
        elif isinstance(value, Mapping):  # "facts", the prompt's own "metadata"
            facts += value.items()
        else:
            facts.append((key, value))
    return Evidence.model_construct(
        caption=as_text(sample.caption),
        scores=[(str(name), as_text(value)) for name, value in scores.items()],
        facts=[(str(name), as_text(value)) for name, value in facts],
        **drawn,
    )
