"""GenEval 2's prompt file.

JSON lines {"prompt", "atom_count", "vqa_list": [[question, right answer], ...], "skills": [one for
each question]}; the published file (github.com/facebookresearch/GenEval2, geneval2_data.jsonl,
CC BY-NC 4.0, not shipped here) holds 800, with 3 to 10 atoms. Questions that begin with "How many"
have a number word as their answer, all others "Yes": nothing else is known to the published script.
"""

from dataclasses import dataclass
from typing import Any

from uae.errors import EvaluationError
from uae.evaluation.json_lines import read_json_lines

SKILLS = ("object", "attribute", "count", "position", "verb")
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=1
    )
}
COUNTING = "How many"
KEYS = {"prompt", "atom_count", "vqa_list", "skills"}


@dataclass(frozen=True)
class Atom:
    """A question about the picture with its right answer."""

    question: str
    answer: str
    skill: str


@dataclass(frozen=True)
class Prompt:
    """A text to paint and what is asked about the picture."""

    text: str
    atom_count: int  # how compositional it is; "a" is asked about, but is no atom
    atoms: tuple[Atom, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the row of the prompt file."""
        return {
            "prompt": self.text,
            "atom_count": self.atom_count,
            "vqa_list": [[atom.question, atom.answer] for atom in self.atoms],
            "skills": [atom.skill for atom in self.atoms],
        }


def answer_forms(question: str, answer: str) -> tuple[str, ...]:
    """Return the ways to begin a reply that give the right answer, as the published script does.

    Raises:
        ValueError: If the answer is not one that such a question can have.
    """
    if not question.startswith(COUNTING):
        if answer != "Yes":
            raise ValueError(f"the answer to {question!r} must be 'Yes', got {answer!r}")
        return ("Yes", "yes", " yes", " Yes")
    if answer not in NUMBERS:
        raise ValueError(
            f"the answer to {question!r} must be one of {', '.join(NUMBERS)}, got {answer!r}"
        )
    digits, title = NUMBERS[answer], answer.capitalize()
    return (answer, title, f" {answer}", f" {title}", digits, f" {digits}")


def read_prompts(text: str, source: str) -> list[Prompt]:
    """Read the content of a prompt file; blank lines are skipped.

    Args:
        text: Content of the file.
        source: Its name, for errors.

    Raises:
        EvaluationError: If it holds no prompt; or naming the line that is no JSON, lacks a key or
            has an unknown one, a skill or an answer that does not exist, not one skill for each
            question, more atoms than questions, or repeats an earlier line.
    """
    prompts = read_json_lines(text, parse_prompt, source=source, what="a GenEval 2 prompt")
    if not prompts:
        raise EvaluationError(f"{source} holds no prompt")
    return prompts


def parse_prompt(row: Any) -> Prompt:
    """Check one row of the file.

    Raises:
        ValueError: For what is missing, unknown or of another type.
    """
    if not isinstance(row, dict) or row.keys() != KEYS:
        raise ValueError(f"a prompt has the keys {sorted(KEYS)}, got {row!r}")
    count, pairs, skills = row["atom_count"], row["vqa_list"], row["skills"]
    if type(count) is not int or count < 1:
        raise ValueError(f"atom_count must be a positive integer, got {count!r}")
    if not isinstance(pairs, list) or not pairs:
        raise ValueError(f"vqa_list must be a list of questions and answers, got {pairs!r}")
    if not isinstance(skills, list) or len(skills) != len(pairs):
        raise ValueError(f"skills must be one for each of {len(pairs)} questions, got {skills!r}")
    if count > len(pairs):
        raise ValueError(f"atom_count is {count}, but every atom has one of {len(pairs)} questions")
    atoms = tuple(_atom(pair, skill) for pair, skill in zip(pairs, skills, strict=True))
    return Prompt(_text("prompt", row["prompt"]), count, atoms)


def _atom(pair: Any, skill: Any) -> Atom:
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError(f"vqa_list holds [question, answer], got {pair!r}")
    if skill not in SKILLS:
        raise ValueError(f"unknown skill {skill!r}; known: {', '.join(SKILLS)}")
    question, answer = _text("question", pair[0]), _text("answer", pair[1])
    answer_forms(question, answer)
    return Atom(question, answer, skill)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be a text, got {value!r}")
    return value
